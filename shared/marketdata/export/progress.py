"""A bar on a terminal: how many of the minutes asked for are done, rows written, time left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from marketdata.export.run import Progress

_WIDTH: Final = 80


@contextmanager
def shown(minutes: int, to: TextIO) -> Iterator[Progress]:
    """Yield what is to be told of progress through ``minutes``, all symbols' together."""
    from tqdm import tqdm

    follow = _knows_its_width(to)
    with tqdm(
        total=minutes, unit="min", unit_scale=True, desc="export", file=to,
        dynamic_ncols=follow, ncols=None if follow else _WIDTH,
    ) as bar:  # fmt: skip

        def tell(done: int, rows: int) -> None:
            bar.set_postfix_str(f"{rows:,} rows", refresh=False)
            bar.update(done - bar.n)

        yield tell


def _knows_its_width(to: TextIO) -> bool:
    """Whether it is a terminal with a width: where it says 0, as in some containers, tqdm draws nothing."""
    try:
        return os.get_terminal_size(to.fileno()).columns > 0
    except OSError:
        return False
