"""The rows of PostgreSQL's binary COPY as arrays: no field null, and each as wide in every row."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from marketdata.copyframe import POSTGRES_EPOCH_MS, Buffer, body

Array: TypeAlias = NDArray[Any]

_COUNT: Final = struct.Struct(">h")
_SIZE: Final = struct.Struct(">i")
_NULL: Final = -1


def row_type(*fields: tuple[str, str, int]) -> np.dtype[Any]:
    """Return the layout of a row of ``(name, type, count)``: ``count`` fields that lie side by side.

    ``type`` is NumPy's, big-endian: ``>f8``, ``>i8``, ``>i4``, ``S16``. Each field has its size before it.
    """
    parts: list[tuple[Any, ...]] = [("fields", ">i2")]
    parts += [(name, [("size", ">i4"), ("value", kind)], (count,)) for name, kind, count in fields]
    return np.dtype(parts)


def decode(data: Buffer, layout: np.dtype[Any]) -> dict[str, Array]:
    """Return each name's values, of shape (rows, count), as the copied bytes hold them.

    Raises ``ValueError``, with what is wrong, where the bytes are not a whole COPY of rows of this layout.
    """
    copied = body(data)
    expected = _fields(layout)
    sizes = dict(expected)
    if len(copied) % layout.itemsize == 0:
        rows = np.frombuffer(copied, layout)
        if (rows["fields"] == len(expected)).all() and all(
            (rows[name]["size"] == size).all() for name, size in sizes.items()
        ):
            return {name: rows[name]["value"] for name in sizes}
    raise ValueError(_fault(copied, expected))


def to_milliseconds(copied: Array) -> NDArray[np.int64]:
    """Return PostgreSQL's microseconds as Unix milliseconds."""
    return copied.astype(np.int64) // 1000 + POSTGRES_EPOCH_MS


def to_datetimes(copied: Array) -> NDArray[np.datetime64]:
    """Return PostgreSQL's microseconds as ``datetime64[us]``, UTC."""
    return (copied.astype(np.int64) + POSTGRES_EPOCH_MS * 1000).view("datetime64[us]")


def _fields(layout: np.dtype[Any]) -> list[tuple[str, int]]:
    """Each field's name and size (bytes), in their order."""
    names = [name for name in layout.names or () if name != "fields"]
    return [
        (name, layout[name].base["value"].itemsize) for name in names for _ in range(layout[name].shape[0])
    ]


def _fault(copied: memoryview, expected: list[tuple[str, int]]) -> str:
    """Say what is wrong with rows that do not fit: the first of them, gone through field by field."""
    at = row = 0
    with suppress(struct.error):  # there is less than is asked for
        while at <= len(copied):
            row += 1
            (found,) = _COUNT.unpack_from(copied, at)
            if found != len(expected):
                return f"row {row} of a binary COPY has {found} fields, not {len(expected)}"
            at += _COUNT.size
            for field, (name, size) in enumerate(expected, start=1):
                (found,) = _SIZE.unpack_from(copied, at)
                if found != size:
                    what = "is null" if found == _NULL else f"has {found} bytes, not {size}"
                    return f"row {row} of a binary COPY: field {field} ({name}) {what}"
                at += _SIZE.size + size
    return f"row {row} of a binary COPY is cut off"
