"""The export as a function, for notebooks and programs."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from marketdata.address import from_dsn, from_environment
from marketdata.errors import ConfigurationError, MissingPackageError, RequestError

if TYPE_CHECKING:
    from marketdata.export.run import Progress, Written

_NEEDED: Final = ("pyarrow",)
_Answer = TypeVar("_Answer")


def export(
    output: str | Path,
    *,
    symbols: Sequence[str],
    start: str | datetime,
    end: str | datetime,
    features: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    labels: Sequence[str] = (),
    format: str = "parquet",
    as_known: float | None = None,
    dsn: str | None = None,
    dask: str | None = None,
    overwrite: bool = False,
    part_minutes: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write a training set to ``output`` and its manifest beside it; return their paths and the rows.

    Rows are those with ``time`` in ``[start, end)`` (a time without a zone is UTC) by time, then in the order
    of ``symbols``. ``features`` or ``groups`` choose columns, neither means all. ``labels`` are such as
    ``return:15``, ``direction:60`` and ``barrier:60:0.005:0.005``. ``as_known`` keeps the rows a live model
    had so many seconds after their time. The database is that of the DB_* environment variables, or of
    ``dsn``; reading rights are enough. ``dask`` is the address of a scheduler. ``part_minutes`` bounds what
    is in memory at a time. Works where an event loop is running, as in a notebook.

    Raises:
        RequestError: an argument cannot be had; ``problems`` names every one.
        MissingPackageError: a package of requirements-research.lock is not installed.
        ExportError: the disk refuses, or there is no such row.
        ConfigurationError: the DB_* settings cannot be used, or the database refuses them.
        DatabaseUnavailableError: the database does not answer.
    """
    # Here and not above: what importing the features imports is for the command to say (see __main__).
    from marketdata.export.request import build

    request = build(symbols, start, end, features=features, groups=groups, labels=labels, as_known=as_known)
    if part_minutes is not None and part_minutes < 1:
        raise RequestError(f"part_minutes: {part_minutes} must be at least 1")
    try:
        settings = from_environment(os.environ) if dsn is None else from_dsn(dsn, os.environ)
    except ConfigurationError as error:
        if dsn is None:
            raise
        raise RequestError(*(f"dsn: {problem}" for problem in error.problems)) from None
    require(*_NEEDED)
    from marketdata.export.run import run

    return _finish(
        run(
            settings,
            request,
            Path(output),
            format,
            overwrite=overwrite,
            dask=dask,
            part_minutes=part_minutes,
            progress=progress or (lambda minutes, rows: None),
        )
    )


def require(*packages: str) -> None:
    """Raise ``MissingPackageError`` for the first of these that is not installed."""
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError:
            raise missing(name) from None


def missing(package: str) -> MissingPackageError:
    """What to say where a package that only training needs is not installed."""
    return MissingPackageError(
        f"{package} is not installed, and exports need it:"
        " pip install --require-hashes -r requirements-research.lock",
        name=package,
    )


def _finish(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Run to the end, in a thread where this one has a running event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
