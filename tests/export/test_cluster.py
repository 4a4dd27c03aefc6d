"""The same file from a Dask cluster, and nothing secret on its way there."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.export.stored import (
    PATHS,
    begin,
    command,
    content,
    environment,
    files,
    manifest,
    put,
    read,
    run,
    seeded,
    text,
)

from marketdata.database import Connection
from marketdata.export import ExportError
from marketdata.export import manifest as manifest_of
from marketdata.export.cluster import work
from marketdata.export.request import build
from marketdata.export.rows import Part
from marketdata.features.registry import MAX_WINDOW
from marketdata.settings import DatabaseSettings


def start(stack: ExitStack, folder: Path, name: str, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    started = subprocess.Popen(
        [sys.executable, "-m", *arguments, "--scheduler-file", str(folder / "scheduler.json")],
        env={**os.environ, "PYTHONPATH": PATHS, **more},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    stack.callback(stop, started)
    return started


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
def cluster(database: DatabaseSettings, tmp_path: Path) -> Iterator[Path]:
    """A scheduler and two workers, each with the database's settings in its own environment."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    with ExitStack() as stack:
        start(
            stack, folder, "scheduler", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
            "--port", "0", "--no-dashboard", "--no-show",
        )  # fmt: skip
        for name in ("one", "two"):
            start(
                stack, folder, name, "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1",
                "--no-dashboard", "--host", "127.0.0.1", "--name", name,
                "--local-directory", str(folder / name),
                **environment(database),
            )  # fmt: skip
        yield folder


WAIT = """
import json, sys
from distributed import Client
with Client(scheduler_file=sys.argv[1], timeout=60) as client:
    client.wait_for_workers(2, timeout=60)
    print(client.scheduler.address)
"""


@pytest.mark.timeout(240)
async def test_a_cluster_writes_the_same_file(
    connection: Connection, database: DatabaseSettings, cluster: Path, tmp_path: Path
) -> None:
    await begin(connection, ["BTCUSDT", "ETHUSDT"], 2000)
    await put(connection, "BTCUSDT", seeded(2000))
    await put(connection, "ETHUSDT", seeded(2000, seed=2))
    found = await asyncio.to_thread(run, database, "-c", WAIT, str(cluster / "scheduler.json"))
    assert found.returncode == 0, found.stderr
    address = found.stdout.strip()
    asked = [
        "--symbols", "ETHUSDT,BTCUSDT", "--from", text(100), "--to", text(2000), "--as-known",
        "--labels", "return:15", "--format", "csv", "--part-minutes", "300", "--quiet", "--output",
    ]  # fmt: skip
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    command(database, *asked, str(here))
    done = command(database, *asked, str(there), "--dask", address)
    assert content(there) == content(here)
    assert manifest(there)["symbols"] == manifest(here)["symbols"]
    assert read(there).num_rows == 2 * (2000 - MAX_WINDOW)
    said = done.stderr + "".join(
        content(cluster / name).decode() for name in files(cluster) if name.endswith(".log")
    )
    secret = environment(database)["DB_PASSWORD"]
    assert secret not in said
    # A failure on a worker is the command's, by its reason.
    done = command(database, *asked, str(there), "--overwrite", "--dask", "tcp://127.0.0.1:1", code=1)
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in done.stderr


async def test_what_is_wrong_on_a_worker_is_told_here(
    database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors travel as pickles; the operator reads them where the command runs."""
    request = build(["BTCUSDT"], text(100), text(200))
    arguments = ("00000003-00000001-1", request, Part(request.start, request.end))
    for name, value in {**environment(database), "DB_NAME": "elsewhere"}.items():
        monkeypatch.setenv(name, value)
    for formulas, reason in (
        ("others", "install the same marketdata"),
        (manifest_of.formulas(), "on a worker: "),
    ):
        with pytest.raises(ExportError, match=reason) as raised:
            await asyncio.to_thread(work, *arguments, formulas)
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    monkeypatch.setenv("DB_NAME", database.name)
    with pytest.raises(ExportError, match="the export's snapshot is not to be had here"):
        await asyncio.to_thread(work, *arguments, manifest_of.formulas())
