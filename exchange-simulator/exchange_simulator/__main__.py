"""`python -m exchange_simulator`."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys

import uvloop

from exchange_simulator.cli import parse_args
from exchange_simulator.config import SimulatorConfig
from exchange_simulator.errors import SimulatorError
from exchange_simulator.log import log
from exchange_simulator.simulator import Simulator


async def serve(config: SimulatorConfig) -> None:
    """Run until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Simulator(config) as simulator:
        # Frames live for a moment and never form cycles; scanning the candles for garbage is in vain.
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        log(
            "simulator_started",
            stream_url=simulator.stream_url,
            api_url=simulator.api_url,
            stream_port=int(simulator.stream_url.rsplit(":", 1)[1]),
            http_port=int(simulator.api_url.rsplit(":", 1)[1]),
            symbols=simulator.symbols,
            market_ms=simulator.clock.now_ms(),
            speed="max" if config.speed is None else config.speed,
        )
        running = asyncio.create_task(simulator.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    log("simulator_stopped")


def main() -> None:
    """Entry point."""
    try:
        uvloop.run(serve(parse_args()))
    except (SimulatorError, OSError) as error:
        log("simulator_failed", error=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
