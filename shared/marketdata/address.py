"""Where the database is: a URL or the environment, as checked settings. No message holds a password."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from marketdata.errors import ConfigurationError
from marketdata.settings import BUNDLED_DB_HOST, DatabaseSettings, parse

READER: Final = "mlreader"
_NAMES: Final = ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "DB_SSLMODE")
_FORM: Final = (
    "the database's URL must look like postgresql://mlreader:PASSWORD@127.0.0.1:5432/btc_ml_production"
)


def from_dsn(dsn: str, environment: Mapping[str, str] | None = None) -> DatabaseSettings:
    """Return the settings that a ``postgresql://`` URL names.

    ``?sslmode=`` is understood, and ``?host=`` for a socket's folder. What a password needs percent-encoded
    (``urllib.parse.quote``) a URL wants so. A URL without one takes ``DB_PASSWORD`` of ``environment``.
    Raises ``ConfigurationError``.
    """
    try:
        parts = urlsplit(dsn)
        host, port, query = (
            parts.hostname,
            parts.port,
            dict(parse_qsl(parts.query, strict_parsing=bool(parts.query))),
        )
    except ValueError:
        # What urllib says of a malformed URL may be a piece of the password.
        raise ConfigurationError([f"{_FORM}; is a / # ? or @ in the password percent-encoded?"]) from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigurationError([_FORM])
    unknown = sorted(set(query) - {"sslmode", "host"})
    if unknown:
        raise ConfigurationError(
            [f"the database's URL takes sslmode and host after ?, not {', '.join(unknown)}"]
        )
    return _checked(
        {
            "DB_HOST": query.get("host") or unquote(host or ""),
            "DB_PORT": str(port or ""),
            "DB_NAME": unquote(parts.path.lstrip("/")),
            "DB_USER": unquote(parts.username or ""),
            "DB_PASSWORD": unquote(parts.password or "") or (environment or {}).get("DB_PASSWORD", ""),
            "DB_SSLMODE": query.get("sslmode", ""),
        }
    )


def from_environment(environment: Mapping[str, str]) -> DatabaseSettings:
    """Return what the settings ``DB_*`` say. Raises ``ConfigurationError``.

    Where ``MLREADER_PASSWORD`` is given, as it is in a deployment's ``.env``, the models' role is used, and
    ``DB_USER`` and ``DB_PASSWORD`` are not.
    """
    chosen = {name: environment.get(name, "") for name in _NAMES}
    if environment.get("MLREADER_PASSWORD"):
        chosen |= {"DB_USER": READER, "DB_PASSWORD": environment["MLREADER_PASSWORD"]}
    return _checked(chosen)


def _checked(chosen: Mapping[str, str]) -> DatabaseSettings:
    # A program of the user's runs beside the deployment, not in it.
    defaults = {"DB_HOST": BUNDLED_DB_HOST, "DB_USER": READER}
    values, problems = parse({**chosen, **{n: d for n, d in defaults.items() if not chosen[n].strip()}})
    if problems:
        raise ConfigurationError(problems)
    host = str(values["DB_HOST"])
    return DatabaseSettings(
        host="127.0.0.1" if host == BUNDLED_DB_HOST and not _resolves(host) else host,
        port=int(str(values["DB_PORT"])),
        name=str(values["DB_NAME"]),
        user=str(values["DB_USER"]),
        password=str(values["DB_PASSWORD"]),
        sslmode=str(values["DB_SSLMODE"]),
    )


def _resolves(host: str) -> bool:
    """Whether the bundled database has its own name here, as in Compose's network; else a port has it."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
