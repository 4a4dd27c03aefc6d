"""Reads and writes ``.env`` exactly as Docker Compose does, so that one file means one thing in both modes.

The grammar is that of compose-go's ``dotenv`` package: comments after values, single quotes (literal),
double quotes (escapes and variables), bare values (variables), ``export``, and ``NAME: value``.
Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

Lookup = Callable[[str], "str | None"]

_KEY_CHARS = frozenset("_.-[]")
_SPACES = frozenset("\t\v\f\r \x85\xa0")
_GO_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0[0-9]{0,3})')
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)|(?P<brace>\{))")
_BRACED = re.compile(r"(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)(?:(?P<op>:?[-+?])(?P<word>.*))?", re.DOTALL)
_BARE = re.compile(r"[A-Za-z0-9._~+/=@%:,-]+")


class EnvFileError(ValueError):
    """The file cannot be read; the message names the line and never quotes a value."""


def read(path: Path, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The settings of the file at ``path``; empty where there is no such file.

    Raises `EnvFileError` where Compose would refuse the file.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise EnvFileError(f"{path.name} is not UTF-8") from error
    return parse(text, (environ or {}).get)


def parse(text: str, lookup: Lookup = lambda _: None) -> dict[str, str]:
    """The settings in ``text``, in order. ``lookup`` answers ``$NAME`` before the file itself does."""
    return _Parser(text.removeprefix("\ufeff"), lookup).run()


def render(name: str, value: str) -> str:
    """One line (without its end) that reads back as ``value`` in Compose and here, whatever it holds."""
    if "\0" in value:
        raise EnvFileError(f"{name} holds a NUL character")
    if value == "" or _BARE.fullmatch(value):
        return f"{name}={value}"
    if not re.search(r"['\\]", value):
        return f"{name}='{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'{name}="{escaped}"'


class _Parser:
    def __init__(self, text: str, lookup: Lookup) -> None:
        self.text = text
        self.at = 0
        self.lookup = lookup
        self.values: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        while self._skip_to_statement():
            name, inherited = self._name()
            if inherited:
                value = self.lookup(name)
                if value is not None:
                    self.values[name] = value
            else:
                self.values[name] = self._value()
        return {name: value for name, value in self.values.items() if not name[:1].isdigit()}

    def _error(self, what: str) -> EnvFileError:
        return EnvFileError(f"line {self.text.count(chr(10), 0, self.at) + 1}: {what}")

    def _skip_to_statement(self) -> bool:
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in _GO_SPACES:
                self.at += 1
            elif char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return True
        return False

    def _name(self) -> tuple[str, bool]:
        exported = re.compile(r"export[\t\n\f\r ]+").match(self.text, self.at)
        if exported:
            self.at += len("export")
            self._skip_blanks()
        for end in range(self.at, len(self.text)):
            char = self.text[end]
            if char in _SPACES or char in _KEY_CHARS or char.isalpha() or char.isnumeric():
                continue
            if char not in "=:\n":
                raise self._error(f"unexpected character {char!r} in a setting's name")
            name = self.text[self.at : end].rstrip(_GO_SPACES)
            break
        else:
            # Compose reads a last line without an end as a name without a value, and ignores it.
            raise self._error("a setting without a value")
        if " " in name:
            raise self._error("a setting's name cannot contain a space")
        self.at = end + 1
        if char != "\n":
            self._skip_blanks()
        return name, char == "\n"

    def _skip_blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in _SPACES:
            self.at += 1

    def _value(self) -> str:
        quote = self.text[self.at : self.at + 1]
        if quote not in ("'", '"') or not quote:
            return self._bare()
        start, self.at = self.at, self.at + 1
        chars: list[str] = []
        escaped = False
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == quote and not escaped:
                value = "".join(chars)
                return self._expand(_unescape(value)) if quote == '"' else value
            if char == "\\" and not escaped:
                escaped = True
                continue
            if escaped and char != quote:
                chars.append("\\")
            escaped = False
            chars.append(char)
        self.at = start
        raise self._error("a quoted value has no closing quote")

    def _bare(self) -> str:
        line, _, _ = self.text[self.at :].partition("\n")
        value = self._expand(line.partition(" #")[0].rstrip(_GO_SPACES))
        self.at = min(self.at + len(line) + 1, len(self.text))
        return value

    def _expand(self, value: str) -> str:
        out: list[str] = []
        at = 0
        while match := _VARIABLE.search(value, at):
            out.append(value[at : match.start()])
            at = match.end()
            if match["dollar"]:
                out.append("$")
            elif match["name"]:
                out.append(self._lookup(match["name"]) or "")
            else:
                at = _closing_brace(value, at)
                if at < 0:
                    raise self._error("a variable's brace is not closed (a literal $ is written $$)")
                out.append(self._braced(value[match.end() : at - 1]))
        return "".join(out) + value[at:]

    def _braced(self, inside: str) -> str:
        match = _BRACED.fullmatch(inside)
        if match is None:
            raise self._error("a variable's name is malformed (a literal $ is written $$)")
        value = self._lookup(match["name"])
        operator, word = match["op"] or "", match["word"] or ""
        given = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("-"):
            return value or "" if given else self._expand(word)
        if operator.endswith("+"):
            return self._expand(word) if given else ""
        if operator.endswith("?") and not given:
            raise self._error(f"the variable {match['name']} is required and not set")
        return value or ""

    def _lookup(self, name: str) -> str | None:
        value = self.lookup(name)
        return self.values.get(name) if value is None else value


def _unescape(value: str) -> str:
    def one(match: re.Match[str]) -> str:
        body = match[0][1:]
        if body == "$":
            return "$$"
        if body.startswith("0"):
            digits = body[1:]
            octal = len(digits) == 3 and set(digits) <= set("01234567") and int(digits, 8) < 256
            return chr(int(digits, 8)) if octal else match[0]
        return _ESCAPED.get(body, match[0])

    return _ESCAPE.sub(one, value)


def _closing_brace(value: str, at: int) -> int:
    """The index after the brace that closes the one before ``at``; -1 where there is none."""
    depth = 1
    while at < len(value):
        if value.startswith("${", at):
            depth += 1
            at += 1
        elif value[at] == "}":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return -1
