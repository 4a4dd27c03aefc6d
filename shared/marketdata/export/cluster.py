"""The same parts on a Dask cluster: each worker reads and computes, the rows are written here in order.

Nothing of the connection is sent: the task graph, which the scheduler's dashboard and logs show, holds what
is asked for and the name of a snapshot. Every worker has DB_* settings of its own in its environment; one
that leads to another database does not know the snapshot, and says so.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Final

from marketdata import database
from marketdata.errors import ExportError, MarketDataError
from marketdata.export import manifest, source
from marketdata.export.api import missing
from marketdata.export.request import Request
from marketdata.export.rows import Part, Rows, load, make
from marketdata.settings import load as load_settings

CONNECT_SECONDS: Final = 20


async def there(
    address: str, snapshot: str, request: Request, plan: list[Part]
) -> AsyncGenerator[tuple[Part, Rows], None]:
    """Each part's rows in order, two tasks a worker's thread under way at a time."""
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise missing("distributed") from None
    try:
        client = await distributed.Client(address, asynchronous=True, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise ExportError(f"no Dask scheduler answers at {address}: {error} (check --dask)") from None
    try:
        threads = sum((await client.nthreads()).values())
        if not threads:
            raise ExportError(
                f"the Dask scheduler at {address} has no worker: start one with its DB_* settings"
            )
        running: deque[tuple[Part, Any]] = deque()
        coming = iter(plan)
        formulas = manifest.formulas()
        while True:
            while len(running) < 2 * threads and (part := next(coming, None)) is not None:
                future = client.submit(work, snapshot, request, part, formulas, pure=False, retries=1)
                running.append((part, future))
            if not running:
                return
            part, future = running.popleft()
            try:
                rows = await future
            except (
                distributed.KilledWorker,
                distributed.client.FutureCancelledError,
                OSError,
                RuntimeError,
            ) as error:
                raise ExportError(
                    f"the cluster gave the work up: {error} (see its workers' logs; the scheduler and every"
                    " worker need the same marketdata and packages as this program)"
                ) from None
            del future
            yield part, rows
    finally:
        await client.close()


def work(snapshot: str, request: Request, part: Part, formulas: str) -> Rows:
    """Read and compute one part, on a worker.

    Raises ``ExportError``, which travels, for all that can be mended: other code, other settings.
    """
    if formulas != manifest.formulas():
        raise ExportError(
            "a worker computes other features than this program: install the same marketdata there"
        )
    try:
        return asyncio.run(_work(snapshot, request, part))
    except MarketDataError as error:
        raise ExportError(f"on a worker: {error}") from None


async def _work(snapshot: str, request: Request, part: Part) -> Rows:
    settings = load_settings(os.environ).database
    async with source.explained(settings):
        connection = await database.connect(
            settings, "marketdata-export-worker", command_timeout=source.STATEMENT_SECONDS
        )
        try:
            loaded = await load(connection, snapshot, request, part)
        finally:
            connection.terminate()
    return make(request, part, loaded)
