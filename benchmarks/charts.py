"""Draws the curves of a run as SVG: ``python -m benchmarks.charts FILE.json DIR``.

The median of the rounds as a line, the lowest to the highest as a band. Grey on nothing, with one colour that
shows on white and on black, and text as text: readable in light and dark, and small.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.harness import Curve, Report
from benchmarks.report import from_json, number

# The reader's machine has the generic family; this one is asked for it at every text.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

INK: Final = "#808890"
LINE: Final = "#2f81c8"
_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def log_axes(curve: Curve) -> tuple[bool, bool]:
    """Return which of x and y are drawn by powers of ten: positive values that span more than one."""
    xs = [x for x, _ in curve.points]
    ys = [y for _, values in curve.points for y in values]
    across, up = (min(v) > 0 and max(v) / min(v) > 10 for v in (xs, ys))
    return across, up


def file_name(benchmark: str, curve: Curve) -> str:
    """Return the name of a curve's file."""
    return f"{benchmark}-{re.sub(r'[^a-z0-9]+', '-', curve.name.lower()).strip('-')}.svg"


def draw_one(curve: Curve, path: Path) -> None:
    """Draw a curve into ``path``."""
    points = sorted(curve.points)
    xs = [x for x, _ in points]
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(xs, [median(ys) for _, ys in points], color=LINE, marker="o", markersize=4)
        if any(len(ys) > 1 for _, ys in points):
            lows, highs = ([most(ys) for _, ys in points] for most in (min, max))
            axes.fill_between(xs, lows, highs, color=LINE, alpha=0.25, linewidth=0)
        across, up = log_axes(curve)
        if across:
            axes.set_xscale("log")
            # Only what was measured is marked, in its own figures.
            axes.set_xticks(xs, [number(x) for x in xs])
            axes.minorticks_off()
        if up:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: number(y)))
        else:
            axes.set_ylim(bottom=min(0.0, *(min(ys) for _, ys in points)))
        axes.set_xlabel(curve.x_label)
        axes.set_ylabel(curve.y_label)
        axes.set_title(curve.name + (f": {curve.slope}" if curve.slope else ""), fontsize=10)
        axes.grid(color=INK, alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


def draw(reports: Mapping[str, Report], folder: Path) -> list[Path]:
    """Draw every curve into ``folder``, which is made where it is missing; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, report in reports.items():
        for curve in report.curves:
            drawn.append(folder / file_name(name, curve))
            draw_one(curve, drawn[-1])
    return drawn


def main() -> int:
    """Draw the curves of a JSON that a run wrote."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["benchmarks"]
    reports = {name: from_json(plain) for name, plain in found.items() if "error" not in plain}
    for path in draw(reports, Path(sys.argv[2])):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
