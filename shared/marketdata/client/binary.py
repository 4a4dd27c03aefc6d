"""PostgreSQL's binary COPY as arrays: rows whose fields are all there and as wide in every row.

The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Buffer: TypeAlias = bytes | memoryview

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_HEADER_BYTES: Final = 19
_TRAILER_BYTES: Final = 2
_EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01, from which PostgreSQL counts, in Unix microseconds."""


def row_type(*fields: tuple[str, str, int]) -> np.dtype[Any]:
    """Return the layout of a row of ``(name, type, count)``: ``count`` fields that lie side by side.

    ``type`` is NumPy's, big-endian: ``>f8``, ``>i8``, ``>i4``, ``S16``. Each field has its size before it.
    """
    parts: list[tuple[Any, ...]] = [("fields", ">i2")]
    parts += [(name, [("size", ">i4"), ("value", kind)], (count,)) for name, kind, count in fields]
    return np.dtype(parts)


def decode(data: Buffer, layout: np.dtype[Any]) -> dict[str, Array]:
    """Return each name's values, of shape (rows, count), as the copied bytes hold them.

    Raises ``ValueError`` where the bytes are not rows of this layout.
    """
    body = len(data) - _HEADER_BYTES - _TRAILER_BYTES
    if body < 0 or bytes(data[: len(_SIGNATURE)]) != _SIGNATURE or body % layout.itemsize:
        raise ValueError(f"{len(data)} bytes are not rows of {layout.itemsize}")
    rows = np.frombuffer(data, layout, count=body // layout.itemsize, offset=_HEADER_BYTES)
    names = [name for name in layout.names or () if name != "fields"]
    width = sum(layout[name].shape[0] for name in names)
    sizes_right = (rows["fields"] == width).all() and all(
        (rows[name]["size"] == layout[name].base["value"].itemsize).all() for name in names
    )
    if not sizes_right:
        raise ValueError("a field is missing or of another size")
    return {name: rows[name]["value"] for name in names}


def to_times(microseconds: Array) -> NDArray[np.datetime64]:
    """Return PostgreSQL's microseconds as ``datetime64[us]``, UTC."""
    return (microseconds.astype(np.int64) + _EPOCH_US).view("datetime64[us]")
