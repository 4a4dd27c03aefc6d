"""An export from its first question to its manifest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from marketdata import database
from marketdata.database import Connection
from marketdata.errors import ExportError, RequestError
from marketdata.export import manifest, source
from marketdata.export.cluster import there
from marketdata.export.request import FORMATS, Request
from marketdata.export.rows import Part, Rows, load, make, parts
from marketdata.export.sinks import Sink, appearing, writing
from marketdata.minutes import floor_minute, isoformat
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings

APPLICATION: Final = "marketdata-export"

Progress = Callable[[int, int], None]
"""Told after each part: how many of the asked-for minutes are done, and how many rows are written."""


class Written(NamedTuple):
    """The file, its manifest and how many rows it holds."""

    path: Path
    manifest: Path
    rows: int


async def run(
    settings: DatabaseSettings,
    request: Request,
    output: Path,
    kind: str,
    *,
    overwrite: bool = False,
    dask: str | None = None,
    part_minutes: int | None = None,
    progress: Progress = lambda minutes, rows: None,
) -> Written:
    """Write what ``request`` asks for to ``output``, and its manifest beside it.

    Raises ``RequestError``, ``ExportError`` and what ``marketdata.database`` raises.
    """
    check_output(output, kind, overwrite)
    if dask is None:
        # One thread beside the loop's. Each has an arena of its own and keeps what it has freed: with as many
        # as there are processors, a long export grew by a third.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1, "marketdata-export"))
    await database.wait_for_database(settings, seconds=0)
    async with source.explained(settings), source.held_snapshot(settings) as snapshot:
        connection = await database.connect(settings, APPLICATION, command_timeout=source.STATEMENT_SECONDS)
        try:
            async with source.reading(connection, snapshot):
                await check(connection, request)
            plan = list(parts(request, part_minutes))
            pieces = (
                _here(connection, snapshot, request, plan)
                if dask is None
                else there(dask, snapshot, request, plan)
            )
            beside = manifest.path_of(output)
            with appearing(output) as partial:
                tally = await _fill(partial, kind, request, pieces, progress)
                size, sha256 = partial.stat().st_size, await asyncio.to_thread(manifest.digest, partial)
                async with source.reading(connection, snapshot):
                    minutes = {
                        symbol: await _minutes(connection, symbol, request) for symbol in request.symbols
                    }
                # An old manifest never stands beside the new file.
                beside.unlink(missing_ok=True)
        finally:
            connection.terminate()
    made = manifest.File(output.name, kind, size, sha256, datetime.now(UTC))
    with appearing(beside) as partial, writing(beside):
        partial.write_bytes(manifest.compose(made, request, tally, minutes))
    return Written(output, beside, tally.rows)


async def _fill(
    path: Path,
    kind: str,
    request: Request,
    pieces: AsyncGenerator[tuple[Part, Rows], None],
    progress: Progress,
) -> manifest.Tally:
    """Write the rows as they come. Raises ``ExportError`` where there is none."""
    tally = manifest.Tally(request)
    sink = Sink(request, kind, path)
    try:
        async with aclosing(pieces):
            async for part, rows in pieces:
                await asyncio.to_thread(sink.write, rows)
                tally.take(rows)
                progress((part.end - request.start) // MINUTE_MS * len(request.symbols), tally.rows)
    finally:
        sink.close()
    if not tally.rows:
        raise ExportError(_nothing(request))
    return tally


def check_output(output: Path, kind: str, overwrite: bool) -> None:
    """Raise ``RequestError`` unless a file of this format may be made there."""
    if kind not in FORMATS:
        raise RequestError(f"format: {kind!r} must be one of {', '.join(FORMATS)}")
    if not output.parent.is_dir():
        raise RequestError(f"output: there is no folder {output.parent}: make it first")
    if output.is_dir():
        raise RequestError(f"output: {output} is a folder: name a file")
    named = next((other for other in FORMATS if output.suffix.lower() == f".{other}"), kind)
    if named != kind:
        raise RequestError(
            f"output: {output} is named {output.suffix} and would hold {kind}: say --format {named},"
            " or give it another name"
        )
    there = [path for path in (output, manifest.path_of(output)) if path.exists()]
    if there and not overwrite:
        raise RequestError(f"output: {there[0]} is there already: --overwrite replaces it")


async def check(connection: Connection, request: Request) -> None:
    """Raise ``RequestError`` unless the database can have these symbols and this range."""
    records = {record["symbol"]: record for record in await connection.fetch(source.QUERIES["histories"])}
    problems = []
    for symbol in request.symbols:
        if symbol not in records:
            known = ", ".join(sorted(records)) or "none yet"
            problems.append(f"there is no symbol {symbol!r} in this database, only: {known}")
    now: int | None = next((record["now"] for record in records.values()), None)
    if now is None:
        problems.append("this database has no market time yet: let the data-feeder run first")
    elif not problems:
        newest = floor_minute(now) + MINUTE_MS
        if request.end > newest:
            problems.append(
                f"to: {isoformat(request.end)} lies in the future: take {isoformat(newest)} or earlier"
            )
        for symbol in request.symbols:
            problems += _outside(symbol, request, records[symbol]["kept_from"], records[symbol]["starts"],
                                 records[symbol]["ends"])  # fmt: skip
    if problems:
        raise RequestError(*problems)


def _outside(symbol: str, request: Request, kept: int, starts: int | None, ends: int | None) -> list[str]:
    """Say where ``symbol``'s kept history lacks the range's start, or all of it."""
    first, last = request.start - MINUTE_MS, request.end - MINUTE_MS
    if first < kept:
        return [f"from: the history of {symbol} is kept from {isoformat(kept)} on:"
                f" take {isoformat(kept + MINUTE_MS)} or later"]  # fmt: skip
    if starts is None or ends is None or last <= starts or first >= ends:
        have = f"from {isoformat(starts)} to {isoformat(ends)}" if starts and ends else "at no time yet"
        return [f"range: {symbol} is expected {have}, not from {isoformat(first)} to {isoformat(last)}"]
    return []


async def _minutes(connection: Connection, symbol: str, request: Request) -> dict[str, int]:
    records = await connection.fetch(
        source.QUERIES["coverage"], symbol, request.start - MINUTE_MS, request.end - MINUTE_MS
    )
    return {record["status"]: record["minutes"] for record in records}


def _nothing(request: Request) -> str:
    if request.as_known_ms is None:
        return "no candle of these symbols is stored in this range: see candle_coverage()"
    return (
        f"no row of this range was known within {request.as_known_ms / 1000:g} s of its time:"
        " a history filled in later never was; leave --as-known out, or take a range that was streamed"
    )


async def _here(
    connection: Connection, snapshot: str, request: Request, plan: list[Part]
) -> AsyncGenerator[tuple[Part, Rows], None]:
    """Each part's rows in order; the next one's minutes are read while one is computed."""
    reads = (asyncio.create_task(load(connection, snapshot, request, part)) for part in plan)
    waiting = next(reads, None)
    try:
        for part in plan:
            assert waiting is not None
            loaded = await waiting
            waiting = next(reads, None)
            rows = await asyncio.to_thread(make, request, part, loaded)
            del loaded
            yield part, rows
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
