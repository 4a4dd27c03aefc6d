"""How far a candle reaches: which feature rows see it. For code that marks rows and computes none.

Apart from the features, which hold to it, so that a service that only writes candles need not load numpy and
TA-Lib: 19 MB of the gap-handler's memory.
"""

from __future__ import annotations

from typing import Final

MAX_WINDOW: Final = 1_441
"""Minutes of candles that one feature row needs, its own included: the longest window of any feature."""

CROSS_WINDOW: Final = 240
"""Minutes of the REFERENCE's candles that a row of any symbol may need at most."""

REFERENCE: Final = "BTCUSDT"
"""The symbol that cross features compare with."""
