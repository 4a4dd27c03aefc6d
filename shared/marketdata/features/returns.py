"""Log returns of the close."""

from __future__ import annotations

from typing import Final

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.rolling import log_change


def _log_return(minutes: int, since: int = 1) -> Feature:
    def compute(columns: Columns) -> Floats:
        return log_change(columns.close, minutes)

    return Feature(
        name=f"return_{minutes}m",
        group="returns",
        since_version=since,
        inputs=("close",),
        window=minutes + 1,
        unit="log return",
        low=None,
        high=None,
        formula=f"ln(close / close {minutes} min ago)",
        source="Campbell, Lo and MacKinlay 1997",
        compute=compute,
    )


FEATURES: Final = (
    *(_log_return(minutes) for minutes in (1, 5, 15, 60, 240)),
    *(_log_return(minutes, since=2) for minutes in (30, 120, 720, 1_440)),
)
