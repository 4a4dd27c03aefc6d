"""What deploy.sh says of settings, and what it writes into `.env`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import configuration
import envfile

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".env.example").write_text(EXAMPLE, encoding="utf-8")
    return tmp_path


def write_env(folder: Path, text: str) -> None:
    (folder / ".env").write_bytes(text.encode())


def test_the_example_is_correct_but_for_its_placeholders(folder: Path) -> None:
    assert configuration.problems(folder, {}) == []
    write_env(folder, EXAMPLE)
    named = [problem.split()[0] for problem in configuration.problems(folder, {})]
    assert named == list(configuration.GENERATED) or sorted(named) == sorted(configuration.GENERATED)


def test_every_problem_is_reported_at_once(folder: Path) -> None:
    write_env(
        folder, "DB_PORTT=1\nSYMBOLS=btcusdt\nDB_PASSWORD=change_me\nFEEDER_PORT=8000\nDB_PORT=x # no\n"
    )
    text = "\n".join(configuration.problems(folder, {}))
    for name in (
        "DB_PORTT is not a setting (did you mean DB_PORT?)",
        "SYMBOLS",
        "DB_PASSWORD",
        "DB_PORT must",
    ):
        assert name in text
    assert "FEEDER_PORT and PGADMIN_PORT are both 8000" in text


def test_an_unknown_setting_is_looked_for_in_the_file_alone(folder: Path) -> None:
    write_env(folder, "COMPOSE_PROJECT_NAME=mine\nDB_PASSWORD=a\n")
    assert configuration.problems(folder, {"DB_NOT_OURS": "1", "PATH": "/bin"}) == []
    assert "GAP_DETECTION_THRESHOLD" in configuration.problems(folder, {"GAP_DETECTION_THRESHOLD": "soon"})[0]


def test_the_environment_goes_before_the_file(folder: Path) -> None:
    write_env(folder, "FEEDER_PORT=1001\nDB_PASSWORD=a\n")
    assert configuration.effective(folder, {"FEEDER_PORT": "1002"})["FEEDER_PORT"] == "1002"
    assert configuration.effective(folder, {})["FEEDER_PORT"] == "1001"


def test_a_new_file_is_the_example_with_strong_secrets(folder: Path) -> None:
    text = configuration.new_env(folder, {})
    assert text is not None
    made, example = envfile.parse(text), envfile.parse(EXAMPLE)
    assert list(made) == list(example)
    assert {name for name in made if made[name] != example[name]} == set(configuration.GENERATED)
    secrets = [made[name] for name in configuration.GENERATED]
    assert len(set(secrets)) == len(secrets)
    assert all(len(secret) >= 32 for secret in secrets)
    write_env(folder, text)
    assert configuration.problems(folder, {}) == []
    assert configuration.new_env(folder, {}) is None


def test_a_demo_never_uses_a_database_of_ones_own(folder: Path) -> None:
    write_env(folder, "DB_HOST=db.example.com\nDB_SSLMODE=verify-full\nDB_PASSWORD=a\n")
    assert configuration.effective(folder, {})["DB_HOST"] == "db.example.com"
    demo = configuration.effective(folder, {configuration.DEMO: "yes"})
    assert (demo["DB_HOST"], demo["DB_SSLMODE"]) == ("timescaledb", "prefer")
    assert configuration.is_bundled(demo)


def test_a_remote_database_gets_no_invented_password(folder: Path) -> None:
    write_env(folder, "DB_HOST=db.example.com\nMLREADER_PASSWORD=a\nPGADMIN_PASSWORD=b\n")
    assert configuration.new_env(folder, {}) is None


@pytest.mark.parametrize(
    "text",
    [
        "DB_PASSWORD=\n",
        "# mine\r\nDB_PASSWORD=   # to be made\r\nSYMBOLS=ETHUSDT\r\n",
        "export DB_PASSWORD=''\nPGADMIN_PASSWORD=kept",
        'PGADMIN_PASSWORD="kept # this"\n\n\nDB_PASSWORD=""\n# end',
        "",
        "DB_PASSWORD=\nDB_PASSWORD=\n",
        "DB_PASSWORD:\n",
    ],
)
def test_filling_changes_nothing_else(folder: Path, text: str) -> None:
    write_env(folder, text)
    filled = configuration.new_env(folder, {})
    assert filled is not None
    before, after = envfile.parse(text), envfile.parse(filled)
    assert all(after[name] for name in configuration.GENERATED)
    assert {name: after[name] for name in before if before[name]} == {n: v for n, v in before.items() if v}
    kept = [line for line in text.splitlines(keepends=True) if "DB_PASSWORD" not in line]
    assert all(line in filled for line in kept)


@given(
    st.text(st.characters(blacklist_characters="\0\r", blacklist_categories=["Cs"]), min_size=1, max_size=20)
)
def test_any_secret_can_be_filled_in(secret: str) -> None:
    text = "A=1\nDB_PASSWORD= # here\nB='two words'\n"
    after = envfile.parse(configuration.completed(text, {"DB_PASSWORD": secret}))
    assert after == {"A": "1", "DB_PASSWORD": secret, "B": "two words"}


def test_a_line_that_cannot_be_read_hides_no_other_problem(folder: Path) -> None:
    write_env(folder, "SYMBOLS=btc\nA B=1\nDB_PORTT=1\nDB_PASSWORD='open\nFEEDER_PORT=x\n")
    text = "\n".join(configuration.problems(folder, {}))
    for said in ("line 2: a setting's name", "line 4: a quoted value", "DB_PORTT", "SYMBOLS", "FEEDER_PORT"):
        assert said in text
    assert "open" not in text.replace("no closing", "")


def test_a_short_password_is_warned_of_without_quoting_it(folder: Path) -> None:
    write_env(folder, "DB_PASSWORD=zebra7\nMLREADER_PASSWORD=long enough for us\n")
    found = configuration.warnings(configuration.effective(folder, {}))
    assert len(found) == 1
    assert found[0].startswith("DB_PASSWORD is short")
    assert "zebra7" not in found[0]


def test_a_shard_without_a_symbol_is_warned_of(folder: Path) -> None:
    write_env(folder, "SYMBOLS=BTCUSDT\n")
    found = {
        shard: configuration.warnings(configuration.effective(folder, {"SHARD": shard}))
        for shard in ("1/1", "1/2", "2/2")
    }
    assert found["1/1"] == found["2/2"] == []
    assert found["1/2"] == ["SHARD=1/2 has none of SYMBOLS=BTCUSDT: its feeder captures nothing."]


def test_one_look_finds_the_problems_alone_or_all_that_a_start_has_to_know(folder: Path) -> None:
    write_env(folder, "DB_PASSWORD=short\nMLREADER_PASSWORD=\nPGADMIN_PASSWORD=long enough to stay\n")
    found = configuration.look(folder, {"FEEDER_PORT": "1002"})
    assert ("setting", "FEEDER_PORT=1002") in found
    assert [text for kind, text in found if kind == "missing"] == ["MLREADER_PASSWORD"]
    assert [text.split()[0] for kind, text in found if kind == "warning"] == ["DB_PASSWORD"]
    assert not any("_PASSWORD=" in text or "long enough" in text for _, text in found)
    assert {kind for kind, _ in configuration.look(folder, {"FEEDER_PORT": "x"})} == {"problem"}
