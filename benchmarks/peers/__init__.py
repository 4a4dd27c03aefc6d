"""Other projects' ways to the same rows, unmodified, beside ours: ``python -m benchmarks.peers``.

Live: ``cryptofeed`` with its Postgres backend and ``python-binance`` with a row at a time by ``psycopg``,
each a process of its own, from the same sender into tables with the same key on the same server. History:
``ccxt``'s pages and ``freqtrade``'s download beside the gap-handler, from the simulator under its rate limit.
And what each has stored in the end, held against what was sent.
"""

from __future__ import annotations

import uvloop

from benchmarks.harness import Options, Report
from benchmarks.server import described, fresh_database
from marketdata import database as db


async def _run(options: Options) -> Report:
    # Here, so that a program of this folder can be run as a module of its own.
    from benchmarks.peers import history, live

    async with fresh_database() as settings:
        connection = await db.connect(settings, "bench")
        # A time without a zone, as cryptofeed writes it, is one in UTC.
        await connection.execute(f"ALTER DATABASE \"{settings.name}\" SET timezone = 'UTC'")
        streamed = await live.measure(connection, settings, options)
        fetched = await history.measure(connection, settings, options)
        report = Report([*streamed.results, *fetched.results])
        report.facts = {"live": streamed.facts, "history": fetched.facts}
        report.facts["server"] = await described(connection)
        await connection.close()
    return report


def run(options: Options) -> Report:
    """Measure live and history, ours in turns with each peer."""
    return uvloop.run(_run(options))
