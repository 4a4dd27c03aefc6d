"""Rows that a live model had: none more, and what is left out is left out for a reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.export.conftest import Exported
from tests.export.stored import DELAY_MS, at, begin, cache, minutes_of, put, seeded, text

from marketdata.database import Connection
from marketdata.export import ExportError
from marketdata.export import known as knowledge
from marketdata.export.known import Needs
from marketdata.export.source import Minutes
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.registry import MAX_WINDOW
from marketdata.models import MINUTE_MS
from marketdata.store import books, ledger
from marketdata.store.books import BookMinute

N = 600
FEATURES = ["return_15m"]
WINDOW = 16
ASKED = {"start": text(100), "end": text(N + 1), "features": FEATURES}


@pytest.fixture
async def market(connection: Connection) -> Connection:
    await begin(connection, ["BTCUSDT", "ETHUSDT"], N)
    return connection


def lost(table: object, symbol_rows: range = range(100, N + 1)) -> list[int]:
    return sorted(set(symbol_rows) - set(minutes_of(table)))


async def test_all_that_was_streamed_in_time_is_kept(market: Connection, exported: Exported) -> None:
    await put(market, "BTCUSDT", seeded(N))
    assert exported(**ASKED, as_known=5).equals(exported(**ASKED))
    assert lost(exported(**ASKED, as_known=DELAY_MS / 1000)) == []
    with pytest.raises(ExportError, match="a history filled in later never was"):
        exported(**ASKED, as_known=(DELAY_MS - 1) / 1000)


async def test_a_late_or_revised_candle_takes_the_rows_that_saw_it_before(
    market: Connection, exported: Exported
) -> None:
    """A repair three minutes late, and a revision a day late: each is known from then on."""
    await put(market, "BTCUSDT", seeded(N), known_at={200: at(204) + 5_000, 400: at(2000)})
    # The candle of minute 200 is first seen by the row at 201; the row at 204 has it in time, just.
    assert lost(exported(**ASKED, as_known=5)) == [201, 202, 203, *range(401, 401 + WINDOW)]
    assert lost(exported(**ASKED, as_known=4.999)) == [*range(201, 205), *range(401, 401 + WINDOW)]
    assert lost(exported(**{**ASKED, "features": ["return_1m"]}, as_known=5)) == [201, 202, 401, 402]


async def test_of_a_backfilled_history_nothing_is_kept(market: Connection, exported: Exported) -> None:
    await put(market, "BTCUSDT", seeded(N), known_at=at(N), source="archive")
    with pytest.raises(ExportError, match="no row of this range was known within 5 s"):
        exported(**{**ASKED, "end": text(N)}, as_known=5)


async def test_a_hole_or_an_outage_takes_every_row_that_looks_at_it(
    market: Connection, exported: Exported
) -> None:
    """An outage is found later than its minutes: the row a live model had was another."""
    await put(market, "BTCUSDT", np.delete(seeded(N), [200, 201, 400], axis=0))
    await ledger.record_outage(market, "BTCUSDT", at(200), at(202), confirm_seconds=0)
    assert lost(exported(**ASKED)) == [201, 202, 401]
    assert lost(exported(**ASKED, as_known=5)) == [*range(201, 202 + WINDOW), *range(401, 401 + WINDOW)]


async def test_the_cache_says_what_was_known_when(market: Connection, exported: Exported) -> None:
    """From 202 on, where the cache begins, it decides; before, the candles do."""
    await put(market, "BTCUSDT", np.delete(seeded(N), [200], axis=0), known_at={300: at(320)})
    await ledger.record_outage(market, "BTCUSDT", at(200), at(201), confirm_seconds=0)
    assert await cache(market, "BTCUSDT", 202, N + 1, known_at=at(N)) == N + 1 - 202
    await market.execute("UPDATE feature_values SET known_at = time + interval '900 ms'")
    # Too late at 350; in time, but with other numbers, at 360; not computed yet, at 370. Of a set that lacked
    # the feature at 301, 303 and 380: the candles decide, and one of the first two's was late.
    await market.execute(
        "UPDATE feature_values SET known_at = time + interval '5001 ms' WHERE time = $1", at(350)
    )
    await market.execute("UPDATE feature_values SET values[3] = 0.5 WHERE time = $1", at(360))
    await market.execute("DELETE FROM feature_values WHERE time = $1", at(370))
    for row in (301, 303, 380):
        await market.execute("UPDATE feature_values SET values = values[1:2] WHERE time = $1", at(row))
    from marketdata.features.registry import NAMES

    assert NAMES[2] == FEATURES[0]
    kept = exported(**ASKED, as_known=5)
    assert lost(kept) == [201, 301, 303, 350, 360, 370]


async def test_a_cross_feature_needs_the_reference_in_time(market: Connection, exported: Exported) -> None:
    await put(market, "BTCUSDT", seeded(N), known_at={250: at(N)})
    await put(market, "ETHUSDT", seeded(N, seed=2))
    asked = {**ASKED, "symbols": ["ETHUSDT"], "start": text(CROSS_WINDOW + 1)}
    rows = range(CROSS_WINDOW + 1, N + 1)
    assert lost(exported(**asked, as_known=5), rows) == []
    crossed = exported(**{**asked, "features": ["btc_relative_return_15m"]}, as_known=5)
    assert lost(crossed, rows) == [*range(251, 251 + CROSS_WINDOW)]


async def test_a_quote_that_came_late_takes_its_row(market: Connection, exported: Exported) -> None:
    await put(market, "BTCUSDT", seeded(N))
    for minute, late in ((200, 900), (201, 60_000)):
        row = BookMinute("BTCUSDT", at(minute), 1, 1, 1, 1, 2.5, -0.5, 9)
        await books.write(market, [row], known_at=at(minute + 1) + late)
    assert lost(exported(**{**ASKED, "features": ["spread_bps"]}, as_known=5)) == [202]
    assert lost(exported(**ASKED, as_known=5)) == []


def minutes(arrivals: list[float], start: int) -> Minutes:
    """Candles that arrived so many minutes after their end; NaN: no candle."""
    known = [
        (start + n * MINUTE_MS, start + (n + 1) * MINUTE_MS + round(late * MINUTE_MS))
        for n, late in enumerate(arrivals)
        if not np.isnan(late)
    ]
    table = np.array(known, dtype=[("time", np.int64), ("known_at", np.int64)])
    return Minutes(start, start + len(arrivals) * MINUTE_MS, table, table[:0], [], np.nan)


LATE = st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 3.0, float("nan")])


@settings(max_examples=150, deadline=None)
@given(st.lists(LATE, min_size=30, max_size=60), st.lists(LATE, min_size=60, max_size=60),
       st.integers(1, 12), st.integers(0, 12), st.sampled_from([0, 30_000, 60_000]))  # fmt: skip
def test_a_row_is_kept_where_each_candle_it_looks_at_was_known(
    own: list[float], reference: list[float], window: int, cross: int, allowed: int
) -> None:
    start = at(0)
    times = start + MINUTE_MS * np.arange(13, len(own) + 1, dtype=np.int64)
    kept = knowledge.in_time(
        times, allowed, Needs(window, 0, cross), minutes(own, start), minutes(reference[: len(own)], start)
    )
    for row, time in enumerate(times):
        newest = 12 + row
        looked_at = [*own[newest - window + 1 : newest + 1]]
        ages = [*range(window)][::-1]
        if cross:
            looked_at += reference[newest - cross + 1 : newest + 1]
            ages += [*range(cross)][::-1]
        # A candle that ended ``age`` minutes before the row's time and came ``late`` minutes after its end.
        assert kept[row] == all(
            late - age <= allowed / MINUTE_MS for late, age in zip(looked_at, ages, strict=True)
        )
        assert time == at(newest + 1)


def test_what_the_chosen_features_look_at() -> None:
    assert knowledge.needs(["return_1m"]) == Needs(2, 0, 0)
    assert knowledge.needs(["return_1m", "spread_bps"]) == Needs(2, 1, 0)
    assert knowledge.needs(["btc_relative_return_15m"]) == Needs(16, 0, CROSS_WINDOW)
    assert knowledge.needs(["return_1m"]).own < MAX_WINDOW
