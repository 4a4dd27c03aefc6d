"""Feature rows as models read them, and stale ranges."""

import json

import numpy as np
import pytest
from tests.database.conftest import minute, store

from marketdata.database import Connection
from marketdata.features.columns import FLAT, MISSING, PRESENT
from marketdata.features.engine import Result
from marketdata.features.registry import FEATURE_VERSION, MAX_WINDOW, NAMES
from marketdata.minutes import merge
from marketdata.models import MINUTE_MS
from marketdata.store import books, features, ledger
from marketdata.store.books import BookMinute


def result(*minutes: int, value: float = 0.25) -> Result:
    n = len(minutes)
    values = np.full((n, len(NAMES)), value)
    values[:, 1] = np.nan
    return Result(
        np.array([minute(m) for m in minutes], dtype=np.int64),
        values,
        np.full(n, 0.5),
        np.ones(n, dtype=np.bool_),
    )


async def test_the_cache_is_json_text_with_null_for_what_is_not_defined(market: Connection) -> None:
    await features.insert(market, [("BTCUSDT", result(5))], known_at=minute(101) + 40)
    record = await market.fetchrow("SELECT * FROM feature_cache WHERE time = $1", minute(5))
    assert record is not None
    assert isinstance(record["features_json"], str)
    parsed = json.loads(record["features_json"])
    assert list(parsed) == list(NAMES)
    assert parsed[NAMES[0]] == 0.25
    assert parsed[NAMES[1]] is None
    assert (record["feature_version"], record["window_coverage"]) == (FEATURE_VERSION, 0.5)
    assert record["known_at"] == minute(101) + 40


async def test_the_matrix_has_one_typed_column_a_feature(market: Connection) -> None:
    await features.insert(market, [("BTCUSDT", result(5))], known_at=minute(5))
    record = await market.fetchrow("SELECT * FROM feature_matrix")
    assert record is not None
    assert [key for key in record.keys() if key in NAMES] == list(NAMES)  # noqa: SIM118
    assert record[NAMES[0]] == 0.25
    assert record[NAMES[1]] is None


async def test_only_rows_of_real_candles_are_written(market: Connection) -> None:
    partial = result(5, 6, 7)
    partial.emit[1] = False
    assert await features.insert(market, [("BTCUSDT", partial), ("ETHUSDT", result(5))], known_at=1) == 3
    rows = await market.fetch("SELECT symbol, time FROM feature_values ORDER BY 1, 2")
    assert [tuple(r) for r in rows] == [
        ("BTCUSDT", minute(5)), ("BTCUSDT", minute(7)), ("ETHUSDT", minute(5)),
    ]  # fmt: skip


async def test_a_live_row_never_replaces_one_computed_from_more(market: Connection) -> None:
    await features.replace(market, "BTCUSDT", result(5, value=0.75), known_at=minute(9))
    await features.insert(market, [("BTCUSDT", result(5))], known_at=minute(5))
    assert await market.fetchval("SELECT values[1] FROM feature_values") == 0.75


async def test_rows_behind_a_new_one_may_lack_its_candle(market: Connection) -> None:
    """A repair and the stream, side by side: neither statement saw the other's candle."""
    await features.replace(market, "BTCUSDT", result(7), known_at=minute(9))
    await features.insert(market, [("ETHUSDT", result(6)), ("BTCUSDT", result(8))], known_at=minute(9))
    assert await features.take_stales(market, 1) == []
    await features.insert(market, [("ETHUSDT", result(7)), ("BTCUSDT", result(5, 6))], known_at=minute(9))
    (stale,) = await features.take_stales(market, 1)
    assert (stale.symbol, stale.ranges) == ("BTCUSDT", [(minute(6), minute(5 + MAX_WINDOW))])


async def test_an_equal_row_computed_again_keeps_its_known_at(market: Connection) -> None:
    await features.insert(market, [("BTCUSDT", result(5))], known_at=minute(105))
    await features.replace(market, "BTCUSDT", result(5), known_at=minute(109))
    assert await market.fetchval("SELECT known_at FROM feature_values") == minute(105)
    await features.replace(market, "BTCUSDT", result(5, value=0.5), known_at=minute(109))
    assert await market.fetchval("SELECT known_at FROM feature_values") == minute(109)


