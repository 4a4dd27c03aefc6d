"""The values of released features for fixed candles: ``python -m tests.features.golden`` adds a new set's.

golden.json holds, for each released set, every feature's value in one row. It only grows: once a set is in
it, its formulas are released. To give an unreleased set other values, take it out of the file by hand first.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Final

from marketdata.features import FEATURE_VERSION, MAX_WINDOW, NAMES, Columns, compute
from marketdata.features.registry import ACTIVE, names
from marketdata.models import MINUTE_MS

PATH: Final = Path(__file__).with_name("golden.json")


def read(path: Path = PATH) -> dict[str, Any]:
    """The file's content."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def row(golden: dict[str, Any]) -> dict[str, float]:
    """The newest set's values at the close of candle ``minutes - 1``; a retired feature has none.

    Candle 0 opens at ``start``. As many older ones are made up as the longest window needs, so a set with a
    longer window sees what the sets before it saw, and more.
    """
    first, stop = golden["minutes"] - MAX_WINDOW, golden["minutes"]
    times = [golden["start"] + MINUTE_MS * i for i in range(first, stop)]
    candles = [[time, *_candle(i)] for time, i in zip(times, range(first, stop), strict=True)]
    other = [[time, *_candle(i, 11.0, 43.0)] for time, i in zip(times, range(first, stop), strict=True)]
    books = [[time, *_book(stop - 1 - i)] for time, i in zip(times, range(first, stop), strict=True)]
    begin, end = times[0], times[-1] + MINUTE_MS
    minutes = Columns.from_rows(begin, end, candles, books=books)
    values = compute(minutes.beside(Columns.from_rows(begin, end, other)), last=1).values[0].tolist()
    return {NAMES[place]: values[place] for place, _ in ACTIVE}


def differing(golden: dict[str, Any]) -> list[str]:
    """The features of released sets whose value is not what it was; a retired one's is not asked."""
    now, known = row(golden), set(NAMES)
    return sorted(
        {
            f"{name} of set {version}"
            for version, expected in golden["versions"].items()
            for name, value in expected.items()
            if name not in known
            or (name in now and not math.isclose(now[name], value, rel_tol=1e-9, abs_tol=1e-15))
        }
    )


def extended(golden: dict[str, Any]) -> dict[str, Any]:
    """``golden`` with the newest set's values as well.

    Raises:
        ValueError: the set is in it already, a released feature has another value, or a value of the new
            set is not defined for these candles.
    """
    version = str(FEATURE_VERSION)
    if version in golden["versions"]:
        raise ValueError(f"set {version} is released: a changed formula is a new feature with a new name")
    if changed := differing(golden):
        raise ValueError(f"a released feature keeps its formula, these have other values: {changed}")
    values = row(golden)
    if undefined := [name for name, value in values.items() if math.isnan(value)]:
        raise ValueError(f"the fixed candles give these no value: {undefined}")
    expected = {name: values[name] for name in names(FEATURE_VERSION) if name in values}
    return {**golden, "versions": {**golden["versions"], version: expected}}


def main(path: Path = PATH) -> int:
    """Add the newest set's values to the file; 1, with the reason, where that is refused."""
    try:
        content = extended(read(path))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")
    sys.stdout.write(f"added: set {FEATURE_VERSION}\n")
    return 0


def _candle(i: int, fast: float = 7.0, slow: float = 61.0) -> list[float]:
    """Candles without chance or libraries: sums of two waves, so that they are the same everywhere."""
    opened, close = (100.0 + math.sin(k / fast) + 3.0 * math.cos(k / slow) for k in (i - 1, i))
    volume = 10.0 + 9.0 * math.sin(i / 3.0) * math.cos(i / 17.0)
    high, low = max(opened, close) + 0.1 + 0.05 * math.sin(i), min(opened, close) - 0.1
    taken = 0.5 + 0.4 * math.sin(i / 5.0)
    price = (opened + close) / 2.0
    return [
        opened,
        high,
        low,
        close,
        volume,
        volume * price,
        float(i % 37),
        volume * taken,
        volume * price * taken,
    ]


def _book(back: int) -> list[float]:
    """Spread and imbalance of ``back`` minutes before the row: waves that end at 1.25 and -0.5."""
    return [1.25 + 0.5 * math.sin(back / 9.0), -0.5 * math.cos(back / 11.0)]


if __name__ == "__main__":
    sys.exit(main())
