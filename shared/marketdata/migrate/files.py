"""The migration files on disk, and what is left to apply. Pure but for reading the folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from marketdata.errors import SchemaError


class SqlFile(NamedTuple):
    """One SQL file: its name, text and the SHA-256 of its bytes."""

    name: str
    text: str
    sha256: str


class Migrations(NamedTuple):
    """``numbered`` are applied once, in order; ``repeatable`` at every run, in order of name."""

    numbered: tuple[SqlFile, ...]
    repeatable: tuple[SqlFile, ...]


def _read(path: Path) -> SqlFile:
    raw = path.read_bytes()
    return SqlFile(path.name, raw.decode("utf-8"), hashlib.sha256(raw).hexdigest())


def read(directory: Path) -> Migrations:
    """Read ``directory/migrations`` and ``directory/repeatable``.

    Raises ``SchemaError`` when there are none, or when their numbers are not 1, 2, 3 ….
    """
    numbered = [_read(path) for path in sorted((directory / "migrations").glob("*.sql"))]
    if not numbered:
        raise SchemaError([f"no migrations in {directory / 'migrations'}"])
    for expected, file in enumerate(numbered, start=1):
        match = re.fullmatch(r"([0-9]{4})_[a-z0-9_]+\.sql", file.name)
        if match is None or int(match[1]) != expected:
            raise SchemaError(
                [f"migration {file.name} should be number {expected:04d}, named {expected:04d}_noun.sql"]
            )
    repeatable = [_read(path) for path in sorted((directory / "repeatable").glob("*.sql"))]
    return Migrations(tuple(numbered), tuple(repeatable))


def pending(files: Sequence[SqlFile], applied: Mapping[str, str]) -> list[SqlFile]:
    """Return the numbered files that ``applied`` (name to SHA-256) lacks.

    Raises ``SchemaError`` naming every applied file that was edited, removed or overtaken.
    """
    problems = []
    known = {file.name: file.sha256 for file in files}
    for name, sha256 in applied.items():
        if name not in known:
            problems.append(
                f"the database has migration {name}, which this version lacks: it is newer than this code"
            )
        elif known[name] != sha256:
            problems.append(f"migration {name} was edited after it was applied: restore it and add a new one")
    left = [file for file in files if file.name not in applied]
    if left and applied and left[0].name < max(applied):
        problems.append(f"migration {left[0].name} comes before {max(applied)}, which is applied already")
    if problems:
        raise SchemaError(problems)
    return left