@pytest.mark.parametrize("path", ["insert", "replace"])
async def test_no_row_was_known_before_the_candles_in_it(market: Connection, path: str) -> None:
    """A repair by another service may have brought the market's time further than this process has heard."""
    known_at = minute(100)
    if path == "insert":
        await features.insert(market, [("BTCUSDT", result(5))], known_at=known_at)
    else:
        await features.replace(market, "BTCUSDT", result(5), known_at=known_at)
    assert await market.fetchval("SELECT known_at FROM feature_values") == minute(100) + 5000


async def test_a_window_is_the_candles_the_books_and_flat_outages(market: Connection) -> None:
    await store(market, [0, 1, 2, 6, 7])
    await ledger.record_outage(market, "BTCUSDT", minute(3), minute(5), confirm_seconds=3600)
    await books.write(
        market, [BookMinute("BTCUSDT", minute(1), 1, 1, 1, 1, 2.5, -0.5, 9)], known_at=minute(2)
    )
    window = await features.load_window(market, "BTCUSDT", minute(0), minute(8))
    assert window.state.tolist() == [PRESENT] * 3 + [FLAT] * 2 + [MISSING] + [PRESENT] * 2
    assert window.close[3] == 1.5
    assert window.volume[4] == 0.0
    assert window.spread_bps[1] == 2.5
    assert np.isnan(window.spread_bps[0])


async def test_a_window_that_begins_inside_an_outage_knows_the_close_before_it(market: Connection) -> None:
    await store(market, [0, 6])
    await ledger.record_outage(market, "BTCUSDT", minute(1), minute(6), confirm_seconds=3600)
    window = await features.load_window(market, "BTCUSDT", minute(3), minute(7))
    assert window.state.tolist() == [FLAT, FLAT, FLAT, PRESENT]
    assert window.close[0] == 1.5


async def test_a_book_minute_after_its_candle_makes_features_stale(market: Connection) -> None:
    await store(market, [1])
    await market.execute("DELETE FROM stale_features")
    rows = [BookMinute("BTCUSDT", minute(n), 1, 1, 1, 1, 2.5, -0.5, 9) for n in (1, 2)]
    await books.write(market, rows, known_at=minute(3))
    assert await market.fetchval("SELECT from_time FROM stale_features") == minute(2)
    await market.execute("DELETE FROM stale_features")
    await books.write(market, rows, known_at=minute(3))
    assert await market.fetchval("SELECT count(*) FROM stale_features") == 0, "nothing was written"


async def test_stale_ranges_are_taken_whole_and_settled_by_id(market: Connection) -> None:
    insert = "INSERT INTO stale_features (symbol, from_time, to_time) VALUES ('BTCUSDT', $1, $2)"
    for start, end in ((10, 20), (15, 30), (40, 50)):
        await market.execute(insert, minute(start), minute(end))
    (stale,) = await features.take_stales(market, 1)
    assert stale.ranges == [(minute(10), minute(30)), (minute(40), minute(50))]
    await market.execute(insert, minute(12), minute(13))
    await features.settle_stale(market, stale.ids)
    (left,) = await features.take_stales(market, 1)
    assert left.ranges == [(minute(12), minute(13))], "what came meanwhile stays"


async def test_stale_rows_older_than_the_cache_are_clipped(market: Connection) -> None:
    month = 31 * 1440
    await market.execute("SELECT advance_market_clock($1)", minute(month))
    await market.execute(
        "INSERT INTO stale_features (symbol, from_time, to_time) VALUES ('BTCUSDT', $1, $2)",
        minute(-99999),
        minute(99),
    )
    (stale,) = await features.take_stales(market, 1)
    assert stale.ranges == [] or stale.ranges[0][0] >= minute(month) - 31 * 1440 * MINUTE_MS


async def test_a_range_across_the_caches_edge_begins_on_a_minute(market: Connection) -> None:
    # Market time is hardly ever a whole minute, and with a long history one range always crosses the edge.
    await market.execute("SELECT advance_market_clock($1)", minute(40 * 1440) + 12_345)
    await store(market, range(8 * 1440, 12 * 1440, 720))
    await features.mark_unfinished(market)
    await market.execute(
        "INSERT INTO stale_features (symbol, from_time, to_time) VALUES ('BTCUSDT', $1, $2)",
        minute(1), minute(39 * 1440),
    )  # fmt: skip
    (stale,) = await features.take_stales(market, 1)
    assert all(edge % MINUTE_MS == 0 for span in stale.ranges for edge in span)


