"""What ``memory`` and ``soak`` run both services against: a seeded market, an hour of it a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.processes import Ports, Program, answer

SPEED: Final = 60


def seeded(ports: Ports, folder: Path, symbols: Sequence[str], history_days: int) -> Program:
    """Return the simulator of these symbols, with a day more behind them than will be asked for."""
    return ports.simulator(
        folder / "simulator.log",
        "--seed", "7", "--symbols", ",".join(symbols), "--history-days", str(history_days + 1),
        "--start", "2026-10-02T00:00", "--speed", str(SPEED), "--no-wait",
    )  # fmt: skip


async def listening(ports: Ports) -> bool:
    """Whether both services answer."""
    asked = [answer(f"http://127.0.0.1:{port}/health") for port in (ports.feeder, ports.handler)]
    return all(await asyncio.gather(*asked))
