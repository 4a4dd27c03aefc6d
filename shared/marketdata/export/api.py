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
from urllib.parse import parse_qs, unquote, urlsplit

from marketdata.export.errors import MissingPackageError, RequestError
from marketdata.export.request import build
from marketdata.settings import SSL_MODES, DatabaseSettings, load

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
        ExportError: a package is missing, the disk refuses, or there is no such row.
        ConfigurationError: the DB_* settings cannot be used, or the database refuses them.
        DatabaseUnavailableError: the database does not answer.
    """
    request = build(symbols, start, end, features=features, groups=groups, labels=labels, as_known=as_known)
    if part_minutes is not None and part_minutes < 1:
        raise RequestError([f"part_minutes: {part_minutes} must be at least 1"])
    settings = load(os.environ).database if dsn is None else from_dsn(dsn)
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
            raise MissingPackageError(name) from None


def from_dsn(dsn: str) -> DatabaseSettings:
    """Return the settings of ``postgresql://user:password@host:port/name?sslmode=require``.

    Raises ``RequestError`` that does not repeat it: it may hold a password.
    """
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    mode = query.pop("sslmode", ["prefer"])[0]
    host = query.pop("host", [parts.hostname or ""])[0]
    try:
        port = parts.port or 5432
    except ValueError:
        port = 0
    name = unquote(parts.path.lstrip("/"))
    user = unquote(parts.username or "")
    if parts.scheme not in ("postgresql", "postgres") or not (host and port and name and user):
        raise RequestError(
            ["dsn: must be such as postgresql://mlreader:PASSWORD@127.0.0.1:5432/btc_ml_production"]
        )
    if query or mode not in SSL_MODES:
        raise RequestError([f"dsn: takes host and sslmode ({', '.join(SSL_MODES)}) after the question mark"])
    password = unquote(parts.password) if parts.password else os.environ.get("DB_PASSWORD", "")
    return DatabaseSettings(host, port, name, user, password, mode)


def _finish(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Run to the end, in a thread where this one has a running event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
