"""``python -m data_feeder``: settings in, a running feeder out."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from typing import Final

import uvloop

from data_feeder.service import Feeder
from marketdata.errors import ConfigurationError, MarketDataError
from marketdata.heap import give_back_regularly
from marketdata.log import configure, get_logger
from marketdata.settings import Settings, load

log = get_logger("data_feeder")

SWITCH_SECONDS: Final = 0.0005
"""How long a thread keeps the interpreter from another that asks for it: a tenth of Python's own. After each
call of numpy a thread that computes asks, and the sockets have to."""


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    give_back_regularly(loop)
    try:
        await Feeder(settings, os.environ.get("BACKFILL_TOKEN", "")).run(stop)
    except BaseExceptionGroup as group:
        # The first part that could not go on took the others with it: its reason is the one to tell.
        ours = group.subgroup(MarketDataError)
        while ours is not None:
            error = ours.exceptions[0]
            if not isinstance(error, BaseExceptionGroup):
                raise error from None
            ours = error
        raise


def main() -> int:
    """Run and return the exit code: 0 after a stop, 1 for what may pass, 2 for what an operator must mend."""
    try:
        settings = load(os.environ)
        configure("data_feeder", settings.log_level)
        log.info(
            "starting",
            symbols=settings.captured,
            shard=str(settings.shard),
            database=repr(settings.database),
            stream=settings.stream_urls,
        )
        # What was imported stays: a collection that looks at it all stops the loop for tens of milliseconds.
        gc.freeze()
        sys.setswitchinterval(SWITCH_SECONDS)
        uvloop.run(_serve(settings))
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"data-feeder: {problem}", file=sys.stderr)
        return 2
    except MarketDataError as error:
        print(f"data-feeder: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
