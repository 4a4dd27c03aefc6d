"""The command, end to end: what it writes, in which formats, and what it refuses."""

import asyncio
import hashlib
import io
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.export.conftest import Exported
from tests.export.stored import (
    PATHS,
    at,
    begin,
    command,
    content,
    environment,
    files,
    manifest,
    minutes_of,
    numbers,
    put,
    read,
    run,
    seeded,
    text,
)

from marketdata.database import Connection
from marketdata.export import export
from marketdata.export.cli import main
from marketdata.export.progress import shown
from marketdata.features.registry import FEATURE_VERSION, NAMES
from marketdata.settings import DatabaseSettings
from marketdata.store import ledger

DAY = 1440


@pytest.fixture
async def stored(connection: Connection) -> Connection:
    """Two days of two symbols; ETHUSDT lacks the minutes 2000 to 2009, the first five an outage."""
    await begin(connection, ["BTCUSDT", "ETHUSDT"], 2 * DAY)
    await put(connection, "BTCUSDT", seeded(2 * DAY))
    others = seeded(2 * DAY, seed=2)
    await put(connection, "ETHUSDT", np.delete(others, range(2000, 2010), axis=0), source="archive")
    await ledger.record_outage(connection, "ETHUSDT", at(2000), at(2005), confirm_seconds=0)
    await connection.execute("UPDATE data_quality_logs SET resolved = true")
    return connection


async def test_the_command_writes_a_training_set_and_its_manifest(
    stored: Connection, database: DatabaseSettings, tmp_path: Path
) -> None:
    path = tmp_path / "set.parquet"
    done = command(
        database, "--symbols", "BTCUSDT,ETHUSDT", "--from", text(1990), "--to", text(2030),
        "--groups", "returns,momentum", "--labels", "return:15,direction:60,barrier:60:0.005:0.005",
        "--output", str(path),
    )  # fmt: skip
    table = read(path)
    assert done.stdout.startswith(f"70 rows in {path}")
    assert done.stderr == ""
    assert table.column_names[:2] == ["symbol", "time"]
    assert table.column_names[-6:] == [
        "window_coverage", "label_return_15", "label_direction_60", "label_barrier_60_0.005_0.005",
        "label_barrier_60_0.005_0.005_minutes", "feature_version",
    ]  # fmt: skip
    assert set(table.column("feature_version").to_pylist()) == {FEATURE_VERSION}
    # By time, then as asked for; a row at 2001 would be of the candle 2000, which is not there.
    own = [minute for minute in range(1990, 2030) if not 2001 <= minute <= 2010]
    expected = sorted([(m, "BTCUSDT") for m in range(1990, 2030)] + [(m, "ETHUSDT") for m in own])
    assert list(zip(minutes_of(table), table.column("symbol").to_pylist(), strict=True)) == expected

    said = manifest(path)
    assert said["rows"] == 70
    assert said["sha256"] == hashlib.sha256(content(path)).hexdigest()
    assert said["size"] == len(content(path))
    assert said["arguments"]["labels"] == ["return:15", "direction:60", "barrier:60:0.005:0.005"]
    assert [f["name"] for f in said["features"]] == table.column_names[2:-6]
    assert said["symbols"]["BTCUSDT"]["first_time"] == text(1990)
    eth = said["symbols"]["ETHUSDT"]
    assert (eth["rows"], eth["last_time"], eth["window_coverage"]["rows_below_1"]) == (30, text(2029), 19)
    assert (eth["minutes"]["outage"], eth["minutes"]["missing"]) == (5, 5)
    assert eth["minutes"]["archive"] + eth["minutes"]["no-trade"] == 30
    assert 0 < eth["window_coverage"]["min"] < eth["window_coverage"]["mean"] < 1
    assert files(tmp_path) == ["set.parquet", "set.parquet.manifest.json"]


async def test_every_format_holds_the_same_and_csv_the_same_bytes(
    stored: Connection, exported: Exported, tmp_path: Path
) -> None:
    asked = {
        "symbols": ["ETHUSDT", "BTCUSDT"],
        "start": text(1980),
        "end": text(2080),
        "labels": ["barrier:30:0.001:0.001"],
    }
    parquet = exported(**asked)
    assert exported(**asked).equals(parquet)
    assert exported(**asked, format="arrow").equals(parquet)
    # The parts of a range leave no trace.
    assert exported(**asked, part_minutes=7).equals(parquet)
    exported(**asked, format="csv")
    csv = exported(**asked, format="csv")
    assert content(tmp_path / "4.csv") == content(tmp_path / "5.csv")
    for name in parquet.column_names:
        if name not in ("symbol", "time"):
            np.testing.assert_array_equal(numbers(csv, name), numbers(parquet, name), err_msg=name)
    assert parquet.column_names[2:-4] == list(NAMES)


