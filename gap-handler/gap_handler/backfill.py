"""One run over a piece of work: fetch what is missing, write it, decide what stays missing, settle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import asyncpg

from gap_handler import evidence, outages, plan
from gap_handler.archive.source import Archives
from gap_handler.connections import borrow
from gap_handler.exchange import Exchange
from gap_handler.listing import Listings
from gap_handler.outages import Finding
from gap_handler.plan import Run
from gap_handler.queries import QUERIES
from gap_handler.verdict import delay_after
from marketdata.binance.rest import RestCandle
from marketdata.clock import MarketClock
from marketdata.database import Connection
from marketdata.log import get_logger
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS, Source
from marketdata.store import bulk, candles, ledger
from marketdata.store.bulk import Block
from marketdata.store.candles import Written
from marketdata.store.ledger import Gap, Work

log = get_logger(__name__)

_NEAR_NOW_MS: Final = 10 * MINUTE_MS
# Old minutes: their known_at may lag by this where no stream brings the time, and each question costs a page.
_TIME_KEEPS_SECONDS: Final = 30.0
# Between rounds something was written; this bounds an exchange that changes its answers all the time.
_MOST_ROUNDS: Final = 20


class Report(NamedTuple):
    """How a run ended: candles recovered, and why it could not be closed (None: it is)."""

    recovered: int
    waiting_for: str | None


class Backfill:
    """Runs over gaps and outages. Stateless between runs but for what the exchange said of itself."""

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        exchange: Exchange,
        archives: Archives,
        listings: Listings,
        market: MarketClock,
        *,
        confirm_seconds: int,
        lease_seconds: float,
    ) -> None:
        self._pool = pool
        self._exchange = exchange
        self._archives = archives
        self._listings = listings
        self._market = market
        self._confirm_seconds = confirm_seconds
        self._lease_seconds = lease_seconds
        self._learning = asyncio.Lock()

    async def run(self, work: Work, progress: Callable[[int], None]) -> Report:
        """Work once over a leased gap or outage, and settle it.

        ``progress`` is told of every answer, with the candles it recovered. Raises ``ExchangeError``,
        ``DecodeError`` and the database's errors; what was written by then stays.
        """
        gap = work.gap
        await self._learn_time(gap)
        first_kline = await self._listings.first_kline(gap.symbol)
        progress(0)
        recovered, refused, reasons = 0, set[int](), list[Finding]()
        missing = await self._missing(work)
        if not work.is_outage:
            recovered, missing = await self._fetch_archives(work, missing, progress)
        for _ in range(_MOST_ROUNDS):
            written, seen = await self._fetch(work, missing, progress)
            recovered += written
            refused |= seen
            reasons = []
            again = False
            missing = await self._missing(work) if missing else []
            for run in missing:
                finding = await outages.look(
                    self._exchange,
                    gap.symbol,
                    run,
                    first_kline=first_kline,
                    refused=frozenset(refused),
                    market=self._market,
                )
                progress(0)
                if finding is Finding.ROWS:
                    again = True
                elif finding is Finding.NOTHING_AFTER and await self._listing_ended(work, run):
                    continue
                elif finding is not Finding.OUTAGE:
                    reasons.append(finding)
                elif not work.is_outage:
                    await self._record_outage(work, run)
            if not again or not written:
                break
        else:
            again = True
        waiting_for = str(reasons[-1]) if reasons else None
        if waiting_for is None and again:
            waiting_for = "the exchange's rows differ from answer to answer"
        return Report(recovered, await self._settle(work, waiting_for))

    async def _learn_time(self, gap: Gap) -> None:
        """Bring the market's clock up to the exchange's where a minute's end may be close."""
        async with borrow(self._pool) as connection:
            stored: int | None = await connection.fetchval(QUERIES["market"])
        self._market.advance(stored or 0)
        near = gap.end > self._market.now_ms - _NEAR_NOW_MS
        if not near and self._exchange.time_age <= _TIME_KEEPS_SECONDS:
            return
        before = self._exchange.time_age
        async with self._learning:
            if self._exchange.time_age < before:
                return  # another worker has asked since this one wanted to know
            now = await self._exchange.server_time()
            async with borrow(self._pool) as connection:
                await connection.execute(QUERIES["advance_clock"], now)

    async def _missing(self, work: Work) -> list[Run]:
        gap = work.gap
        async with borrow(self._pool) as connection:
            records = await connection.fetch(
                QUERIES["missing"], gap.symbol, gap.start, gap.end, work.is_outage
            )
        return [Run(record["starts"], record["ends"]) for record in records]

    async def _fetch_archives(
        self, work: Work, missing: list[Run], progress: Callable[[int], None]
    ) -> tuple[int, list[Run]]:
        """Take what whole days the archives have; return the candles recovered and what is left to REST."""
        recovered = 0
        while (file := self._archives.next_file(work.gap.symbol, missing)) is not None:
            found = await self._archives.read(file, missing, progress)
            try:
                await self._write(work, Run(file.start, file.end), found.impossible, Source.ARCHIVE)
                for part in found.candles.chunks():
                    written = await self._copy(work, part)
                    recovered += written
                    progress(written)
            except BaseException:
                self._archives.forget(file)
                raise
            missing = await self._missing(work)
        return recovered, missing

    async def _fetch(
        self, work: Work, missing: list[Run], progress: Callable[[int], None]
    ) -> tuple[int, set[int]]:
        """Page over what is missing; return the candles recovered and the minutes whose rows were refused."""
        recovered, refused = 0, set[int]()
        cursor = plan.next_missing(missing, work.gap.start)
        while cursor is not None:
            within = Run(cursor, missing[-1].end)
            rows = await self._exchange.klines(work.gap.symbol, start=within.start, end=within.end)
            final = plan.usable(rows, within, self._market.now_ms)
            written = await self._write(work, within, final, Source.REST)
            recovered += written
            refused |= plan.refused_minutes(final)
            progress(written)
            following = plan.after(rows, cursor)
            cursor = None if following is None else plan.next_missing(missing, following)
        return recovered, refused

    async def _copy(self, work: Work, part: Block) -> int:
        async with borrow(self._pool) as connection, connection.transaction():
            written = await bulk.write(connection, part, source=Source.ARCHIVE, known_at=self._market.now_ms)
            await self._renew(connection, work, written)
        return written.inserted

    async def _write(self, work: Work, within: Run, rows: Sequence[RestCandle], source: Source) -> int:
        if not rows:
            return 0
        known_at = self._market.now_ms
        async with borrow(self._pool) as connection, connection.transaction():
            new = await evidence.once(connection, work.gap.symbol, within, rows)
            written = await candles.write(
                connection, [candles.Row(row.candle, known_at) for row in new], source=source
            )
            await self._renew(connection, work, written)
        return written.inserted

    async def _renew(self, connection: Connection, work: Work, written: Written) -> None:
        """Count what was written. Last in its transaction: what comes too late is undone as a whole."""
        await ledger.renew(
            connection,
            work.gap.id,
            lease_seconds=self._lease_seconds,
            recovered=written.inserted,
            owner=work.owner,
        )

    async def _listing_ended(self, work: Work, run: Run) -> bool:
        """Expect nothing from ``run`` on when the symbol is delisted; return whether it is."""
        symbol = work.gap.symbol
        async with borrow(self._pool) as connection, connection.transaction():
            await ledger.hold(connection, work, lease_seconds=self._lease_seconds)
            ended = await connection.fetchval(QUERIES["end_of_listing"], symbol, run.start)
        if ended:
            log.info("listing_ended", symbol=symbol, last_minute_before=isoformat(run.start))
        return ended is not None

    async def _record_outage(self, work: Work, run: Run) -> None:
        symbol = work.gap.symbol
        async with borrow(self._pool) as connection, connection.transaction():
            await ledger.hold(connection, work, lease_seconds=self._lease_seconds)
            await ledger.record_outage(
                connection, symbol, run.start, run.end, confirm_seconds=self._confirm_seconds
            )
        log.warning(
            "outage_provisional",
            symbol=symbol,
            start=isoformat(run.start),
            end=isoformat(run.end),
            minutes=run.minutes,
            confirm_seconds=self._confirm_seconds,
        )

    async def _settle(self, work: Work, waiting_for: str | None) -> str | None:
        """Close the work, or leave what is left of it for a later try; return why it waits."""
        gap = work.gap
        if work.is_outage:
            if waiting_for is None:
                left = await self._missing(work)
                async with borrow(self._pool) as connection:
                    await ledger.settle_outage(connection, gap.id, owner=work.owner)
                for run in left:
                    log.warning(
                        "outage_confirmed",
                        symbol=gap.symbol,
                        start=isoformat(run.start),
                        end=isoformat(run.end),
                        minutes=run.minutes,
                    )
            else:
                async with borrow(self._pool) as connection:
                    await ledger.release(
                        connection,
                        gap.id,
                        retry_seconds=delay_after(work.attempts),
                        reason=waiting_for,
                        owner=work.owner,
                    )
            return waiting_for
        reason = waiting_for or "minutes of it went missing again"
        async with borrow(self._pool) as connection:
            closed = await ledger.settle_gap(
                connection,
                gap.id,
                recovered=0,
                retry_seconds=delay_after(work.attempts),
                reason=reason,
                owner=work.owner,
            )
        return None if closed else reason
