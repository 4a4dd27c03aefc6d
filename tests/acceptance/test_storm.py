"""The promise, under everything that can go wrong at once: every minute is accounted for, and true."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.storm import Storm
from tests.acceptance.storm_script import (
    CALM,
    COUNTS,
    DAY_MS,
    END,
    FIRST,
    LEFT_OUT,
    LIVE,
    PROCESS_KINDS,
    REAL_HALT,
    SYMBOLS,
    script,
)
from tests.acceptance.truth import archived, assert_features_equal_batch, runs, stored
from tests.conftest import migrate
from tests.processes import until

from exchange_simulator.faults.model import KINDS
from marketdata import database as db
from marketdata.database import Connection
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS

SEEDS = (1, 2, 3)
DAYS = [isoformat(FIRST + n * DAY_MS)[:10] for n in range(28)]
UNFIRED = ("archive_status", "archive_delay", "archive_checksum", "archive_truncated", "archive_rows")
"""Kinds that may stay without effect: nobody downloads archives yet."""


def test_a_script_is_its_seed_s_alone() -> None:
    assert script(1) == script(1)
    assert script(1) != script(2)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_script_has_every_kind_at_its_time(seed: int) -> None:
    events = script(seed)
    counted = Counter(event.kind for event in events)
    assert set(COUNTS) == set(KINDS) | set(PROCESS_KINDS), "a kind without a place in the storm"
    assert counted.keys() == set(COUNTS) - set(LEFT_OUT)
    assert sum(counted[kind] for kind in KINDS) >= 200
    assert min(counted[f"kill_{victim}"] for victim in ("feeder", "handler", "database")) >= 5
    assert events == sorted(events, key=lambda event: event.at)
    assert all(LIVE <= event.at < CALM for event in events)
    for event in events:
        assert event.params.keys() <= KINDS[event.kind].defaults.keys() | {"symbol", "count", "for_seconds", "seed"} \
            if event.kind in KINDS else event.params.keys() <= {"down", "kill", "choice"}  # fmt: skip
        if event.kind == "rest_missing_rows":
            assert event.params["count"] < 4, "hidden from both looks, it would be a true outage"
        if event.kind == "halt":
            assert abs(event.at - REAL_HALT[0]) > 3 * 60 * MINUTE_MS
        if event.kind == "alter_final":
            assert event.at < CALM - DAY_MS


@pytest.mark.acceptance
@pytest.mark.promise
@pytest.mark.timeout(540)
@pytest.mark.parametrize("seed", SEEDS)
async def test_every_minute_survives_the_storm(seed: int, real_data: Path, tmp_path: Path) -> None:
    truth = archived(real_data, SYMBOLS, DAYS)
    storm = Storm(seed, script(seed), real_data / "spot_daily_zips" / "1m", tmp_path)
    try:
        async with storm:
            await migrate(storm.database.settings, policies=False)
            await storm.rage()
            for symbol, minute in list(truth):
                if any(h["symbol"] in (None, symbol) and h["start"] <= minute < h["end"] for h in storm.halts):
                    del truth[symbol, minute]
            connection = await db.connect(storm.database.settings, "test")
            try:
                await settled(storm, connection, len(truth))
                await judge(storm, connection, truth)
            finally:
                await connection.close()
    except BaseException as error:
        error.add_note(account(storm))
        raise


async def settled(storm: Storm, connection: Connection, candles: int) -> None:
    """Wait until nobody has anything left to do."""
    state: dict[str, Any] = {}

    async def whole() -> bool:
        record = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM candles_1m) AS candles, (SELECT count(*) FROM stale_features) AS stale,"
            " (SELECT count(*) FROM feature_values) AS features, (SELECT count(*) FROM data_quality_logs"
            "  WHERE NOT resolved) AS unresolved"
        )
        assert record is not None
        state.update(record)
        return (state["candles"], state["stale"], state["unresolved"]) == (candles, 0, 0) and state[
            "features"
        ] >= candles

    try:
        await until(whole, seconds=90, what="nothing is left to do", programs=storm.programs)
    except AssertionError:
        # Said below, with the minutes it is about.
        storm.done.append(f"not settled: {state}, {candles} candles expected")
    storm._lap("settled")


async def judge(storm: Storm, connection: Connection, truth: dict[tuple[str, int], Any]) -> None:
    """Hold the database against the truth."""
    found = await stored(connection)
    wrong = sorted(key for key in truth.keys() | found.keys() if truth.get(key) != found.get(key))
    assert not wrong, await evidence(connection, wrong, truth, found)
    unresolved = await connection.fetch("SELECT * FROM data_quality_logs WHERE NOT resolved")
    assert not unresolved, [dict(r) for r in unresolved]
    assert not await connection.fetchval("SELECT count(*) FROM stale_features")

    for symbol in SYMBOLS:
        there = {minute for s, minute in truth if s == symbol}
        absent = runs(set(range(FIRST, END, MINUTE_MS)) - there)
        assert REAL_HALT in absent
        outages = await connection.fetch(
            "SELECT gap_start, gap_end, candles_missing, detail ->> 'confirmed' FROM data_quality_logs"
            " WHERE event_type = 'outage' AND symbol = $1 ORDER BY gap_start",
            symbol,
        )
        assert [tuple(r) for r in outages] == [(a, b, (b - a) // MINUTE_MS, "true") for a, b in absent], symbol
        covered = await connection.fetch(
            "SELECT status, sum(extract(epoch FROM to_time - from_time) / 60)::integer AS minutes"
            " FROM candle_coverage($1, $2, $3) GROUP BY status",
            symbol, FIRST, END,
        )  # fmt: skip
        minutes = {r["status"]: r["minutes"] for r in covered}
        assert "missing" not in minutes, (symbol, minutes)
        assert minutes["outage"] == sum(b - a for a, b in absent) // MINUTE_MS
        assert sum(minutes.values()) == 28 * 1440
        storm.done.append(f"{symbol}: {minutes}")

    await assert_features_equal_batch(connection, SYMBOLS, FIRST, END)
    assert not storm.crashes, "\n".join(storm.crashes)
    for program in storm.programs:
        assert "Traceback" not in program.output(), first_traceback(program.log)
    storm._lap("judged")
    unfired = [kind for kind in KINDS if kind in storm.performed and not storm.fired[kind] and kind not in UNFIRED]
    assert not unfired, f"kinds that never took effect: {unfired}"


async def evidence(
    connection: Connection, wrong: list[tuple[str, int]], truth: dict[Any, Any], found: dict[Any, Any]
) -> str:
    """Tell the minutes that are not as they should be, with what the ledger says of them."""
    lines = [f"{len(wrong)} minutes are not the exchange's:"]
    for symbol in SYMBOLS:
        spans = runs(minute for s, minute in wrong if s == symbol)
        lines += [f"  {symbol} {isoformat(a)} to {isoformat(b)}, {(b - a) // MINUTE_MS} min" for a, b in spans[:20]]
    for symbol, minute in wrong[:: max(1, len(wrong) // 5)][:6]:
        lines.append(f"{symbol} {isoformat(minute)}")
        lines.append(f"  true   {truth.get((symbol, minute))}\n  stored {found.get((symbol, minute))}")
        row = await connection.fetchrow(
            "SELECT source, known_at FROM candles_1m WHERE symbol = $1 AND time = $2", symbol, minute
        )
        if row:
            lines.append(f"  source {row['source']}, known at {isoformat(row['known_at'])}")
        ledger = await connection.fetch(
            "SELECT id, created_at, event_type, gap_start, gap_end, resolved, resolved_at, attempts, candles_recovered,"
            " detail FROM data_quality_logs WHERE symbol = $1 AND gap_start <= $2 AND gap_end > $2 ORDER BY id",
            symbol, minute,
        )  # fmt: skip
        for r in ledger:
            times = {
                name: isoformat(r[name])
                for name in ("created_at", "gap_start", "gap_end", "resolved_at") if r[name] is not None
            }  # fmt: skip
            lines.append(f"  ledger {dict(r) | times}")
    return "\n".join(lines)


def first_traceback(log: Path) -> str:
    """Return the first traceback of a log, and how many there are."""
    text = log.read_text(errors="replace")
    at = text.index("Traceback")
    return f"{log.name}: {text.count('Traceback')} tracebacks; the first:\n{text[max(0, at - 500) : at + 4000]}"


def account(storm: Storm) -> str:
    """Tell what happened, for whoever has to find out why."""
    tails = [
        f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-12:])
        for path in sorted(storm.folder.glob("*.log"))
    ]
    lines = [f"seed {storm.seed}; all of it in {storm.folder}", "the last of the storm:", *storm.done[-25:]]
    lines += [f"fired: {dict(storm.fired)}", f"crashes: {storm.crashes}", *tails]
    return re.sub(r"(?m)^(.{400}).*$", r"\1…", "\n".join(lines))
