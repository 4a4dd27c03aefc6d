"""Every feature, in the order of ``feature_values.values``. Positions never move.

To add one: append it to its group's module with the next version as its ``since_version``, raise
FEATURE_VERSION, and run ``python -m marketdata.features.generate``. A feature already released keeps
its formula; a better one gets a new name.
"""

from __future__ import annotations

from itertools import chain
from typing import Final

from marketdata.features import calendar, cross, microstructure, momentum, returns, trend, volatility, volume
from marketdata.features.feature import Feature
from marketdata.reach import MAX_WINDOW

__all__ = ["FEATURE_VERSION", "GROUPS", "MAX_WINDOW", "NAMES", "REGISTRY", "Feature", "names"]

FEATURE_VERSION: Final = 2
"""The newest feature set: rows are written with it."""

GROUPS: Final[tuple[tuple[Feature, ...], ...]] = (
    returns.FEATURES,
    volatility.FEATURES,
    momentum.FEATURES,
    trend.FEATURES,
    volume.FEATURES,
    microstructure.FEATURES,
    calendar.FEATURES,
    cross.FEATURES,
)
"""The features of each group; the order of groups never changes either."""


def order(groups: tuple[tuple[Feature, ...], ...], version: int) -> tuple[Feature, ...]:
    """All features by the version that brought them, then by group, then by place in the group.

    Raises:
        ValueError: two share a name, a group is not in order of version, a version is out of range
            or the newest neither brings nor retires anything, a window is empty, or a range is.
    """
    for group in groups:
        versions = [feature.since_version for feature in group]
        if versions != sorted(versions):
            raise ValueError(f"group {group[0].group} is not in order of since_version")
    features = tuple(sorted(chain.from_iterable(groups), key=lambda feature: feature.since_version))
    known = [feature.name for feature in features]
    if len(set(known)) != len(known):
        raise ValueError(f"features share a name: {sorted({n for n in known if known.count(n) > 1})}")
    newest = max(max(feature.since_version, feature.retired_version or 0) for feature in features)
    if features[0].since_version < 1 or newest != version:
        raise ValueError(f"FEATURE_VERSION is {version}, the features' versions go to {newest}")
    for feature in features:
        gone = feature.retired_version
        if gone is not None and not feature.since_version < gone <= version:
            raise ValueError(f"{feature.name} came in {feature.since_version} and is retired in {gone}")
        if feature.window < 1:
            raise ValueError(f"{feature.name} has no window")
        if feature.low is not None and feature.high is not None and feature.low >= feature.high:
            raise ValueError(f"{feature.name} has an empty range")
    return features


REGISTRY: Final = order(GROUPS, FEATURE_VERSION)


def active(features: tuple[Feature, ...], version: int) -> tuple[tuple[int, Feature], ...]:
    """The features that a set computes, each with its place in a row. A retired one's place holds null."""
    return tuple(
        (place, feature)
        for place, feature in enumerate(features)
        if feature.retired_version is None or feature.retired_version > version
    )


ACTIVE: Final = active(REGISTRY, FEATURE_VERSION)

NAMES: Final = tuple(feature.name for feature in REGISTRY)

if (_longest := max(feature.window for feature in REGISTRY)) != MAX_WINDOW:
    raise ValueError(f"the longest window is {_longest} minutes, marketdata.reach.MAX_WINDOW {MAX_WINDOW}")


def names(version: int) -> tuple[str, ...]:
    """The names of a feature set, in the order of its values."""
    return tuple(feature.name for feature in REGISTRY if feature.since_version <= version)


def depths() -> dict[str, int]:
    """Minutes of each column that one row needs, its own included; none of what no feature reads."""
    needed: dict[str, int] = {}
    for _, feature in ACTIVE:
        for name in feature.inputs:
            needed[name] = max(feature.window, needed.get(name, 0))
    return needed
