"""Rows of a binary COPY, made by hand: what is not a whole one is refused, with what is wrong with it."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from marketdata.copyframe import HEADER, POSTGRES_EPOCH_MS, TRAILER, body
from marketdata.copyrows import decode, row_type, to_datetimes, to_milliseconds

LAYOUT = row_type(("time", ">i8", 1), ("values", ">f8", 2), ("source", "S4", 1))
ROW_BYTES = 2 + 3 * 12 + 8


def field(value: bytes | None) -> bytes:
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value


def row(*values: bytes | None) -> bytes:
    return struct.pack(">h", len(values)) + b"".join(map(field, values))


def good(n: int) -> bytes:
    return row(struct.pack(">q", n), struct.pack(">d", n / 2), struct.pack(">d", -n), b"rest")


def stream(*rows: bytes) -> bytes:
    return HEADER + b"".join(rows) + TRAILER


def test_rows_are_read_from_bytes_and_from_memory() -> None:
    data = stream(*map(good, range(3)))
    assert LAYOUT.itemsize == ROW_BYTES
    for form in (data, memoryview(data), memoryview(bytearray(data))):
        found = decode(form, LAYOUT)
        assert list(found) == ["time", "values", "source"]
        assert found["time"].tolist() == [[0], [1], [2]]
        assert found["values"].tolist() == [[0.0, 0.0], [0.5, -1.0], [1.0, -2.0]]
        assert found["source"].tolist() == [[b"rest"]] * 3
    assert {name: values.shape for name, values in decode(stream(), LAYOUT).items()} == {
        "time": (0, 1),
        "values": (0, 2),
        "source": (0, 1),
    }


def test_times_are_counted_from_2000() -> None:
    copied = np.array([0, 1_500, -1], dtype=">i8")
    assert to_milliseconds(copied).tolist() == [
        POSTGRES_EPOCH_MS,
        POSTGRES_EPOCH_MS + 1,
        POSTGRES_EPOCH_MS - 1,
    ]
    assert to_datetimes(copied).astype(str).tolist() == [
        "2000-01-01T00:00:00.000000",
        "2000-01-01T00:00:00.001500",
        "1999-12-31T23:59:59.999999",
    ]


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([good(0), row(*[bytes(8)] * 3)], "row 2 of a binary COPY has 3 fields, not 4"),
        # As long as a good row, and not one.
        ([good(0), row(*[bytes(8)] * 2, bytes(16))], "row 2 of a binary COPY has 3 fields, not 4"),
        ([good(0), row(bytes(8), bytes(8), None, b"rest")], r"row 2.*field 3 \(values\) is null"),
        ([good(0), row(bytes(8), bytes(4), bytes(8), b"rest")], r"row 2.*field 2 \(values\) has 4 bytes, .*"),
        ([good(0), row(bytes(4), bytes(12), bytes(8), b"rest")], r"row 2.*field 1 \(time\) has 4 bytes, .*"),
        ([good(0), row(*[bytes(8)] * 3, b"archive")], r"row 2.*field 4 \(source\) has 7 bytes, not 4"),
        ([good(0), struct.pack(">h", 3) + good(1)[2:]], "row 2 of a binary COPY has 3 fields, not 4"),
        ([good(0), TRAILER, good(1)], "row 2 of a binary COPY has -1 fields, not 4"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_fit_is_named(rows: list[bytes], wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{wrong}$"):
        decode(stream(*rows), LAYOUT)


def test_a_stream_that_is_cut_anywhere_is_refused() -> None:
    """The last bytes of a cut one may be those of a trailer."""
    whole = stream(*map(good, range(3)))
    for end in range(len(whole)):
        with pytest.raises(ValueError, match="binary COPY"):
            decode(whole[:end], LAYOUT)
        if end >= len(HEADER):
            full, rest = divmod(end - len(HEADER), ROW_BYTES)
            if rest:
                with pytest.raises(ValueError, match=f"^row {full + 1} of a binary COPY is cut off$"):
                    decode(whole[:end] + TRAILER, LAYOUT)
    with pytest.raises(ValueError, match=f"cut off after {len(whole) - 2} bytes: no trailer"):
        decode(whole[:-2], LAYOUT)


def test_a_frame_that_is_another_is_named() -> None:
    assert bytes(body(HEADER + b"rows" + TRAILER)) == b"rows"
    flagged = HEADER[:11] + struct.pack(">II", 0xFFFF, 0) + TRAILER
    assert bytes(body(flagged)) == b"", "the lower flags are to be ignored"
    for data, wrong in (
        (b"", "0 bytes are not a binary COPY: no signature"),
        (b"1\t2\n" * 9, "36 bytes are not a binary COPY: no signature"),
        (b"PGCOPY\n" + HEADER[8:] + TRAILER, "no signature"),
        (HEADER[:15], "cut off inside its header"),
        (HEADER, "cut off after 19 bytes: no trailer"),
        (HEADER[:11] + struct.pack(">II", 1 << 16, 0) + TRAILER, "flags 0x10000"),
        (HEADER[:11] + struct.pack(">II", 0, 4) + bytes(4) + TRAILER, "an extension of 4 bytes"),
    ):
        with pytest.raises(ValueError, match=wrong):
            body(data)
