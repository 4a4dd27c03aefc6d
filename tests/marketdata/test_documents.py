"""What the documents say is what the code has."""

import re
from pathlib import Path

import pytest

from marketdata import document

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])


def test_settings_and_metrics_are_documented_as_they_are() -> None:
    assert document.outdated(REPOSITORY) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_log_events_that_are_named_exist(page: Path) -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("shared", "data-feeder", "gap-handler", "exchange-simulator", "deploy")
        for path in (REPOSITORY / folder).rglob("*.py")
    )
    for event in re.findall(r"event `([a-z_]+)`", page.read_text(encoding="utf-8")):
        assert f'"{event}"' in code, f"{page.name} names the log event {event}"


def test_tests_that_are_named_exist() -> None:
    page = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_]+/test_[a-z_]+\.py)(?:::(test_[a-z_]+))?`", page)
    assert len(named) > 30
    for file, test in named:
        code = (REPOSITORY / "tests" / file).read_text(encoding="utf-8")
        assert f"def {test}(" in code or not test, f"reliability.md names {file}::{test}"
