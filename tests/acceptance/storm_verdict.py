"""Whether the promise held: the database after a storm against the exchange's own record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.acceptance.storm import Storm
from tests.acceptance.storm_script import DAY_MS, END, FIRST, REAL_HALT, SYMBOLS
from tests.acceptance.truth import Key, assert_features_equal_batch, runs, stored
from tests.processes import until

from exchange_simulator.faults.model import KINDS
from marketdata.database import Connection
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS, Candle

_STATE = """
SELECT (SELECT count(*) FROM candles_1m) AS candles,
       (SELECT count(*) FROM feature_values) AS features,
       (SELECT count(*) FROM stale_features) AS stale,
       (SELECT count(*) FROM data_quality_logs WHERE NOT resolved) AS unresolved,
       (SELECT count(*) FROM symbols WHERE audited_until >= $1) AS audited
"""
_LEDGER = """
SELECT id, event_type, created_at, gap_start, gap_end, resolved, resolved_at, attempts, candles_recovered,
       detail
FROM data_quality_logs WHERE symbol = $1 AND gap_start < $3 AND gap_end > $2 ORDER BY id
"""
_COVERAGE = """
SELECT status, sum(extract(epoch FROM to_time - from_time) / 60)::integer AS minutes
FROM candle_coverage($1, $2, $3) GROUP BY status
"""
_OUTAGES = """
SELECT gap_start, gap_end, candles_missing, detail ->> 'confirmed' AS confirmed
FROM data_quality_logs WHERE event_type = 'outage' AND symbol = $1 ORDER BY gap_start
"""


def without_halts(truth: Mapping[Key, Candle], halts: list[dict[str, Any]]) -> dict[Key, Candle]:
    """Return the record as it is when the exchange stood still at ``halts`` too."""
    gone = {
        (symbol, minute)
        for halt in halts
        for symbol in ([halt["symbol"]] if halt["symbol"] else SYMBOLS)
        for minute in range(halt["start"], halt["end"], MINUTE_MS)
    }
    return {key: candle for key, candle in truth.items() if key not in gone}


async def settle(storm: Storm, connection: Connection, candles: int, seconds: float) -> None:
    """Wait until nobody has anything left to do; whatever is left then is judged."""
    state: dict[str, int] = {}

    async def settled() -> bool:
        record = await connection.fetchrow(_STATE, END - DAY_MS)
        assert record is not None
        state.update(record)
        whole = {"candles": candles, "features": candles, "stale": 0, "unresolved": 0}
        return state == whole | {"audited": len(SYMBOLS)}

    try:
        await until(settled, seconds=seconds, what="nothing is left to do")
    except AssertionError:
        storm.note(f"after {seconds} s still {state}, where {candles} candles were expected")
    storm.lap("settled")


async def judge(storm: Storm, connection: Connection, truth: Mapping[Key, Candle]) -> None:
    """Fail with the evidence where a minute, a row of the ledger, a feature or a process went wrong."""
    found = await stored(connection)
    wrong = sorted(key for key in truth.keys() | found.keys() if truth.get(key) != found.get(key))
    assert not wrong, await evidence(connection, wrong, truth, found)
    unresolved = await connection.fetch(
        "SELECT id, symbol, gap_start FROM data_quality_logs WHERE NOT resolved"
    )
    about = [await ledger(connection, r["symbol"], r["gap_start"]) for r in unresolved]
    assert not unresolved, "\n".join(["unresolved:", *about])
    assert not await connection.fetchval("SELECT count(*) FROM stale_features")
    for symbol in SYMBOLS:
        await judge_outages(storm, connection, symbol, {minute for s, minute in truth if s == symbol})
    await assert_features_equal_batch(connection, SYMBOLS, FIRST, END)
    problems = list(storm.crashes)
    for program in storm.programs:
        problems += first_traceback(program.log)
        problems += [line for line in program.output().splitlines() if '"level":"error"' in line][:5]
    kinds = [kind for kind in KINDS if kind in storm.performed]
    problems += [f"{kind} never took effect" for kind in kinds if not storm.fired[kind]]
    storm.lap("judged")
    assert not problems, "\n".join(problems)


async def judge_outages(storm: Storm, connection: Connection, symbol: str, there: set[int]) -> None:
    """Every minute the exchange lacks is in one confirmed outage, and no other is in any."""
    absent = runs(set(range(FIRST, END, MINUTE_MS)) - there)
    assert REAL_HALT in absent
    outages = [tuple(r) for r in await connection.fetch(_OUTAGES, symbol)]
    assert outages == [(a, b, (b - a) // MINUTE_MS, "true") for a, b in absent], symbol
    minutes = {r["status"]: r["minutes"] for r in await connection.fetch(_COVERAGE, symbol, FIRST, END)}
    storm.note(f"{symbol}: {minutes}")
    assert "missing" not in minutes, (symbol, minutes)
    assert minutes["outage"] == sum(b - a for a, b in absent) // MINUTE_MS
    assert sum(minutes.values()) == (END - FIRST) // DAY_MS * 1440


async def ledger(connection: Connection, symbol: str, minute: int) -> str:
    """Return what the ledger says of a minute, a line a row."""
    lines = []
    for record in await connection.fetch(_LEDGER, symbol, minute, minute + MINUTE_MS):
        row = dict(record)
        for name in ("created_at", "gap_start", "gap_end", "resolved_at"):
            row[name] = row[name] and isoformat(row[name])
        lines.append(f"  ledger {row}")
    return "\n".join(lines)


async def evidence(
    connection: Connection, wrong: list[Key], truth: Mapping[Key, Candle], found: Mapping[Key, Candle]
) -> str:
    """Tell the minutes that are not the exchange's, and of some what the ledger says."""
    lines = [f"{len(wrong)} minutes are not the exchange's:"]
    for symbol in SYMBOLS:
        spans = runs(minute for s, minute in wrong if s == symbol)
        lines += [
            f"  {symbol} {isoformat(a)} to {isoformat(b)}, {(b - a) // MINUTE_MS} min" for a, b in spans[:20]
        ]
    for symbol, minute in wrong[:: max(1, len(wrong) // 5)][:6]:
        row = await connection.fetchrow(
            "SELECT source, known_at FROM candles_1m WHERE symbol = $1 AND time = $2", symbol, minute
        )
        lines += [
            f"{symbol} {isoformat(minute)}",
            f"  true   {truth.get((symbol, minute))}",
            f"  stored {found.get((symbol, minute))}"
            + (f" from {row['source']}, known at {isoformat(row['known_at'])}" if row else ""),
            await ledger(connection, symbol, minute),
        ]
    return "\n".join(lines)


def first_traceback(log: Path) -> list[str]:
    """Return a log's first traceback and how many there are; nothing where there is none."""
    text = log.read_text(errors="replace") if log.exists() else ""
    at = text.find("Traceback")
    if at < 0:
        return []
    return [
        f"{log.name}: {text.count('Traceback')} tracebacks; the first:\n{text[max(0, at - 500) : at + 4000]}"
    ]


def account(storm: Storm) -> str:
    """Tell what happened, for whoever has to find out why: the last faults and the tails of all logs."""
    tails = [
        f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-12:])
        for path in sorted(storm.folder.glob("*.log"))
    ]
    lines = [f"seed {storm.seed}; all of it in {storm.folder}", "the last of the storm:", *storm.done[-25:]]
    lines += [f"fired: {dict(storm.fired)}", f"crashes: {storm.crashes}", *tails]
    return re.sub(r"(?m)^(.{400}).+$", r"\1…", "\n".join(lines))
