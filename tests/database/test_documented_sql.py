"""Every SQL statement of the documents runs as it stands, by the role it is meant for."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import READER_PASSWORD
from tests.database.conftest import store

from marketdata import database as db
from marketdata.database import Connection
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
