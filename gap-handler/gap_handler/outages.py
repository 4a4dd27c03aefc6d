"""Whether minutes that REST lacks are an outage: the exchange must have rows on both sides of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from gap_handler.exchange import Klines
from gap_handler.plan import Run, is_final
from marketdata.binance.rest import RestCandle
from marketdata.clock import MarketClock
from marketdata.minutes import floor_minute
from marketdata.models import MINUTE_MS


class Finding(StrEnum):
    """What a look at a missing run found; every value but OUTAGE and ROWS is a reason to wait."""

    OUTAGE = "outage"
    ROWS = "rows"
    NOTHING_AFTER = (
        "the exchange has no final candle after these minutes yet: too new, or the market is halted"
    )
    NOTHING_BEFORE = "the exchange has no candle before these minutes"


def judge(
    run: Run, first: Sequence[RestCandle], *, first_kline: int | None, refused: frozenset[int], now_ms: int
) -> Finding:
    """Judge a missing run by ``first``, the exchange's first row at or after its start (or no row).

    ``refused`` are minutes whose row at the exchange cannot be a candle: they are a defect of its
    record, and count as rows beside the run and as none inside it.
    """
    if not first or not is_final(first[0], now_ms):
        return Finding.NOTHING_AFTER
    if first[0].candle.time < run.end:
        return Finding.ROWS
    if first_kline is None or not (first_kline < run.start or run.start in refused):
        return Finding.NOTHING_BEFORE
    return Finding.OUTAGE


def after_refused(row: RestCandle, run: Run, refused: frozenset[int]) -> int | None:
    """Return from which minute to look on when the first row of a run is refused; None when it is not.

    The refused rows that follow at once are passed over too, but nothing past the run's end.
    """
    minute = floor_minute(row.candle.time)
    if row.candle.time >= run.end or minute not in refused:
        return None
    while minute in refused and minute < run.end:
        minute += MINUTE_MS
    return minute


async def look(
    exchange: Klines,
    symbol: str,
    run: Run,
    *,
    first_kline: int | None,
    refused: frozenset[int],
    market: MarketClock,
) -> Finding:
    """Ask the exchange for the first row at or after a missing run, and judge by it."""
    rows = await exchange.klines(symbol, start=run.start, limit=1)
    at = run.start
    while rows and (following := after_refused(rows[0], run, refused)) is not None and following > at:
        # A refused row counts as none. Behind it there may be one that paging did not get to see.
        at = following
        rows = await exchange.klines(symbol, start=at, limit=1)
    return judge(run, rows, first_kline=first_kline, refused=refused, now_ms=market.now_ms)
