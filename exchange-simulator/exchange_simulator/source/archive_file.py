"""Binance's daily archive files: `SYMBOL-1m-YYYY-MM-DD.zip` or `.csv`, no header, twelve columns."""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from pathlib import Path
from typing import Final, NamedTuple

from exchange_simulator.errors import SourceError

_NAME: Final = re.compile(r"^(?P<symbol>[^-]+)-1m-(?P<date>\d{4}-\d{2}-\d{2})\.(?:zip|csv)$")
_EPOCH: Final = datetime.date(1970, 1, 1)
# Spot archives count microseconds from 2025-01-01 on; decided row by row.
_MICROSECONDS: Final = 10**15


class ArchiveFile(NamedTuple):
    """A daily file and what its name says; ``day`` counts from 1970-01-01."""

    path: Path
    symbol: str
    day: int


def find(paths: tuple[Path, ...]) -> list[ArchiveFile]:
    """All daily 1m files among ``paths``; a folder is searched with everything below it.

    Raises SourceError when there is none.
    """
    files: list[ArchiveFile] = []
    for path in paths:
        for candidate in sorted(path.rglob("*")) if path.is_dir() else [path]:
            match = _NAME.match(candidate.name)
            if match:
                date = datetime.date.fromisoformat(match["date"])
                files.append(ArchiveFile(candidate, match["symbol"], (date - _EPOCH).days))
    if not files:
        shown = ", ".join(map(str, paths))
        raise SourceError(f"no SYMBOL-1m-YYYY-MM-DD.zip or .csv in {shown}")
    return files


def read_lines(path: Path) -> list[bytes]:
    """The file's rows, undecoded. Raises SourceError when it can't be read."""
    try:
        content = path.read_bytes()
        if path.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = archive.read(archive.namelist()[0])
    except (OSError, zipfile.BadZipFile, IndexError) as error:
        raise SourceError(f"can't read {path.name}: {error}") from error
    lines = content.split()
    # Recordings of other markets carry a header; one row of names is not a candle.
    return lines[1:] if lines and not lines[0][:1].isdigit() else lines


def to_ms(stamp: str) -> int:
    """A time of an archive row, milli- or microseconds, in milliseconds."""
    value = int(stamp)
    return value // 1000 if value >= _MICROSECONDS else value
