"""The generated SQL and reference say what the registry says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from marketdata.features import NAMES, REGISTRY
from marketdata.features.document import versions
from marketdata.features.generate import TARGETS, main, outdated
from marketdata.features.view import KEYS, render_view

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_a_generated_file_is_up_to_date(name: str) -> None:
    assert (REPOSITORY / name).read_text(encoding="utf-8") == TARGETS[name]()


def test_check_fails_until_the_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(tmp_path)]
    assert main([*root, "--check"]) == 1
    assert "out of date: docs/features.md" in capsys.readouterr().out
    assert main(root) == 0
    assert main([*root, "--check"]) == 0
    (tmp_path / "docs/features.md").write_text("edited")
    assert outdated(tmp_path) == ["docs/features.md"]


def test_each_feature_is_a_column_at_its_position() -> None:
    sql = render_view()
    found = re.findall(r"v\[(\d+)\].* AS (\w+)", sql)
    assert found == [(str(place), name) for place, name in enumerate(NAMES, start=1)]
    selected = re.search(r"SELECT\n(.*?),\n    nullif", sql, re.S)
    assert selected is not None
    assert [line.strip() for line in selected[1].split(",")] == [f"stored.{key}" for key in KEYS]


def test_names_need_no_quotes_in_sql_and_no_escape_in_json_or_in_format() -> None:
    assert [name for name in NAMES if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name)] == []


def test_a_retired_feature_keeps_its_place_and_says_so() -> None:
    retired = replace(REGISTRY[2], retired_version=9)
    sql = render_view((*REGISTRY[:2], retired, *REGISTRY[3:]))
    assert re.findall(r"v\[\d+\].* AS (\w+)", sql) == list(NAMES)
    assert sql.count("retired: null from feature set 9 on';") == 1
    assert sql.replace("; retired: null from feature set 9 on", "") == render_view()
    assert [versions(feature) for feature in (REGISTRY[2], retired)] == ["1", "1, retired in 9"]


def test_the_reference_has_a_row_for_each_feature() -> None:
    text = TARGETS["docs/features.md"]()
    for place, feature in enumerate(REGISTRY, start=1):
        assert f"| {place} | `{feature.name}` | {feature.since_version} | {feature.window} |" in text


@pytest.mark.database
async def test_the_view_can_be_applied_again(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute(render_view())
    await connection.execute(render_view())
    columns = await connection.fetch(
        "SELECT column_name, col_description('feature_matrix'::regclass, ordinal_position) AS comment"
        " FROM information_schema.columns WHERE table_name = 'feature_matrix' ORDER BY ordinal_position"
    )
    assert [row["column_name"] for row in columns] == [*KEYS, *NAMES]
    comments = {row["column_name"]: row["comment"] for row in columns if row["comment"]}
    assert all(comments[feature.name].startswith(feature.formula) for feature in REGISTRY)
