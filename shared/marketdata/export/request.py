"""What is asked for: symbols, times, features and labels, checked as far as that needs no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Final

from marketdata.errors import RequestError
from marketdata.export import labels as labelling
from marketdata.export.labels import Label
from marketdata.features.registry import ACTIVE, GROUPS, REGISTRY
from marketdata.minutes import from_datetime, isoformat
from marketdata.models import MINUTE_MS

FORMATS: Final = ("parquet", "csv", "arrow")
AS_KNOWN_SECONDS: Final = 5.0
"""Seconds after a minute's end by which a live model has its row."""
_AS_KNOWN_MOST: Final = 3600.0
_ACTIVE: Final = tuple(feature.name for _, feature in ACTIVE)
_GROUPS: Final = tuple(group[0].group for group in GROUPS)


@dataclass(frozen=True, slots=True)
class Request:
    """Rows whose ``time`` lies in ``[start, end)`` (Unix ms), in this order of symbols and columns.

    ``as_known_ms`` None: all rows there are; else only those that were known so long after their time.
    """

    symbols: tuple[str, ...]
    start: int
    end: int
    features: tuple[str, ...]
    labels: tuple[Label, ...]
    as_known_ms: int | None = None

    @property
    def look_ahead(self) -> int:
        """Minutes after a row's time that its labels need."""
        return max((label.horizon for label in self.labels), default=0)


def build(
    symbols: Sequence[str],
    start: str | datetime,
    end: str | datetime,
    *,
    features: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    labels: Sequence[str] = (),
    as_known: float | None = None,
) -> Request:
    """Return what is asked for. Raises ``RequestError`` with every problem at once."""
    problems: list[str] = []
    request = Request(
        symbols=_symbols(symbols, problems),
        start=_time("from", start, problems),
        end=_time("to", end, problems),
        features=_features(features, groups, problems),
        labels=_labels(labels, problems),
        as_known_ms=None if as_known is None else _as_known(as_known, problems),
    )
    if not problems and request.start >= request.end:
        problems.append(
            f"the range from {isoformat(request.start)} to {isoformat(request.end)} is empty:"
            " from must be before to"
        )
    if problems:
        raise RequestError(*problems)
    return request


def _symbols(symbols: Sequence[str], problems: list[str]) -> tuple[str, ...]:
    names = tuple(symbol.strip() for symbol in symbols)
    if not names or not all(names):
        problems.append("symbols: must be names such as BTCUSDT,ETHUSDT, none of them empty")
    problems += [
        f"symbol {name!r} is named twice" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    return names


def _time(name: str, value: str | datetime, problems: list[str]) -> int:
    """Return Unix milliseconds; a time without a zone is UTC."""
    try:
        instant = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
        since = instant - datetime(1970, 1, 1, tzinfo=UTC)
    except ValueError:
        problems.append(f"{name}: {value!r} is not a time such as 2026-01-31 or 2026-01-31T12:30Z")
        return 0
    if since % timedelta(minutes=1):
        problems.append(f"{name}: {value} is not on a minute: leave the seconds out")
    return from_datetime(instant) // MINUTE_MS * MINUTE_MS


def _features(
    features: Sequence[str] | None, groups: Sequence[str] | None, problems: list[str]
) -> tuple[str, ...]:
    if features is not None and groups is not None:
        problems.append("features and groups: take one of the two")
    elif groups is not None:
        _known("group", groups, _GROUPS, problems)
        return tuple(feature.name for _, feature in ACTIVE if feature.group in groups)
    elif features is not None:
        names = tuple(name.strip() for name in features)
        retired = {f.name: f.retired_version for f in REGISTRY if f.name not in _ACTIVE}
        problems += [f"feature {n}: retired in feature set {retired[n]}" for n in names if n in retired]
        _known("feature", [name for name in names if name not in retired], _ACTIVE, problems)
        return names
    return _ACTIVE


def _known(kind: str, names: Sequence[str], known: Sequence[str], problems: list[str]) -> None:
    if not names:
        problems.append(f"no {kind} is named: leave the argument out to have all")
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            meant = f" (did you mean {close[0]}?)" if close else f" ({', '.join(known)})"
            problems.append(f"there is no {kind} {name!r}{meant}")
    problems += [
        f"{kind} {name!r} is named twice" for name in sorted({n for n in names if names.count(n) > 1})
    ]


def _labels(texts: Sequence[str], problems: list[str]) -> tuple[Label, ...]:
    found: list[Label] = []
    for text in texts:
        try:
            label = labelling.parse(text)
        except ValueError as error:
            problems.append(f"labels: {error}")
            continue
        if label in found:
            problems.append(f"labels: {text!r} is named twice")
        found.append(label)
    return tuple(found)


def _as_known(seconds: float, problems: list[str]) -> int:
    if not 0 <= seconds <= _AS_KNOWN_MOST:
        problems.append(f"as-known: {seconds} must be seconds from 0 to {_AS_KNOWN_MOST:.0f}")
        return 0
    return round(seconds * 1000)
