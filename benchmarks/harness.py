"""What a benchmark reports: rounds of ours beside a floor's or a peer's, and how cost grows. Pure."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

_MEETS: Final[dict[str, Callable[[float, float], bool]]] = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Target:
    """What a ratio (or, without a peer, the value itself) is to be: at least, or at most, ``limit``."""

    sense: Literal[">=", "<="]
    limit: float

    def met(self, value: float) -> bool:
        """Whether a median keeps to it."""
        return _MEETS[self.sense](value, self.limit)


@dataclass(frozen=True)
class Result:
    """One line of the table.

    ``ours`` holds one value a round in ``unit``; ``other`` the value of ``against`` measured in turns with
    it, in the same round, or nothing where the target is a plain count or time. The figure is the median of
    the rounds' own ratios ``ours / other``, so that the machine's mood falls on both.
    """

    name: str
    unit: str
    ours: Sequence[float]
    other: Sequence[float] = ()
    against: str = ""
    target: Target | None = None

    def __post_init__(self) -> None:
        if not self.ours or (self.other and len(self.ours) != len(self.other)):
            raise ValueError(f"{self.name}: {len(self.ours)} rounds of ours, {len(self.other)} of the other")

    @property
    def values(self) -> list[float]:
        """What the target is about, one a round: ratios, or the values where nothing stands beside them."""
        if not self.other:
            return list(self.ours)
        return [mine / theirs for mine, theirs in zip(self.ours, self.other, strict=True)]

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.target.met(self.median)


@dataclass(frozen=True)
class Curve:
    """How a cost grows: the values of all rounds at each ``x``, and the slope in words."""

    name: str
    x_label: str
    y_label: str
    points: Sequence[tuple[float, Sequence[float]]]
    slope: str = ""


def figures(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the spread of rounds, as facts have them."""
    return {
        "median": round(statistics.median(values), 2),
        "lowest": round(min(values), 2),
        "highest": round(max(values), 2),
    }


@dataclass
class Report:
    """What one benchmark found. ``facts`` says what it was measured on and with (server, rows, versions)."""

    results: list[Result] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """``rounds`` of each measurement (None: its own choice); ``quick``: small, to see that it runs; ``part``:
    the only one of the module's ``PARTS`` to measure (None: all).
    """

    rounds: int | None = None
    quick: bool = False
    part: str | None = None
