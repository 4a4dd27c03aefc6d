"""What stands around the rows of PostgreSQL's binary COPY, and where its time begins; without NumPy.

The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

Buffer: TypeAlias = bytes | memoryview

POSTGRES_EPOCH_MS: Final = 946_684_800_000
"""2000-01-01, from which PostgreSQL counts microseconds, in Unix milliseconds."""
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_FLAGS_AND_EXTENSION: Final = struct.Struct(">II")
HEADER: Final = _SIGNATURE + _FLAGS_AND_EXTENSION.pack(0, 0)
"""What comes before the rows: no flags are set, and no server has ever sent an extension."""
TRAILER: Final = b"\xff\xff"
"""What comes behind them, where the next row's number of fields would be."""


def body(data: Buffer) -> memoryview:
    """Return the bytes of the rows. Raises ``ValueError``, with what is wrong, if it is not a whole COPY."""
    view = memoryview(data)
    if bytes(view[: len(_SIGNATURE)]) != _SIGNATURE:
        raise ValueError(f"{len(view)} bytes are not a binary COPY: no signature")
    if len(view) < len(HEADER):
        raise ValueError("a binary COPY that is cut off inside its header")
    flags, extension = _FLAGS_AND_EXTENSION.unpack_from(view, len(_SIGNATURE))
    if flags >> 16 or extension:  # The lower half of the flags is to be ignored.
        raise ValueError(f"a binary COPY with flags {flags:#x} and an extension of {extension} bytes")
    if len(view) < len(HEADER) + len(TRAILER) or bytes(view[-len(TRAILER) :]) != TRAILER:
        raise ValueError(f"a binary COPY that is cut off after {len(view)} bytes: no trailer")
    return view[len(HEADER) : -len(TRAILER)]
