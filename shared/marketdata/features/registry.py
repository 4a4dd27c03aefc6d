"""Every feature, in the order of ``feature_values.values``. Positions never move.

To add one: append it to its group's module with the next version as its ``since_version``, raise
FEATURE_VERSION, and run ``python -m marketdata.features.generate``. A feature already released keeps
its formula; a better one gets a new name.
"""

from __future__ import annotations

from itertools import chain
from typing import Final

from marketdata.features import calendar, microstructure, momentum, returns, trend, volatility, volume
from marketdata.features.feature import Feature

__all__ = ["FEATURE_VERSION", "GROUPS", "MAX_WINDOW", "NAMES", "REGISTRY", "Feature", "names"]

FEATURE_VERSION: Final = 1
"""The newest feature set: rows are written with it."""

GROUPS: Final[tuple[tuple[Feature, ...], ...]] = (
    returns.FEATURES,
    volatility.FEATURES,
    momentum.FEATURES,
    trend.FEATURES,
    volume.FEATURES,
    microstructure.FEATURES,
    calendar.FEATURES,
)
"""The features of each group; the order of groups never changes either."""


def order(groups: tuple[tuple[Feature, ...], ...], version: int) -> tuple[Feature, ...]:
    """All features by the version that brought them, then by group, then by place in the group.

    Raises:
        ValueError: two share a name, a group is not in order of version, a version is out of range
            or the newest brings nothing, a window is empty, or a range is.
    """
    for group in groups:
        versions = [feature.since_version for feature in group]
        if versions != sorted(versions):
            raise ValueError(f"group {group[0].group} is not in order of since_version")
    features = tuple(sorted(chain.from_iterable(groups), key=lambda feature: feature.since_version))
    known = [feature.name for feature in features]
    if len(set(known)) != len(known):
        raise ValueError(f"features share a name: {sorted({n for n in known if known.count(n) > 1})}")
    if features[0].since_version < 1 or features[-1].since_version != version:
        raise ValueError(f"FEATURE_VERSION is {version}, since_version goes to {features[-1].since_version}")
    for feature in features:
        if feature.window < 1:
            raise ValueError(f"{feature.name} has no window")
        if feature.low is not None and feature.high is not None and feature.low >= feature.high:
            raise ValueError(f"{feature.name} has an empty range")
    return features


REGISTRY: Final = order(GROUPS, FEATURE_VERSION)

NAMES: Final = tuple(feature.name for feature in REGISTRY)

MAX_WINDOW: Final = max(feature.window for feature in REGISTRY)
"""Minutes of candles that one row needs, its own included."""


def names(version: int) -> tuple[str, ...]:
    """The names of a feature set, in the order of its values."""
    return tuple(feature.name for feature in REGISTRY if feature.since_version <= version)
