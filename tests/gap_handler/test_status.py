"""How whole the history is: /health's figures, the metrics, and ``python -m gap_handler status``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import sys

import pytest
from tests.gap_handler.harness import (
    NOON,
    NOW,
    SYMBOL,
    Connection,
    environment,
    eventually,
    handler,
    register,
)

from gap_handler.completeness import History, percent, report, sentence, total
from gap_handler.scheduler import Rollups
from gap_handler.status import bar, left
from marketdata import database as db
from marketdata.clock import SystemClock
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store import ledger as verbs

DAY = 1440


def history(missing: int, *, symbol: str = "BTCUSDT", expected: int = 568_800, outage: int = 0) -> History:
    share = (expected - missing) / expected if expected else None
    return History(symbol, expected, expected - missing - outage, missing, outage, share)


@pytest.mark.parametrize(
    ("missing", "text"),
    [(0, "100.00%"), (1, "99.99%"), (1234, "99.78%"), (568_799, "0.00%"), (568_800, "0.00%")],
)
def test_only_what_lacks_nothing_is_whole(missing: int, text: str) -> None:
    assert percent(history(missing)) == text
    assert (bar(history(missing)) == "#" * 20) == (missing == 0)


def test_the_sentence() -> None:
    assert sentence(history(1234)) == "BTCUSDT 99.78%, 1,234 of 568,800 minutes missing"
    assert sentence(history(0, outage=60)).endswith("0 of 568,800 minutes missing, 60 in outages")
    assert sentence(history(0, expected=0)) == "BTCUSDT: no minute is expected yet"
    assert percent(history(0, expected=0)) == "-"


def test_of_many_symbols_the_worst_ten_are_named() -> None:
    many = [history(n, symbol=f"S{n:02}") for n in range(30)]
    said = report(many)
    assert (said["symbols"], said["missing_minutes"]) == (30, sum(range(30)))
    assert [one["symbol"] for one in said["worst"]] == [f"S{n:02}" for n in range(29, 19, -1)]
    assert total([]) == History("total", 0, 0, 0, 0, None)
    assert report([])["worst"] == []


@pytest.mark.parametrize(
    ("missing", "rate", "fetching", "text"),
    [
        (0, 10.0, 1, "-"), (600, None, 1, "-"), (600, 10.0, 0, "-"), (600, 100.0, 1, "<1m"),
        (6000, 10.0, 1, "10m"), (60_000, 10.0, 3, "1h 40m"), (568_800, 1.0, 1, "6d 14h"),
    ],
)  # fmt: skip
def test_the_time_left(missing: int, rate: float | None, fetching: int, text: str) -> None:
    assert left(missing, rate, fetching) == text


@pytest.mark.database
async def test_health_and_metrics_say_it(database: DatabaseSettings, ledger: Connection) -> None:
    await _lack(ledger, DAY)
    async with handler(database, "http://127.0.0.1:9") as running:

        async def looked() -> bool:
            return (await running.health())["history"] is not None

        await eventually(looked)
        seen = (await running.health())["history"]
        assert seen["summary"] == "total 80.00%, 1,440 of 7,200 minutes missing"
        assert seen["worst"][0]["summary"] == "BTCUSDT 80.00%, 1,440 of 7,200 minutes missing"
        assert (seen["completeness"], seen["present_minutes"], seen["outage_minutes"]) == (0.8, 5760, 0)

        async def told() -> bool:
            text = (await running.client.get("/metrics")).text
            return (
                f'history_completeness_ratio{{symbol="{SYMBOL}"}} 0.8' in text
                and f'history_minutes_missing{{symbol="{SYMBOL}"}} 1440.0' in text
            )

        await eventually(told)


@pytest.mark.database
async def test_a_table_in_a_pipe(database: DatabaseSettings, ledger: Connection) -> None:
    await register(ledger, symbol="ETHUSDT")
    await _lack(ledger, DAY)
    code, out, err = await _status(database)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    heading, columns, first, second, last = out.splitlines()
    assert heading == "History at 2026-03-03 12:00 UTC, the market's time."
    assert columns.split()[:4] == ["symbol", "complete", "missing", "outage"]
    assert first.split()[:7] == [SYMBOL, "#" * 16 + "....", "80.00%", "1,440", "0", "1", "0"]
    assert second.split()[:4] == ["ETHUSDT", "#" * 20, "100.00%", "0"]
    assert last.split()[:4] == ["total", "#" * 18 + "..", "90.00%", "1,440"]


@pytest.mark.database
async def test_what_is_being_fetched_and_how_fast(database: DatabaseSettings, ledger: Connection) -> None:
    await _lack(ledger, DAY)
    # A piece of 600 closed within the five minutes since the gap was found, another of 240 is under way.
    await ledger.execute("UPDATE data_quality_logs SET created_at = now() - interval '5 minutes'")
    await ledger.execute("SELECT claim_work(interval '10 minutes', 600, 'a worker')")
    await ledger.execute(
        "UPDATE data_quality_logs SET resolved = true, resolved_at = now(), candles_recovered = 600"
        " WHERE lease_until > now()"
    )
    await ledger.execute("SELECT claim_work(interval '10 minutes', 240, 'another')")
    code, out, _ = await _status(database)
    row = out.splitlines()[2].split()
    assert code == 0
    assert row[3:7] == ["840", "0", "2", "1"], (
        "600 were recovered, of what is left 240 are in somebody's hands"
    )
    assert 100 <= int(row[7]) <= 120, "600 in five minutes, and the time this test took"
    assert row[8] in ("7m", "8m")


@pytest.mark.database
async def test_watching_redraws_a_terminal_and_ends_when_interrupted(
    database: DatabaseSettings, ledger: Connection
) -> None:
    master, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gap_handler", "status", "--watch", "0.1", env=environment(database),
        stdout=terminal, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    async with asyncio.timeout(30):
        while seen.count(b"\x1b[H\x1b[J") < 3:
            seen += await asyncio.to_thread(os.read, master, 4096)
    process.send_signal(signal.SIGINT)
    # Read on: a terminal that nobody reads holds up whoever writes to it.
    reading = asyncio.create_task(asyncio.to_thread(_read_out, master))
    _, err = await asyncio.wait_for(process.communicate(), 30)
    await reading
    os.close(master)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.database
async def test_what_is_wrong_is_named(database: DatabaseSettings) -> None:
    for changes, code, words in (
        ({"DB_NAME": "not_there"}, 1, "DB_NAME"),
        ({"DB_PORT": "1", "DB_HOST": "127.0.0.1"}, 1, "no database at 127.0.0.1:1"),
        ({"DB_PORT": "many"}, 2, "DB_PORT"),
    ):
        got, out, err = await _status(database, **changes)
        assert (got, out) == (code, "")
        assert words in err
        assert "Traceback" not in err
    got, _, err = await _status(database, "--watch", "never")
    assert (got, "'never' must be seconds" in err) == (2, True)


@pytest.mark.database
async def test_before_anything_is_there(database: DatabaseSettings, connection: Connection) -> None:
    assert await _status(database) == (
        0, "No symbol is registered yet: the data-feeder does that at its start.\n", "",
    )  # fmt: skip
    await connection.execute("DROP VIEW history_completeness")
    code, _, err = await _status(database)
    assert (code, "marketdata.migrate" in err) == (1, True)


@pytest.mark.database
async def test_a_closed_gap_leaves_its_chunk_whole(database: DatabaseSettings, ledger: Connection) -> None:
    if await ledger.fetchval("SELECT server_kind()") != "community":
        pytest.skip("no columnstore on this server")
    insert = (
        "INSERT INTO candles_1m SELECT $1, time, 1, 2, 0.5, 1.5, 10, 15, 3, 5, 7.5, 'rest', time"
        " FROM generate_series($2::timestamptz, $3::timestamptz, interval '1 minute') AS time"
    )
    start = NOON - 60 * DAY * MINUTE_MS
    await ledger.execute(insert, SYMBOL, start, start + 100 * MINUTE_MS)
    await ledger.execute("SELECT compress_chunk(c) FROM show_chunks('candles_1m') AS c")
    await ledger.execute(insert, SYMBOL, start + 101 * MINUTE_MS, start + 110 * MINUTE_MS)
    partial = "SELECT sum(_timescaledb_functions.chunk_status(c) & 8) FROM show_chunks('candles_1m') AS c"
    assert await ledger.fetchval(partial) == 8
    pool = await db.create_pool(database, "test", 2)
    await Rollups(pool, SystemClock()).refresh(start + 101 * MINUTE_MS, start + 111 * MINUTE_MS)
    await pool.close()
    assert await ledger.fetchval(partial) == 0


def _read_out(terminal: int) -> None:
    """Read until the other side is closed, which Linux tells by an error."""
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


async def _lack(connection: Connection, minutes: int) -> None:
    """Open a gap of the newest ``minutes`` of the symbol's five days, with no candle anywhere."""
    await verbs.record_missing(connection, SYMBOL, NOW - minutes * MINUTE_MS, NOW, "audit")


async def _status(database: DatabaseSettings, *arguments: str, **changes: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gap_handler", "status", *arguments, env=environment(database) | changes,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
