"""Binary COPY as arrays: what does not fit the layout is refused, never misread."""

from __future__ import annotations

import numpy as np
import pytest
from tests.client.conftest import at

from marketdata.client.binary import decode, row_type, to_times
from marketdata.database import Connection

LAYOUT = row_type(("time", ">i8", 1), ("values", ">f8", 2))


async def copied(connection: Connection, question: str) -> bytes:
    parts: list[bytes] = []

    async def keep(part: bytes) -> None:
        parts.append(part)

    await connection.copy_from_query(question, output=keep, format="binary")
    return b"".join(parts)


async def test_rows_are_the_servers(connection: Connection) -> None:
    found = decode(
        await copied(
            connection,
            "SELECT timestamptz '2026-11-21 12:00Z' + n * interval '1 minute', n::float8, 'NaN'::float8"
            " FROM generate_series(0, 2) AS n",
        ),
        LAYOUT,
    )
    assert to_times(found["time"][:, 0]).tolist() == [at(n).replace(tzinfo=None) for n in range(3)]
    np.testing.assert_array_equal(found["values"], [[0, np.nan], [1, np.nan], [2, np.nan]])


async def test_what_does_not_fit_is_refused(connection: Connection) -> None:
    good = await copied(connection, "SELECT now(), 1::float8, 2::float8 FROM generate_series(1, 3)")
    assert len(decode(good, LAYOUT)["time"]) == 3
    for question in (
        "SELECT now(), 1::float8, NULL::float8",
        "SELECT now(), 1::float8",
        "SELECT now(), 1::float8, 2::float4",
        "SELECT now(), '12345678'::text, '1234'::text, 'abcd'::text",
        # As long as two good rows, and not two good rows.
        "SELECT now(), 1::float8, 2::float8, 3::float8, repeat('x', 26)",
    ):
        with pytest.raises(ValueError, match=r"rows of 38|missing or of another size"):
            decode(await copied(connection, question), LAYOUT)
    for broken in (good[:-1], good[1:], b"", good[:19]):
        with pytest.raises(ValueError, match="rows of 38"):
            decode(broken, LAYOUT)
