"""Exact decimals as integers in units of 1e-8, the precision Binance prints."""

from __future__ import annotations

from typing import Final

E8: Final = 100_000_000


def text(value: int) -> str:
    """Binance's spelling of ``value`` (units of 1e-8): always eight decimals. ``value`` >= 0."""
    digits = str(value)
    return f"{digits[:-8]}.{digits[-8:]}" if len(digits) > 8 else "0." + digits.rjust(8, "0")


def parse(number: str) -> int:
    """The integer value x 1e8 of a plain decimal string; digits past the eighth are cut.

    Raises ValueError when ``number`` isn't a plain decimal.
    """
    whole, _, fraction = number.partition(".")
    return int(whole) * E8 + (int(fraction[:8].ljust(8, "0")) if fraction else 0)
