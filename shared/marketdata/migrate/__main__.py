"""``python -m marketdata.migrate``: bring the database's schema up to date, once."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from pathlib import Path

import asyncpg

from marketdata import database, log
from marketdata.errors import MarketDataError
from marketdata.migrate import apply, extension, files
from marketdata.settings import load

_BESIDE_REPOSITORY = Path(__file__).resolve().parents[3] / "timescaledb"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="marketdata.migrate", description=__doc__)
    local = Path("timescaledb")
    parser.add_argument(
        "--directory",
        type=Path,
        default=local if local.is_dir() else _BESIDE_REPOSITORY,
        help="folder that holds migrations/ and repeatable/ (default: %(default)s)",
    )
    parser.add_argument(
        "--policies",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="retention and compression by the wall clock; none in a database that replays past days",
    )
    parser.add_argument(
        "--wait", type=float, default=60, metavar="SECONDS", help="how long to wait for the database"
    )
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    settings = load(os.environ)
    log.configure("marketdata", settings.log_level)
    found = files.read(arguments.directory)
    # So a server answers that lacks the library of the TimescaleDB version in use: it is up, and mended next.
    with contextlib.suppress(asyncpg.UndefinedFileError):
        await database.wait_for_database(settings.database, seconds=arguments.wait)
    await extension.update(settings.database)
    connection = await database.connect(settings.database, "migrate")
    try:
        outcome = await apply.apply(
            connection,
            found,
            policies=arguments.policies,
            reader_password=os.environ.get("MLREADER_PASSWORD", ""),
        )
    finally:
        await connection.close()
    logger = log.get_logger("marketdata.migrate")
    logger.info("schema_ready", applied=outcome.applied, server_kind=outcome.server_kind)
    if apply.LACKING[outcome.server_kind]:
        logger.warning("server_lacks", message=apply.LACKING[outcome.server_kind])


def main() -> int:
    """Run and return the exit code: 0, or 1 with the reason on standard error."""
    try:
        asyncio.run(_run(_arguments()))
    except MarketDataError as error:
        print(f"migrate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
