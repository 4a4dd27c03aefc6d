"""How a symbol moves with the market: against the REFERENCE symbol, BTCUSDT.

A candle of the reference reaches the rows of every symbol, so no window here is longer than CROSS_WINDOW.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from marketdata.features.columns import REFERENCE, Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.fold import quotient
from marketdata.features.rolling import Comoments, comoments, log_change
from marketdata.features.series import log_returns, reference_returns
from marketdata.reach import CROSS_WINDOW as CROSS_WINDOW


def _comoments(columns: Columns, minutes: int) -> Comoments:
    return columns.derived(
        f"reference_comoments_{minutes}",
        lambda part: comoments(log_returns(part), reference_returns(part), minutes),
    )


def _correlation(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        own, reference, both = _comoments(columns, minutes)
        scale = own * reference
        np.sqrt(scale, out=scale)
        correlation = quotient(both, scale, len(columns))
        return np.clip(correlation, -1.0, 1.0, out=correlation)

    return Feature(
        name=f"btc_correlation_{minutes}m",
        group="cross",
        since_version=2,
        inputs=("close", "reference_close"),
        window=minutes + 1,
        unit="correlation",
        low=-1.0,
        high=1.0,
        formula=f"correlation of the last {minutes} values of return_1m with those of {REFERENCE}",
        source="Pearson 1895",
        compute=compute,
    )


def _beta(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        _, reference, both = _comoments(columns, minutes)
        return quotient(both, reference, len(columns))

    return Feature(
        name=f"btc_beta_{minutes}m",
        group="cross",
        since_version=2,
        inputs=("close", "reference_close"),
        window=minutes + 1,
        unit="ratio of returns",
        low=None,
        high=None,
        formula=f"covariance with {REFERENCE} / its variance, of the last {minutes} values of return_1m",
        source="Sharpe 1964",
        compute=compute,
    )


def _relative_return(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        returns = log_change(columns.close, minutes)
        returns -= log_change(columns.reference_close, minutes)
        return returns

    return Feature(
        name=f"btc_relative_return_{minutes}m",
        group="cross",
        since_version=2,
        inputs=("close", "reference_close"),
        window=minutes + 1,
        unit="log return",
        low=None,
        high=None,
        formula=f"return_{minutes}m - return_{minutes}m of {REFERENCE}",
        source="Jegadeesh and Titman 1993",
        compute=compute,
    )


FEATURES: Final = (
    _correlation(60),
    _correlation(180),
    _beta(60),
    _beta(180),
    _relative_return(15),
    _relative_return(60),
)
