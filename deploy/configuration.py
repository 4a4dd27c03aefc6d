"""The deployment's view of the settings: checked whole, completed with secrets, and shown to the shell steps.

    configuration.py look         what there is to know before a start, as lines of KIND<TAB>text (see `look`)
    configuration.py password     DB_PASSWORD, for a pipe; verifier: as the database stores it
    configuration.py new-env      the text .env should have; exit code 3 where it has it already

Standard library only. What the environment says of a known setting goes before ``.env``, as in Compose.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "deploy"), str(ROOT / "shared")]

import envfile
from marketdata import settings, shards
from marketdata.migrate import scram

GENERATED = ("DB_PASSWORD", "MLREADER_PASSWORD", "PGADMIN_PASSWORD")
DEMO = "DEPLOY_DEMO"
_TOOLS_OWN = ("COMPOSE_", "DOCKER_")
_SECRET_BYTES = 24
_SHORT_SECRET = 12


def in_file(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What ``.env`` says, or where there is none, what the example says without its placeholders."""
    if (root / ".env").exists():
        return envfile.read(root / ".env", environ)
    example = envfile.read(root / ".env.example", environ)
    return {name: "" if name in GENERATED else value for name, value in example.items()}


def effective(root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The settings a start would use: known names alone, the environment before the file.

    A demo has a bundled database of its own, whatever ``DB_HOST`` says: simulated candles never get into
    a database that may hold real ones.
    """
    given = in_file(root, environ)
    merged = {**given, **{name: environ[name] for name in settings.NAMES if environ.get(name)}}
    values = {setting.name: _value(setting, merged.get(setting.name, "")) for setting in settings.SETTINGS}
    if environ.get(DEMO):
        values |= {"DB_HOST": settings.BUNDLED_DB_HOST, "DB_SSLMODE": "prefer"}
    return values


def _value(setting: settings.Setting, text: str) -> str:
    return text or setting.default if setting.secret else text.strip() or setting.default


def is_bundled(values: Mapping[str, str]) -> bool:
    """Whether the deployment brings the database itself."""
    return values["DB_HOST"] == settings.BUNDLED_DB_HOST


def problems(root: Path, environ: Mapping[str, str]) -> list[str]:
    """Everything wrong with the settings. An unknown name is looked for in ``.env`` alone."""
    unreadable: list[str] = []
    try:
        given = in_file(root, environ)
    except envfile.EnvFileError:
        given, unreadable = _readable_part(root, environ)
    known = {name: environ[name] for name in settings.NAMES if environ.get(name)}
    ours = {name: value for name, value in given.items() if not name.startswith(_TOOLS_OWN)}
    found = unreadable + settings.check({**ours, **known})
    return found if unreadable else found + _port_clashes(effective(root, environ))


def _readable_part(root: Path, environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What the lines of ``.env`` say that can be read, and what is wrong with the others."""
    try:
        lines = (root / ".env").read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return {}, [".env cannot be read: it is not UTF-8"]
    wrong: list[str] = []
    while True:
        try:
            return envfile.parse("\n".join(lines), environ.get), wrong
        except envfile.EnvFileError as error:
            number = re.match(r"line ([0-9]+):", str(error))
            at = int(number[1]) - 1 if number else len(lines)
            if at >= len(lines) or not lines[at]:
                return {}, [*wrong, f".env cannot be read: {error}"]
            wrong.append(f".env cannot be read: {error}")
            lines[at] = ""


def warnings(values: Mapping[str, str]) -> list[str]:
    """What is allowed and unwise: a password that can be guessed, a feeder that has nothing to capture."""
    found = [
        f"{name} is short: anyone who reaches its port can try them all. Leave it empty to have one made."
        for name in GENERATED
        if 0 < len(values[name]) < _SHORT_SECRET
    ]
    shard, symbols = shards.parse(values["SHARD"]), settings.parse(values)[0]["SYMBOLS"]
    if not shard.part(cast(tuple[str, ...], symbols)):
        found.append(f"SHARD={shard} has none of SYMBOLS={values['SYMBOLS']}: its feeder captures nothing.")
    return found


def _port_clashes(values: Mapping[str, str]) -> list[str]:
    names = ["FEEDER_PORT", "GAP_HANDLER_PORT", "PGADMIN_PORT"] + ["DB_PORT"] * is_bundled(values)
    by_port: dict[str, list[str]] = {}
    for name in names:
        by_port.setdefault(values[name].lstrip("0"), []).append(name)
    return [
        f"{' and '.join(users)} are both {port}. Give one of them another port in .env."
        for port, users in by_port.items()
        if len(users) > 1
    ]


def missing_secrets(values: Mapping[str, str]) -> list[str]:
    """The secrets that are empty and ours to make: another host's password is not."""
    return [name for name in GENERATED if not values[name] and (name != "DB_PASSWORD" or is_bundled(values))]


def completed(text: str, fill: Mapping[str, str]) -> str:
    """``text`` of a ``.env`` with the secrets of ``fill`` put in; every other byte stays as it is."""
    for name, value in fill.items():
        text = _filled(text, name, value)
    return text


def _filled(text: str, name: str, value: str) -> str:
    line = envfile.render(name, value)
    rendered = line.partition("=")[2]
    nothing = rf"''|\"\"|{settings.PLACEHOLDERS[0]}"
    empty = re.compile(rf"^(\s*(?:export\s+)?{name}\s*=)(?:{nothing})?([^\S\n]*(?:#.*)?)$", re.MULTILINE)
    changed = empty.sub(lambda match: match[1] + rendered + _gap(match[2]), text)
    if envfile.parse(changed) == {**envfile.parse(text), name: value}:
        return changed
    # Not a line of that form alone: a later line wins over whatever the file says.
    return text + ("" if text.endswith("\n") or not text else "\n") + line + "\n"


def _gap(comment: str) -> str:
    return f" {comment}" if comment.startswith("#") else comment


def new_env(root: Path, environ: Mapping[str, str]) -> str | None:
    """The text ``.env`` should have, or ``None`` where nothing is missing."""
    path = root / ".env"
    missing = missing_secrets(effective(root, environ))
    made = {name: secrets.token_urlsafe(_SECRET_BYTES) for name in missing}
    if path.exists():
        return completed(path.read_bytes().decode("utf-8"), made) if made else None
    given = {name: made.get(name, environ.get(name, "")) for name in GENERATED}
    return completed((root / ".env.example").read_text(encoding="utf-8"), given)


def look(root: Path, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the shell steps have to know, each with its kind.

    ``problem``: every one of .env and of the known names in the environment, and then nothing else.
    ``setting``: NAME=value of each that is no secret, defaults filled in; ``warning``: what is allowed and
    unwise; ``missing``: the names of the secrets a start has to make.
    """
    if found := problems(root, environ):
        return [("problem", problem) for problem in found]
    values = effective(root, environ)
    return [
        *(("setting", f"{s.name}={values[s.name]}") for s in settings.SETTINGS if not s.secret),
        *(("warning", warning) for warning in warnings(values)),
        *(("missing", name) for name in missing_secrets(values)),
    ]


def main(command: str) -> int:
    """Run one of the commands of the module's docstring."""
    if command == "look":
        found = look(ROOT, os.environ)
        print("".join(f"{kind}\t{text}\n" for kind, text in found), end="")
        return 1 if any(kind == "problem" for kind, _ in found) else 0
    if command == "password":
        sys.stdout.write(effective()["DB_PASSWORD"])
        return 0
    if command == "verifier":
        print(scram.verifier(effective()["DB_PASSWORD"]))
        return 0
    if command == "new-env":
        text = new_env(ROOT, os.environ)
        if text is None:
            return 3
        sys.stdout.buffer.write(text.encode("utf-8"))
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
