"""What a candle must be before it may be stored."""

from __future__ import annotations

from math import inf

from marketdata.models import MINUTE_MS, Candle


def candle_problem(candle: Candle) -> str | None:
    """Return why ``candle`` cannot be a real one, or None.

    The database has the same rules as constraints; asked first, one bad row cannot cost its batch.
    """
    # Taken apart once: this is asked of every candle.
    _, time, first, high, low, last, volume, quote_volume, trades, taker, taker_quote = candle
    if time <= 0 or time % MINUTE_MS:
        return f"open time {time} is not on the minute"
    # Each comparison is false for NaN; min() and max() would let one through.
    if not (0 < low <= first and low <= last):
        return "low is not the lowest price, or not a price"
    if not (inf > high >= first and high >= last):
        return "high is not the highest price, or not a price"
    if not (0 <= volume < inf and 0 <= quote_volume < inf and 0 <= taker < inf and 0 <= taker_quote < inf):
        return "a volume is negative or not finite"
    if trades < 0:
        return "the number of trades is negative"
    return None
