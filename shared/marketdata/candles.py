"""What a candle must be before it may be stored."""

from __future__ import annotations

from math import isfinite

from marketdata.models import MINUTE_MS, Candle


def candle_problem(candle: Candle) -> str | None:
    """Return why ``candle`` cannot be a real one, or None.

    The database has the same rules as constraints; asked first, one bad row cannot cost its batch.
    """
    if candle.time <= 0 or candle.time % MINUTE_MS:
        return f"open time {candle.time} is not on the minute"
    # Each comparison is false for NaN; min() and max() would let one through.
    if not (0 < candle.low <= candle.open and candle.low <= candle.close):
        return "low is not the lowest price, or not a price"
    if not (isfinite(candle.high) and candle.high >= candle.open and candle.high >= candle.close):
        return "high is not the highest price, or not a price"
    amounts = (candle.volume, candle.quote_volume, candle.taker_buy_volume, candle.taker_buy_quote_volume)
    if not all(amount >= 0 and isfinite(amount) for amount in amounts):
        return "a volume is negative or not finite"
    if candle.trades < 0:
        return "the number of trades is negative"
    return None
