"""``python -m marketdata.export``: a training set from the stored candles, as a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*names: str) -> Iterator[None]:
    """As if these packages were not installed, in the block. Those loaded already stay."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def main() -> int:
    """Run the command and return its exit code."""
    # TA-Lib imports them where they are installed: a second and 75 MB for what no export uses.
    with without("pandas", "polars"):
        import marketdata.features  # noqa: F401
    from marketdata.export.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
