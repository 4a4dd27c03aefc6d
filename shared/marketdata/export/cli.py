"""The command's arguments and exit codes: 0; 2: cannot be asked for; 130: Ctrl-C; 1: all else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from marketdata.errors import ConfigurationError, MarketDataError, RequestError
from marketdata.export.api import export, require
from marketdata.export.progress import shown
from marketdata.export.request import AS_KNOWN_SECONDS, FORMATS, build
from marketdata.models import MINUTE_MS


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    found = argparse.ArgumentParser(
        prog="marketdata-export",
        description="Write features and labels of a stored range to a file, with a manifest beside it. The"
        " database is that of DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD; reading rights are enough.",
    )
    found.add_argument("--symbols", required=True, type=_names, metavar="A,B", help="such as BTCUSDT,ETHUSDT")
    found.add_argument("--from", required=True, dest="start", metavar="TIME", help="first row's time, UTC")
    found.add_argument("--to", required=True, dest="end", metavar="TIME", help="rows before this time, UTC")
    chosen = found.add_mutually_exclusive_group()
    chosen.add_argument("--features", type=_names, metavar="A,B", help="these features (default: all)")
    chosen.add_argument("--groups", type=_names, metavar="A,B", help="the features of these groups")
    found.add_argument(
        "--labels",
        type=_names,
        default=[],
        metavar="A,B",
        help="return:H, direction:H, barrier:H:UP:DOWN; H in minutes, barriers as fractions of the close",
    )
    found.add_argument("--format", choices=FORMATS, default="parquet", help="(default: %(default)s)")
    found.add_argument("--output", required=True, type=Path, metavar="FILE")
    found.add_argument("--overwrite", action="store_true", help="replace FILE where there is one")
    found.add_argument(
        "--as-known",
        nargs="?",
        type=float,
        const=AS_KNOWN_SECONDS,
        metavar="SECONDS",
        help="only rows that a live model had so long after their time (default: 5 seconds)",
    )
    found.add_argument(
        "--dsn",
        metavar="URL",
        help="postgresql://USER@HOST:PORT/NAME instead of DB_*; leave the password to DB_PASSWORD: the"
        " process list shows arguments",
    )
    found.add_argument("--dask", metavar="ADDRESS", help="compute on the cluster of this scheduler")
    found.add_argument(
        "--part-minutes", type=int, metavar="N", help="minutes in memory at a time (default: by itself)"
    )
    found.add_argument("--quiet", action="store_true", help="say nothing but errors")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit code."""
    given = parser().parse_args(arguments)
    bar = sys.stderr.isatty() and not given.quiet
    try:
        asked = build(
            given.symbols, given.start, given.end, features=given.features, groups=given.groups,
            labels=given.labels, as_known=given.as_known,
        )  # fmt: skip
        require("pyarrow", *(["tqdm"] if bar else []), *(["distributed"] if given.dask else []))
        minutes = (asked.end - asked.start) // MINUTE_MS * len(asked.symbols)
        with shown(minutes, sys.stderr) if bar else nullcontext() as progress:
            written = export(
                given.output,
                symbols=given.symbols,
                start=given.start,
                end=given.end,
                features=given.features,
                groups=given.groups,
                labels=given.labels,
                format=given.format,
                as_known=given.as_known,
                dsn=given.dsn,
                dask=given.dask,
                part_minutes=given.part_minutes,
                overwrite=given.overwrite,
                progress=progress,
            )
    except RequestError as error:
        return _refused(error.problems, 2)
    except ConfigurationError as error:
        return _refused(error.problems, 1)
    except MarketDataError as error:
        return _refused([str(error)], 1)
    except KeyboardInterrupt:
        return _refused(["interrupted: nothing was written"], 130)
    if not given.quiet:
        known = "" if given.as_known is None else f" that were known within {given.as_known:g} s"
        print(f"{written.rows:,} rows{known} in {written.path}, described in {written.manifest}")
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _refused(problems: Sequence[str], code: int) -> int:
    for problem in problems:
        print(f"marketdata-export: {problem}", file=sys.stderr)
    return code
