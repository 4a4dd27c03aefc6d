"""`.env` means the same in Compose and in local mode."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import envfile

ENVIRONMENT = {"HOME": "/"}
VALUES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=30)

HANDWRITTEN = {
    "abc # comment": "abc",
    "abc#no comment": "abc#no comment",
    "'a # b' # comment": "a # b",
    '"a # b" # comment': "a # b",
    '"a\\"b"': 'a"b',
    "'a\\b'": "a\\b",
    "a$$b": "a$b",
    "a$NOT_SET": "a",
    "${NOT_SET:-x y}": "x y",
    "${NOT_SET:-${NOT_SET-z}}": "z",
    "'$x'": "$x",
    '"$$x"': "$x",
    "$5": "$5",
    "p@ss:w#rd": "p@ss:w#rd",
    '"a\\nb"': "a\nb",
    "a\\nb": "a\\nb",
    "trailing   ": "trailing",
    "''": "",
    "": "",
    "# a comment alone": "# a comment alone",
    "a'b": "a'b",
}


@pytest.mark.parametrize(("written", "meant"), HANDWRITTEN.items())
def test_handwritten_values(written: str, meant: str) -> None:
    assert envfile.parse(f"A={written}\nB=2\n") == {"A": meant, "B": "2"}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("export A=1\n", {"A": "1"}),
        ("A: 1\n", {"A": "1"}),
        ("  A = 1\n", {"A": "1"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1\n", {"A": "1"}),
        ("A=1\nB=$A\n", {"A": "1", "B": "1"}),
        ("A='one\ntwo'\nB=2", {"A": "one\ntwo", "B": "2"}),
        ("A=1\nA=2\n", {"A": "2"}),
    ],
)
def test_forms_of_a_line(text: str, values: dict[str, str]) -> None:
    assert envfile.parse(text) == values


@pytest.mark.parametrize("text", ["A='open\n", "A B=1\n", "A=${\n", "A=${NOT_SET:?gone}\n", "-!=1\n"])
def test_what_compose_refuses_is_refused_without_quoting_a_value(text: str) -> None:
    with pytest.raises(envfile.EnvFileError, match="line 1"):
        envfile.parse(text)


@given(VALUES)
def test_a_written_value_reads_back(value: str) -> None:
    line = envfile.render("A", value)
    assert envfile.parse(f"{line}\nB=2\n") == {"A": value, "B": "2"}


def _compose_reads(
    compose: Callable[[Path], str], folder: Path, text: str, names: list[str]
) -> dict[str, str]:
    lines = "".join(f"      {name}: ${{{name}:-}}\n" for name in names)
    (folder / "docker-compose.yml").write_text(f"services:\n  a:\n    image: a\n    environment:\n{lines}")
    (folder / ".env").write_text(text, newline="", encoding="utf-8")
    answer = compose(folder)
    assert answer, "docker compose refuses the file"
    environment = json.loads(answer)["services"]["a"]["environment"]
    return {name: value.replace("$$", "$") for name, value in environment.items()}


def test_compose_reads_handwritten_values_alike(compose: Callable[[Path], str], tmp_path: Path) -> None:
    names = [f"V{number}" for number in range(len(HANDWRITTEN))]
    text = "".join(f"{name}={written}\n" for name, written in zip(names, HANDWRITTEN, strict=True))
    expected = dict(zip(names, HANDWRITTEN.values(), strict=True))
    assert envfile.parse(text) == expected
    assert _compose_reads(compose, tmp_path, text, names) == expected


def test_compose_reads_written_values_back(compose: Callable[[Path], str], tmp_path: Path) -> None:
    letters, chance = "ab$:@#\\'\" {}-_=/1\té", random.Random(3)
    values = {f"V{n}": "".join(chance.choices(letters, k=chance.randrange(16))) for n in range(200)}
    text = "".join(envfile.render(name, value) + "\n" for name, value in values.items())
    assert _compose_reads(compose, tmp_path, text, list(values)) == values
