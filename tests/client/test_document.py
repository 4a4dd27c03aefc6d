"""Every Python block of docs/client.md runs, in order, as the models' role."""

from __future__ import annotations

import asyncio
import re
import sys
from itertools import count
from pathlib import Path

import pytest
from tests.client.conftest import insert, store
from tests.processes import database_environment

from marketdata.database import Connection
from marketdata.settings import DatabaseSettings

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "client.md"


@pytest.mark.timeout(180)
async def test_the_page_runs_as_it_stands(market: Connection, reader: DatabaseSettings) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 7
    await store(market, "BTCUSDT", range(-1, 5))
    await insert(market, "BTCUSDT", range(5))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "\n".join(blocks),
        env={
            "PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY / "shared"), **database_environment(reader),
        },
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    ended = asyncio.create_task(process.communicate())
    for n in count(5):
        # The page waits for a new row somewhere.
        await insert(market, "BTCUSDT", [n])
        done, _ = await asyncio.wait([ended], timeout=0.5)
        if done:
            break
    said = (await ended)[0].decode()
    assert process.returncode == 0, said
    assert "Client(mlreader@" in said
    assert "\n2 1\n" in said, "two horizons were new, one was known"
    assert "datetime64[us, UTC]" in said
