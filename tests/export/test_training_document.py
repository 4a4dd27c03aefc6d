"""docs/training.md runs as it stands."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from tests.export.stored import begin, command, environment, manifest, put, read, seeded, text

from marketdata.database import Connection
from marketdata.export.cli import parser
from marketdata.settings import DatabaseSettings

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def commands() -> list[list[str]]:
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("marketdata-export ")]


def test_every_argument_is_documented() -> None:
    options = {option for action in parser()._actions for option in action.option_strings}
    missing = [option for option in options - {"-h", "--help"} if f"`{option}" not in DOCUMENT]
    assert missing == []


def test_every_documented_command_is_understood() -> None:
    assert len(commands()) == 2
    for arguments in commands():
        assert parser().parse_args(arguments).output.name == "january.parquet"


class Model:
    """Stands for whatever is trained."""

    def __init__(self) -> None:
        self.scored = 0

    def fit(self, values: object, label: object) -> None:
        """Learn nothing."""
        assert len(values) == len(label) > 0  # type: ignore[arg-type]

    def score(self, values: object, label: object) -> None:
        """Count the rows."""
        self.scored += len(values)  # type: ignore[arg-type]


async def test_the_command_the_program_and_the_split(
    connection: Connection,
    database: DatabaseSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On two days of March 2023 instead of January 2026."""
    await begin(connection, ["BTCUSDT", "ETHUSDT"], 2880)
    for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT"), start=1):
        await put(connection, symbol, seeded(2880, seed))
    monkeypatch.chdir(tmp_path)
    for name, value in environment(database).items():
        monkeypatch.setenv(name, value)
    moved = {"2026-01-01": text(1440), "2026-02-01": text(2880)}
    arguments = [moved.get(word, word) for word in commands()[0]]
    command(database, *arguments)
    assert read(tmp_path / "january.parquet").num_rows == 2880
    first = manifest(tmp_path / "january.parquet")
    (tmp_path / "january.parquet").unlink()
    (tmp_path / "january.parquet.manifest.json").unlink()

    model = Model()
    program, split = blocks("python")
    for then, now in moved.items():
        program = program.replace(then, now)
    exec(program, {})
    again = manifest(tmp_path / "january.parquet")
    assert again["symbols"] == first["symbols"]
    exec(split, {"model": model, "features": ["return_1m", "rsi_14"]})
    labels = read(tmp_path / "january.parquet").column("label_return_15").to_numpy()
    assert model.scored == np.count_nonzero(~np.isnan(labels)) == 2 * (1440 - 14)
