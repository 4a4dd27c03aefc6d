"""A bar on a terminal: how many of the minutes asked for are done, rows written, time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from marketdata.export.run import Progress


@contextmanager
def shown(minutes: int, to: TextIO) -> Iterator[Progress]:
    """Yield what is to be told of progress through ``minutes``, all symbols' together."""
    from tqdm import tqdm

    with tqdm(total=minutes, unit="min", unit_scale=True, desc="export", file=to, dynamic_ncols=True) as bar:

        def tell(done: int, rows: int) -> None:
            bar.set_postfix_str(f"{rows:,} rows", refresh=False)
            bar.update(done - bar.n)

        yield tell
