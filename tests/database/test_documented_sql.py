"""Every SQL statement of the documents runs as it stands, by the role it is meant for."""

import asyncio
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import READER_PASSWORD
from tests.database.conftest import store

from marketdata import database as db
from marketdata.database import Connection
from marketdata.features import NAMES
from marketdata.features.registry import FEATURE_VERSION
from marketdata.features.view import KEYS
from marketdata.settings import DatabaseSettings

REPOSITORY = Path(__file__).resolve().parents[2]


def statements() -> list[tuple[str, str]]:
    found = []
    for page in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]:
        for block in re.findall(r"```sql\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            found += [(page.name, text.strip()) for text in block.split(";") if text.strip()]
    return found


@pytest.mark.parametrize(("page", "text"), statements(), ids=lambda value: value[:40].replace("\n", " "))
async def test_documented_statement(
    market: Connection, database: DatabaseSettings, page: str, text: str
) -> None:
    await store(market, range(10))
    reader = await db.connect(replace(database, user="mlreader", password=READER_PASSWORD), "test-reader")
    try:
        await reader.fetch(text)
    finally:
        await reader.close()


def programs() -> list[str]:
    """The Python blocks of the SQL contract."""
    text = (REPOSITORY / "docs" / "sql.md").read_text(encoding="utf-8")
    found: list[str] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return found


PANDAS = """
assert len(frame) == {rows}, frame
assert list(frame.columns) == {columns}
assert str(frame["time"].dtype).endswith(", UTC]"), frame.dtypes
assert str(frame["known_at"].dtype).endswith(", UTC]"), frame.dtypes
assert set(map(str, frame.dtypes[5:])) == {{"float64"}}, frame.dtypes
assert frame.iloc[:, 5].isna().all() and not frame.iloc[:, 6].isna().any()
"""
POLARS = """
assert frame.shape == ({rows}, len({columns}))
assert frame.columns == {columns}
assert frame.schema["time"] == frame.schema["known_at"] == pl.Datetime("us", "UTC"), frame.schema
assert set(frame.dtypes[5:]) == {{pl.Float64}}, frame.schema
assert frame[:, 5].null_count() == {rows} and frame[:, 6].null_count() == 0
"""


async def test_a_day_reads_as_a_typed_frame(market: Connection, database: DatabaseSettings) -> None:
    """A column that is null throughout, and one that is null for its first 200 rows, are numbers, too.

    Whatever the time zone of the session.
    """
    await market.execute(
        "INSERT INTO feature_values SELECT 'BTCUSDT', time, $1,"
        " ARRAY[NULL, 0.5, CASE WHEN n > 200 THEN 0.5 END] || array_fill(n::float8, ARRAY[$2 - 3]), 1, time"
        " FROM generate_series(1, 300) AS n,"
        " LATERAL (SELECT floor_minute(now()) - (300 - n) * interval '1 minute' AS time) AS at",
        FEATURE_VERSION,
        len(NAMES),
    )
    await market.execute(f"ALTER DATABASE \"{database.name}\" SET timezone = 'America/New_York'")
    connection = (
        f"host={database.host!r}, port={database.port}, user='mlreader', password={READER_PASSWORD!r}, "
    )
    for source in programs():
        pandas = "psycopg2" in source
        name = "dbname" if pandas else "database"
        source = re.sub(r"connect\(\s*host=[^)]*\)", f"connect({connection}{name}={database.name!r})", source)
        source += (PANDAS if pandas else POLARS).format(rows=300, columns=[*KEYS, *NAMES])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", source,
            env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
    assert len(programs()) == 2


async def test_rows_as_they_were_live_are_told_by_known_at(market: Connection) -> None:
    """The documented filter leaves out what was repaired, or fetched after the fact."""
    await market.execute(
        "INSERT INTO feature_values SELECT 'BTCUSDT', time, $1, '{0.5}', 1, time + late * interval '1 second'"
        " FROM unnest(ARRAY[1, 5, 6, 600]) AS late,"
        " LATERAL (SELECT floor_minute(now()) - late * interval '1 minute' AS time) AS at",
        FEATURE_VERSION,
    )
    (query,) = (text for _, text in statements() if "known_at <=" in text)
    rows = await market.fetch(query)
    assert [(row["known_at"] - row["time"]) // 1000 for row in rows] == [5, 1]
