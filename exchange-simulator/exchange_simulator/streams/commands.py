"""Control messages of a stream connection and their answers. Pure: the caller applies the effect."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import orjson

METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_EXPECTED: Final = ", ".join(f"`{method}`" for method in METHODS)
_TEXT_ID: Final = re.compile(r"^[A-Za-z0-9_-]{1,36}$")


class Command(NamedTuple):
    """A well-formed request."""

    method: str
    params: list[object]
    id: int | str | None


class RefusalError(Exception):
    """A request Binance answers with a small positive code."""

    def __init__(self, code: int, message: str, request_id: object = None) -> None:
        super().__init__(message)
        self.body = {"code": code, "msg": message} | ({} if request_id is None else {"id": request_id})


def parse_command(message: str | bytes) -> Command:
    """Read a control message. Raises RefusalError (web-socket-streams.md, "Error Messages")."""
    try:
        body = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise RefusalError(3, f"Invalid JSON: expected value at {place}") from error
    if not isinstance(body, dict):
        raise RefusalError(2, "Invalid request: expected an object")
    request_id = body.get("id")
    bad_type = isinstance(request_id, bool | float | list | dict)
    if bad_type or (isinstance(request_id, str) and not _TEXT_ID.match(request_id)):
        raise RefusalError(2, "Invalid request: request ID must be an unsigned integer")
    method = body.get("method")
    if method is None:
        place = f"line 1 column {len(message)}"
        raise RefusalError(2, f"Invalid request: missing field `method` at {place}", request_id)
    if method not in METHODS:
        raise RefusalError(
            2, f"Invalid request: unknown variant `{method}`, expected one of {_EXPECTED}", request_id
        )
    params = body.get("params", [])
    if not isinstance(params, list):
        raise RefusalError(2, "Invalid request: params must be an array", request_id)
    return Command(method, params, request_id)


def stream_names(command: Command) -> list[str]:
    """Names in a (un)subscription. Raises RefusalError."""
    names = [name for name in command.params if isinstance(name, str)]
    if len(names) != len(command.params):
        raise RefusalError(2, "Invalid request: stream name must be a string", command.id)
    if not names:
        raise RefusalError(2, "Invalid request: missing streams", command.id)
    return names


def new_combined(command: Command) -> bool:
    """The value `SET_PROPERTY` asks for. Raises RefusalError."""
    _check_property(command, 2)
    value = command.params[1] if len(command.params) > 1 else None
    if not isinstance(value, bool):
        raise RefusalError(1, "Invalid value type: expected Boolean", command.id)
    return value


def check_get_property(command: Command) -> None:
    """Raise RefusalError unless the one property there is was asked for."""
    _check_property(command, 1)


def _check_property(command: Command, most: int) -> None:
    if len(command.params) > most:
        raise RefusalError(2, "Invalid request: too many parameters", command.id)
    if not command.params or not isinstance(command.params[0], str):
        raise RefusalError(2, "Invalid request: property name must be a string", command.id)
    if command.params[0] != "combined":
        raise RefusalError(0, "Unknown property", command.id)
