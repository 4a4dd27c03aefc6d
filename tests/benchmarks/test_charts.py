"""Curves as pictures: small, with their labels, readable on any ground."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.harness import Curve, Report

charts = pytest.importorskip("benchmarks.charts")

GROWTH = Curve(
    "cost of a minute", "symbols", "ms", [(1, [1.0, 2.0]), (10, [3.0]), (1500, [90.5, 95.0])], "linear"
)


def test_a_curve_is_a_small_picture_with_its_labels_and_no_ground(tmp_path: Path) -> None:
    (drawn,) = charts.draw({"market_minute": Report(curves=[GROWTH])}, tmp_path / "new" / "folder")
    assert drawn.name == "market_minute-cost-of-a-minute.svg"
    text = drawn.read_text()
    assert len(text) < 60_000
    for words in ("symbols", "ms", "cost of a minute: linear", ">1,500<"):
        assert words in text
    assert "#ffffff" not in text
    assert charts.INK in text


def test_the_same_curve_is_the_same_file(tmp_path: Path) -> None:
    pictures = []
    for name in ("a", "b"):
        charts.draw_one(GROWTH, tmp_path / name)
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("points", "axes"),
    [
        ([(1, [5.0]), (1000, [6.0])], (True, False)),
        ([(1, [1.0]), (1000, [600.0])], (True, True)),
        ([(1, [1.0]), (9, [600.0])], (False, True)),
        ([(0, [0.0]), (1000, [600.0])], (False, False)),
    ],
)
def test_axes_that_span_more_than_a_power_of_ten_go_by_them(
    points: list[tuple[float, list[float]]], axes: tuple[bool, bool]
) -> None:
    assert charts.log_axes(Curve("c", "x", "y", points)) == axes
