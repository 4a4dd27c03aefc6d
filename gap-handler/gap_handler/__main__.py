"""``python -m gap_handler``: repair the candle history until told to stop, or show its ``status``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from typing import Final

import uvloop

from gap_handler import status
from gap_handler.queries import QUERIES
from gap_handler.server import listen
from gap_handler.service import running
from marketdata import database, log
from marketdata.clock import SystemClock
from marketdata.errors import ConfigurationError, MarketDataError, SchemaError
from marketdata.heap import give_back_regularly
from marketdata.settings import DatabaseSettings, Settings, load

_WAIT_SECONDS: Final = 60.0

logger = log.get_logger("gap_handler")


class ServerStoppedError(MarketDataError):
    """The HTTP server ended though nobody told it to."""


async def wait_for_schema(settings: DatabaseSettings, *, seconds: float = _WAIT_SECONDS) -> None:
    """Return once the database is there and migrated. Raises ``MarketDataError`` when it is not in time.

    A database that goes away meanwhile is waited for again.
    """
    clock = SystemClock()
    deadline = clock.monotonic() + seconds
    while True:
        await database.wait_for_database(settings, seconds=max(deadline - clock.monotonic(), 1.0))
        try:
            if await _has_schema(settings):
                return
        except database.TRANSIENT as error:
            logger.warning("database_lost", task="start", reason=str(error) or type(error).__name__)
        if clock.monotonic() >= deadline:
            raise SchemaError(
                [f"the database {settings.name} has no schema: run python -m marketdata.migrate"]
            )
        await clock.sleep(0.5)


async def _has_schema(settings: DatabaseSettings) -> bool:
    connection = await database.connect(settings, "gap_handler-wait")
    try:
        return bool(await connection.fetchval(QUERIES["schema_ready"]))
    finally:
        connection.terminate()


async def run(settings: Settings, token: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    await wait_for_schema(settings.database)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    give_back_regularly(loop)
    listening = listen(settings.bind_address, settings.gap_handler_port)
    async with running(settings, token, listening) as serving:
        logger.info(
            "service_started",
            address=settings.bind_address,
            port=settings.gap_handler_port,
            exchange=list(settings.api_urls),
            workers=settings.max_concurrent_backfills,
        )
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, serving}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not stop.is_set():
            raise ServerStoppedError("the HTTP server stopped by itself") from serving.exception()
        logger.info("service_stopping")
    logger.info("service_stopped")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} must be seconds, from 0.1 to 86400")
    return seconds


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gap_handler",
        description="Repair the candle history until told to stop. Settings come from the environment.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    shown = commands.add_parser(
        "status",
        help="show how whole the history is, and stop",
        description="How whole each symbol's history is and what is done about it, from the database alone.",
    )
    shown.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=5.0,
        metavar="SECONDS",
        help="draw the table again every 5 (or SECONDS) seconds until interrupted",
    )
    return parser.parse_args()


def show_status(settings: Settings, every: float | None) -> int:
    """Show the history's state and return the exit code: 0, or 1 with the reason."""
    try:
        asyncio.run(status.show(settings.database, every=every))
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # Whoever read the table has gone; the interpreter would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MarketDataError as error:
        print(f"gap-handler: {error}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Run and return the exit code: 0, 2 for unusable settings, 1 with the reason for all else."""
    arguments = _arguments()
    try:
        settings = load(os.environ)
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"gap-handler: {problem}", file=sys.stderr)
        return 2
    if arguments.command == "status":
        return show_status(settings, arguments.watch)
    log.configure("gap_handler", settings.log_level)
    try:
        uvloop.run(run(settings, os.environ.get("BACKFILL_TOKEN", "")))
    except MarketDataError as error:
        print(f"gap-handler: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
