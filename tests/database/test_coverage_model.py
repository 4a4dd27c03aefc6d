"""candle_coverage and history_completeness against a slow, obvious model that looks at every minute."""

import random
from itertools import groupby
from typing import Any

import pytest
from tests.database.conftest import T0, minute, store

from marketdata.database import Connection
from marketdata.models import MINUTE_MS, Source

DAYS = 5


class Model:
    """What each minute of a made-up history is. A stored row beats an outage, an outage beats missing."""

    def __init__(self, rng: random.Random) -> None:
        self.end = DAYS * 1440 - rng.randrange(1440)
        self.first = rng.choice([0, 0, rng.randrange(2 * 1440)])
        self.stop = rng.choice([self.end, self.end - rng.randrange(2 * 1440)])
        self.rows = dict[int, str]()
        self.outages = list[tuple[int, int]]()
        at = 0
        while at < self.end:
            kind = rng.choice(["stream", "rest", "archive", "no-trade", "missing", "mixed", "archive"])
            length = rng.choice([1, 2, rng.randrange(1, 60), rng.randrange(1, 4000), 1440 - at % 1440])
            for n in range(at, min(at + length, self.end)):
                here = rng.choice(["stream", "rest", "no-trade", "missing"]) if kind == "mixed" else kind
                if here != "missing":
                    self.rows[n] = here
            at += length
        at = rng.randrange(2000)
        while at < self.end:
            self.outages.append((at, at + rng.randrange(1, 900)))
            at = self.outages[-1][1] + rng.randrange(1, 3000)

    def at(self, n: int) -> str:
        if n in self.rows:
            return self.rows[n]
        return "outage" if any(start <= n < end for start, end in self.outages) else "missing"

    def coverage(self, start: int, end: int) -> list[tuple[int, int, str]]:
        expected = range(max(start, self.first), min(end, self.stop))
        runs = []
        for kind, group in groupby(expected, key=self.at):
            minutes = list(group)
            runs.append((minutes[0], minutes[-1] + 1, kind))
        return runs


async def _store(connection: Connection, model: Model) -> None:
    await connection.execute("SELECT advance_market_clock($1)", minute(model.end) + 7000)
    await connection.execute(
        "UPDATE symbols SET history_start = $1, first_kline = $2, expected_until = $3",
        minute(0), minute(model.first), minute(model.stop),
    )  # fmt: skip
    for source in Source:
        await store(connection, [n for n, kind in model.rows.items() if kind == source.value], source=source)
    await store(connection, [n for n, kind in model.rows.items() if kind == "no-trade"], trades=0)
    await connection.executemany(
        "INSERT INTO data_quality_logs (event_type, symbol, gap_start, gap_end, resolved, resolved_at)"
        " VALUES ('outage', 'BTCUSDT', $1, $2, true, now())",
        [(minute(start), minute(end)) for start, end in model.outages],
    )


def _minutes(record: Any) -> tuple[int, int]:
    return (record[0] - T0) // MINUTE_MS, (record[1] - T0) // MINUTE_MS


@pytest.mark.promise
@pytest.mark.parametrize("seed", range(4))
async def test_every_expected_minute_is_covered_once_and_rightly(market: Connection, seed: int) -> None:
    rng = random.Random(seed)
    model = Model(rng)
    await _store(market, model)
    if seed % 2 and await market.fetchval("SELECT server_kind()") == "community":
        await market.execute("SELECT compress_chunk(c) FROM show_chunks('candles_1m') AS c")
    spans = [(-100, model.end + 100)] + [
        (start, start + rng.randrange(1, 4000)) for start in rng.choices(range(model.end), k=12)
    ]
    for start, end in spans:
        covered = await market.fetch(
            "SELECT * FROM candle_coverage('BTCUSDT', $1, $2)", minute(start), minute(end)
        )
        assert [(*_minutes(r), r["status"]) for r in covered] == model.coverage(start, end)
        missing = await market.fetch(
            "SELECT lower(r), upper(r) FROM unnest(missing_ranges('BTCUSDT', $1, $2)) AS r",
            minute(start), minute(end),
        )  # fmt: skip
        absent = {n for r in missing for n in range(*_minutes(r))}
        assert absent == {n for n in range(start, end) if n not in model.rows}


@pytest.mark.parametrize("seed", range(4))
async def test_completeness_says_what_coverage_says(market: Connection, seed: int) -> None:
    rng = random.Random(100 + seed)
    model = Model(rng)
    await _store(market, model)
    # The ledger knows of the confirmed outages by what they lacked: as settle_outage writes them.
    await market.execute("DELETE FROM data_quality_logs")
    whole = [run for run in model.coverage(0, model.end) if run[2] == "outage"]
    await market.executemany(
        "INSERT INTO data_quality_logs (event_type, symbol, gap_start, gap_end, resolved, resolved_at)"
        " VALUES ('outage', 'BTCUSDT', $1, $2, true, now())",
        [(minute(start), minute(end)) for start, end, _ in whole],
    )
    await market.execute(
        "SELECT record_missing('BTCUSDT', lower(e), upper(e), 'audit') FROM expected_range('BTCUSDT') AS e"
    )
    (row,) = await market.fetch("SELECT * FROM history_completeness")
    counts = dict.fromkeys(("missing", "outage", "all"), 0)
    for start, end, kind in model.coverage(0, model.end):
        counts["all"] += end - start
        if kind in counts:
            counts[kind] += end - start
    present = counts["all"] - counts["missing"] - counts["outage"]
    assert tuple(row)[1:5] == (counts["all"], present, counts["missing"], counts["outage"])
    assert row["completeness"] == pytest.approx(1 - counts["missing"] / counts["all"], abs=1e-12)
