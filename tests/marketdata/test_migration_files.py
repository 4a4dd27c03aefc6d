"""Migrations are numbered, applied once, and an edited one is refused."""

from pathlib import Path

import pytest

from marketdata.errors import SchemaError
from marketdata.migrate import files, scram

REPOSITORY = Path(__file__).resolve().parents[2]


def _folder(tmp_path: Path, *names: str) -> Path:
    (tmp_path / "migrations").mkdir()
    for name in names:
        (tmp_path / "migrations" / name).write_text("SELECT 1;", encoding="utf-8")
    return tmp_path


def test_this_repository_has_a_gapless_row_of_migrations() -> None:
    found = files.read(REPOSITORY / "timescaledb")
    assert [file.name[:4] for file in found.numbered] == [
        f"{n:04d}" for n in range(1, len(found.numbered) + 1)
    ]
    assert found.repeatable


@pytest.mark.parametrize(
    "names", [["0002_b.sql"], ["0001_a.sql", "0003_c.sql"], ["1_a.sql"], ["0001-a.sql"], []]
)
def test_wrong_numbers_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(SchemaError):
        files.read(_folder(tmp_path, *names))


def test_pending_is_what_was_not_applied(tmp_path: Path) -> None:
    found = files.read(_folder(tmp_path, "0001_a.sql", "0002_b.sql")).numbered
    assert files.pending(found, {}) == list(found)
    assert files.pending(found, {"0001_a.sql": found[0].sha256}) == [found[1]]


def test_an_edited_migration_is_refused_by_name(tmp_path: Path) -> None:
    found = files.read(_folder(tmp_path, "0001_a.sql")).numbered
    with pytest.raises(SchemaError, match=r"0001_a\.sql was edited"):
        files.pending(found, {"0001_a.sql": "0" * 64})


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    found = files.read(_folder(tmp_path, "0001_a.sql")).numbered
    with pytest.raises(SchemaError, match="newer than this code"):
        files.pending(found, {"0001_a.sql": found[0].sha256, "0002_later.sql": "0" * 64})


def test_scram_verifier_matches_a_published_one() -> None:
    # RFC 7677 section 3: user "user", password "pencil", this salt, 4096 iterations.
    import base64

    text = scram.verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    assert text == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
        "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
