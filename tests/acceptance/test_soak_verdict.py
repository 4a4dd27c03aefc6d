"""What the soak calls growth."""

from __future__ import annotations

import pytest
from benchmarks.soak import Sample, table, verdict


def samples(minutes: int, **growth_a_minute: float) -> list[Sample]:
    """Six samples a minute that are steady, but for a value that comes and goes and what grows."""
    found = []
    for n in range(minutes * 6):
        usual = Sample(n * 10.0, 100.0, 20, 3 + n % 2, 120.0, 25, 2 + n % 3, 11, n * 100)
        grown = {name: getattr(usual, name) + int(n / 6 * by) for name, by in growth_a_minute.items()}
        found.append(usual._replace(**grown))
    return found


def test_what_comes_and_goes_is_no_growth() -> None:
    judged = verdict(samples(20), 300)
    assert judged["passed"]
    assert all(part["passed"] for name, part in judged.items() if name != "passed")


@pytest.mark.parametrize(
    ("name", "a_minute"),
    [("feeder_mb", 0.5), ("handler_mb", 1.0), ("feeder_fds", 0.5), ("handler_connections", 0.3),
     ("database_connections", 0.1)],
)  # fmt: skip
def test_what_grows_is_named(name: str, a_minute: float) -> None:
    judged = verdict(samples(20, **{name: a_minute}), 300)
    assert not judged["passed"]
    assert [part for part in judged if part != "passed" and not judged[part]["passed"]] == [name]


def test_growth_before_the_fifth_minute_is_warming_up() -> None:
    cold = [s._replace(feeder_mb=60.0) if s.at < 300 else s for s in samples(20)]
    assert verdict(cold, 300)["passed"]


def test_the_table_has_a_line_a_minute() -> None:
    assert len(table(samples(7)).splitlines()) == 1 + 7