async def test_null_is_null_and_not_nan(stored: Connection, exported: Exported) -> None:
    table = exported(
        symbols=["ETHUSDT"], start=text(2005), end=text(2100), features=["return_1m", "return_60m"]
    )
    first = table.slice(0, 1)
    assert minutes_of(first) == [2011]
    assert first.column("return_1m").to_pylist() == [None]
    assert table.column("return_60m").null_count == 60


async def test_a_notebook_exports_while_its_own_loop_runs(
    stored: Connection, exported: Exported, tmp_path: Path
) -> None:
    done: list[tuple[int, int]] = []
    table = exported(
        start=text(100), end=text(400), features=["return_1m"], part_minutes=100,
        progress=lambda minutes, rows: done.append((minutes, rows)),
    )  # fmt: skip
    assert table.num_rows == 300
    assert done == [(100, 100), (200, 200), (300, 300)]


async def test_a_dsn_takes_the_place_of_the_settings(
    stored: Connection, database: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", database.password)
    where = (
        f"{database.user}@/{database.name}?host={database.host}"
        if database.host.startswith("/")
        else (f"{database.user}@{database.host}:{database.port}/{database.name}?sslmode={database.sslmode}")
    )
    if database.host.startswith("/"):
        where = (
            f"{database.user}@localhost:{database.port}/{database.name}?host={database.host}&sslmode=disable"
        )
    written = export(
        tmp_path / "a.csv", symbols=["BTCUSDT"], start=text(50), end=text(60), format="csv",
        dsn=f"postgresql://{where}",
    )  # fmt: skip
    assert written.rows == 10


REFUSED = {
    "an unknown symbol": (["--symbols", "DOGEUSDT"], "'DOGEUSDT' in this database, only: BTCUSDT, ETHUSDT"),
    "an unknown feature": (["--features", "rsi_15"], "there is no feature 'rsi_15' (did you mean rsi_14?)"),
    "an unknown group": (["--groups", "astrology"], "there is no group 'astrology'"),
    "an unknown label": (["--labels", "colour:3"], "'colour:3' is not a label: return:H"),
    "a horizon": (["--labels", "return:0"], "whole minutes from 1 to 10080"),
    "a barrier": (["--labels", "barrier:10:0.1:1"], "DOWN above 0 and below 1"),
    "a label twice": (["--labels", "return:15,return:15"], "named twice"),
    "an inverted range": (["--to", text(99)], "from must be before to"),
    "an empty range": (["--to", text(100)], "from must be before to"),
    "seconds": (["--to", "2023-03-14T00:00:30Z"], "not on a minute"),
    "no time": (["--to", "tomorrow"], "'tomorrow' is not a time such as"),
    "the future": (["--to", "2027-01-01"], f"lies in the future: take {text(2 * DAY + 1)} or earlier"),
    "before the history": (["--from", "2023-03-12"], f"kept from {text(0)} on: take {text(1)} or later"),
    "as-known": (["--as-known", "-1"], "must be seconds from 0 to 3600"),
    "a folder": (["--output", "/nowhere/at/all.csv"], "there is no folder /nowhere/at: make it first"),
    "another format's name": (["--output", "all.csv"], "named .csv and would hold parquet: say --format csv"),
    "a dsn": (["--dsn", "mysql://u:secret@h/d"], "postgresql://mlreader:PASSWORD@"),
}  # fmt: skip


async def test_what_cannot_be_had_is_named(
    stored: Connection, database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in environment(database).items():
        monkeypatch.setenv(name, value)
    good = ["--symbols", "BTCUSDT", "--from", text(100), "--to", text(200), "--output", str(tmp_path / "f")]
    for case, (bad, reason) in REFUSED.items():
        code = await asyncio.to_thread(main, [*good, *bad])
        said = capsys.readouterr().err
        assert (code, reason in said, "secret" in said) == (2, True, False), (case, code, said)
    assert files(tmp_path) == []


async def test_a_file_is_replaced_only_where_that_was_said(
    stored: Connection, database: DatabaseSettings, tmp_path: Path
) -> None:
    path = tmp_path / "set.csv"
    await asyncio.to_thread(path.write_text, "mine")
    asked = ["--symbols", "BTCUSDT", "--from", text(100), "--to", text(110), "--output", str(path),
             "--format", "csv", "--features", "return_1m", "--quiet"]  # fmt: skip
    done = command(database, *asked, code=2)
    assert "is there already: --overwrite replaces it" in done.stderr
    assert content(path) == b"mine"
    done = command(database, *asked, "--overwrite")
    assert (done.stdout, done.stderr) == ("", "")
    assert content(path).startswith(b"symbol,time,return_1m,window_coverage,feature_version\nBTCUSDT,")
    assert manifest(path)["rows"] == 10


async def test_a_disk_that_refuses_leaves_nothing(
    stored: Connection, database: DatabaseSettings, tmp_path: Path
) -> None:
    """A limit on the size of a file refuses a write as a full disk does."""
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        "from marketdata.export.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = run(
        database, "-c", program, "--symbols", "BTCUSDT", "--from", text(100), "--to", text(2000),
        "--format", "csv", "--output", str(tmp_path / "f.csv"),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"{tmp_path} cannot be written to: " in done.stderr
    assert "make room there" in done.stderr
    assert files(tmp_path) == []


async def test_a_range_without_candles_writes_nothing(
    stored: Connection, database: DatabaseSettings, tmp_path: Path
) -> None:
    done = command(
        database, "--symbols", "ETHUSDT", "--from", text(2002), "--to", text(2008),
        "--output", str(tmp_path / "f"), code=1,
    )  # fmt: skip
    assert "no candle of these symbols is stored in this range" in done.stderr
    assert files(tmp_path) == []


async def test_a_database_that_is_not_there_or_refuses(database: DatabaseSettings, tmp_path: Path) -> None:
    asked = ["--symbols", "BTCUSDT", "--from", text(1), "--to", text(2), "--output", str(tmp_path / "f")]
    done = command(database, *asked, code=1, DB_HOST="127.0.0.1", DB_PORT="1")
    assert "no database at 127.0.0.1:1: " in done.stderr
    done = command(database, *asked, code=1, DB_NAME="no_such_database")
    assert "check DB_USER, DB_PASSWORD and DB_NAME" in done.stderr
    done = command(database, *asked, code=2)
    assert "there is no symbol 'BTCUSDT' in this database, only: none yet" in done.stderr


@pytest.mark.parametrize(("number", "code", "left"), [(signal.SIGINT, 130, 0), (signal.SIGKILL, -9, 1)])
async def test_a_run_that_is_ended_leaves_nothing_under_the_name(
    stored: Connection, database: DatabaseSettings, tmp_path: Path, number: int, code: int, left: int
) -> None:
    """It is held up by a lock while its file is open; what a kill leaves is hidden and called partial."""
    async with stored.transaction():
        await stored.execute("LOCK TABLE candles_1m IN ACCESS EXCLUSIVE MODE")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "marketdata.export", "--symbols", "BTCUSDT", "--from", text(100),
            "--to", text(200), "--output", str(tmp_path / "set.parquet"), "--quiet",
            env={**os.environ, "PYTHONPATH": PATHS, **environment(database)}, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            while True:
                if files(tmp_path) or process.returncode is not None:
                    break
                await asyncio.sleep(0.02)
            assert [name for name in files(tmp_path) if not name.startswith(".set.parquet.")] == []
            process.send_signal(number)
            _, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == code, said.decode()
    assert len(files(tmp_path)) == left
    assert not left or files(tmp_path)[0].endswith(".partial")


def test_a_terminal_sees_rows_and_the_time_left() -> None:
    written = io.StringIO()
    with shown(1_000, written) as tell:
        tell(250, 240)
        tell(1_000, 980)
    assert "980 rows" in written.getvalue()
    assert "1.00k/1.00k" in written.getvalue()


def test_a_terminal_without_a_width_sees_the_bar_too() -> None:
    screen, terminal = os.openpty()
    with open(terminal, "w", encoding="utf-8") as written:
        assert os.get_terminal_size(terminal).columns == 0
        with shown(1_000, written) as tell:
            tell(1_000, 980)
        assert "980 rows" in os.read(screen, 65536).decode()
    os.close(screen)
