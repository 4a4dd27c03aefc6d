"""Ours: the feeder's own socket, sequences, buffer and writer, without what the peers have nothing like."""

from __future__ import annotations

import asyncio
import logging
import os

import uvloop

from benchmarks.peers.market import MINUTE_MS, T0
from data_feeder.buffer import Buffer
from data_feeder.ingest import Ingest
from data_feeder.session import Patience, Session
from data_feeder.writer import Writer
from marketdata.clock import MarketClock, SystemClock
from marketdata.settings import load


async def main() -> None:
    """Store closed candles until killed."""
    settings = load(os.environ)
    clock, market, buffer = SystemClock(), MarketClock(), Buffer()
    head = T0 - MINUTE_MS
    ingest = Ingest(settings.symbols, head, buffer, market, clock)
    session = Session(
        settings.stream_urls[0], settings.symbols, ingest, clock, Patience(), lambda session: None
    )
    writer = Writer(
        settings.database,
        buffer,
        market,
        clock,
        symbols=settings.symbols,
        head=head,
        batch_max_rows=settings.batch_max_rows,
        on_commit=lambda *_: None,
        on_gaps=lambda gaps: None,
    )
    await asyncio.gather(writer.run(), session.run())


if __name__ == "__main__":
    logging.disable(logging.INFO)
    uvloop.run(main())
