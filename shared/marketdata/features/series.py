"""What several features are made of, computed once for the same minutes."""

from __future__ import annotations

import talib

from marketdata.features.columns import Columns, Floats
from marketdata.features.rolling import Spread, by_symbol, log_change, spread


def log_returns(columns: Columns) -> Floats:
    """return_1m but for the first minute, which has none."""
    return columns.derived("log_returns", lambda minutes: log_change(minutes.close)[..., 1:])


def true_range(columns: Columns) -> Floats:
    """Wilder's true range but for the first minute, which has none."""
    return columns.derived(
        "true_range",
        lambda minutes: by_symbol(talib.TRANGE, minutes.high, minutes.low, minutes.close)[..., 1:],
    )


def reference_returns(columns: Columns) -> Floats:
    """The reference's return_1m but for the first minute, which has none; NaN where it is not known."""
    return columns.derived("reference_returns", lambda minutes: log_change(minutes.reference_close)[..., 1:])


def close_spread(columns: Columns, minutes: int) -> Spread:
    """Distance and deviation of the close over a window."""
    return columns.derived(f"close_spread_{minutes}", lambda part: spread(part.close, minutes))