async def test_a_symbol_with_only_old_candles_owes_no_features(market: Connection) -> None:
    await store(market, range(10))
    await market.execute("DELETE FROM stale_features")
    await market.execute("SELECT advance_market_clock($1)", minute(60 * 1440) + 7)
    await features.mark_unfinished(market)
    assert await features.take_stales(market, 1) == []


async def test_a_late_candle_before_an_outage_reaches_past_its_end(market: Connection) -> None:
    await ledger.record_outage(market, "BTCUSDT", minute(10), minute(90), confirm_seconds=3600)
    await market.execute("DELETE FROM stale_features")
    await store(market, [8, 9])
    assert await market.fetchval("SELECT to_time FROM stale_features") == minute(90 + MAX_WINDOW)


async def test_stored_candles_in_front_of_a_range_are_marked_once(market: Connection) -> None:
    await store(market, range(10))
    await market.execute("DELETE FROM stale_features")
    await features.insert(market, [("BTCUSDT", result(5))], known_at=minute(5))
    await store(market, [20])
    for _ in range(3):
        (stale,) = await features.take_stales(market, 1)
        assert (stale.ranges[0][0], len(stale.ids)) == (minute(6), 2)


async def test_candles_without_a_feature_row_are_found(market: Connection) -> None:
    await store(market, range(10))
    await market.execute("DELETE FROM stale_features")
    await features.insert(market, [("BTCUSDT", result(5))], known_at=minute(5))
    await features.mark_unfinished(market)
    (stale,) = await features.take_stales(market, 1)
    assert stale.ranges == [(minute(6), minute(11))]
    await market.execute("DELETE FROM stale_features")
    await features.insert(market, [("BTCUSDT", result(10))], known_at=minute(10))
    await features.mark_unfinished(market)
    assert await features.take_stales(market, 1) == []


async def test_a_stale_range_does_not_hide_candles_that_have_no_row_yet(market: Connection) -> None:
    """Rows wait in a process that may die: those behind them must not be all that is left of them."""
    await store(market, range(10))
    await market.execute("DELETE FROM stale_features")
    await features.insert(market, [("BTCUSDT", result(5))], known_at=minute(5))
    await market.execute(
        "INSERT INTO stale_features (symbol, from_time, to_time) VALUES ('BTCUSDT', $1, $2)",
        minute(8),
        minute(99),
    )
    for _ in range(2):  # Whoever takes it after a crash has the same.
        (stale,) = await features.take_stales(market, 1)
        assert stale.ranges == [(minute(6), minute(99))]
        await features.replace(market, "BTCUSDT", result(8, 9, 10), known_at=minute(10))
    await features.settle_stale(market, stale.ids)
    assert await features.take_stales(market, 1) == []


@pytest.mark.parametrize(
    ("ranges", "merged"),
    [
        ([], []),
        ([(5, 5)], []),
        ([(1, 3), (3, 4), (8, 9), (2, 3)], [(1, 4), (8, 9)]),
        ([(1, 10), (2, 3)], [(1, 10)]),
    ],
)
def test_merge(ranges: list[tuple[int, int]], merged: list[tuple[int, int]]) -> None:
    assert merge(ranges) == merged


@pytest.mark.parametrize("parts", [((100, 110),), ((100, 104), (104, 110))])
async def test_a_window_that_begins_in_an_outage_knows_its_price(
    market: Connection, parts: tuple[tuple[int, int], ...]
) -> None:
    """Wherever a window begins, the same minutes are flat at the same price."""
    await store(market, [n for n in range(200) if not 100 <= n < 110])
    for n, (start, end) in enumerate(parts):
        await ledger.record_outage(market, "BTCUSDT", minute(start), minute(end), confirm_seconds=0)
        if n + 1 < len(parts):
            work = await ledger.claim(market, lease_seconds=60, max_minutes=1000)
            assert work is not None
            await ledger.settle_outage(market, work.gap.id)
    whole = await features.load_window(market, "BTCUSDT", minute(0), minute(200))
    for first in range(98, 112):
        part = await features.load_window(market, "BTCUSDT", minute(first), minute(200))
        assert part.state.tolist() == whole.state[first:].tolist(), first
        assert part.close.tolist() == whole.close[first:].tolist(), first
