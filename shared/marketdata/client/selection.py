"""Which feature columns a question means, out of those the database has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from marketdata.client.models import FeatureName
from marketdata.errors import RequestError


def choose(
    known: Sequence[FeatureName], names: Iterable[str] | None = None, groups: Iterable[str] | None = None
) -> list[str]:
    """Return the names asked for, in the order of ``names``, then those of ``groups``; all where neither is.

    Raises ``RequestError`` for a name or group the database does not have, or where nothing is left.
    """
    if names is None and groups is None:
        return [feature.name for feature in known]
    of_group: dict[str, list[str]] = {}
    for feature in known:
        of_group.setdefault(feature.group, []).append(feature.name)
    wanted = listed(names, "names")
    for name in wanted:
        require(name, [feature.name for feature in known], "feature")
    for group in listed(groups, "groups"):
        require(group, list(of_group), "group")
        wanted += of_group[group]
    if not wanted:
        raise RequestError("no feature was asked for: leave out names and groups for all of them")
    return list(dict.fromkeys(wanted))


def listed(names: Iterable[str] | str | None, what: str) -> list[str]:
    """Return one name or several as a list. Raises ``RequestError`` where one is not text."""
    found: list[Any] = [] if names is None else [names] if isinstance(names, str) else list(names)
    for name in found:
        if not isinstance(name, str) or not name or "\0" in name:
            raise RequestError(f"{what} must be names, got {name!r}")
    return found


def require(name: str, known: Sequence[str], what: str) -> None:
    """Raise ``RequestError`` unless ``name`` is known, with the nearest that is."""
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known[:20]) or 'none'}"
        raise RequestError(f"this database has no {what} {name!r}: {hint}")
