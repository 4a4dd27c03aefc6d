"""Features: pure functions of a fixed number of minutes of candles, live and in batch."""

from marketdata.features.columns import FLAT, MISSING, PRESENT, Columns
from marketdata.features.engine import Result, compute
from marketdata.features.registry import FEATURE_VERSION, MAX_WINDOW, NAMES, REGISTRY

__all__ = [
    "FEATURE_VERSION",
    "FLAT",
    "MAX_WINDOW",
    "MISSING",
    "NAMES",
    "PRESENT",
    "REGISTRY",
    "Columns",
    "Result",
    "compute",
]
