"""What a candle must be before it may be stored."""

from __future__ import annotations

from math import inf

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
    if not (inf > candle.high >= candle.open and candle.high >= candle.close):
        return "high is not the highest price, or not a price"
    if not (
        0 <= candle.volume < inf
        and 0 <= candle.quote_volume < inf
        and 0 <= candle.taker_buy_volume < inf
        and 0 <= candle.taker_buy_quote_volume < inf
    ):
        return "a volume is negative or not finite"
    if candle.trades < 0:
        return "the number of trades is negative"
    return None
