"""Every setting of the suite: its name, default, meaning and check. Standard library alone.

The deployment imports this module before anything is installed, so it must stay free of
dependencies. Services build one frozen ``Settings`` from an explicit mapping at their start.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from marketdata import shards
from marketdata.errors import ConfigurationError
from marketdata.shards import Shard

BUNDLED_DB_HOST: Final = "timescaledb"
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
PLACEHOLDERS: Final = ("change_me", "changeme", "your_password_here", "your_secure_password")


def _text(value: str) -> str:
    return value


def _nonempty(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def _identifier(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}", value):
        raise ValueError("must be a PostgreSQL name of letters, digits and underscores")
    return value


def _host(value: str) -> str:
    hosts = [host.strip() for host in value.split(",")]
    if not all(re.fullmatch(r"[A-Za-z0-9._:\-\[\]/]+", host) for host in hosts):
        raise ValueError("must be a host name, an IP address or a socket directory; more follow after commas")
    if BUNDLED_DB_HOST in hosts and len(hosts) > 1:
        raise ValueError(f"names {BUNDLED_DB_HOST}, the bundled database, beside others: it stands alone")
    if len(set(hosts)) != len(hosts):
        raise ValueError("names a host twice")
    return ",".join(hosts)


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value.strip("[]"))
    except ValueError:
        raise ValueError("must be an IP address such as 127.0.0.1 or 0.0.0.0") from None
    return value


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value) or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def _folder(value: str) -> str:
    if not value.startswith(("/", "./")) or ":" in value:
        raise ValueError("must be a folder that starts with / or ./ and holds no colon")
    return value


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value.lower()

    return parse


def _symbols(value: str) -> tuple[str, ...]:
    names = [name.strip() for name in value.split(",")]
    if not all(names) or not names:
        raise ValueError("must be a comma-separated list such as BTCUSDT,ETHUSDT")
    for name in names:
        # Some listed symbols contain non-ASCII letters, so only what can never be one is refused.
        if name != name.upper() or not re.fullmatch(r"\w{2,30}", name) or "_" in name:
            raise ValueError(
                f"{name!r} is not an instrument name such as BTCUSDT (upper case, no separators)"
            )
    if len(set(names)) != len(names):
        raise ValueError("names an instrument twice")
    return tuple(names)


def _urls(*schemes: str) -> Callable[[str], tuple[str, ...]]:
    def parse(value: str) -> tuple[str, ...]:
        urls: list[str] = []
        for text in (part.strip() for part in value.split(",")):
            parts = urlsplit(text)
            try:
                parts.port  # noqa: B018 - the property raises on a malformed port
            except ValueError as error:
                raise ValueError(f"{text!r}: {error}") from None
            if parts.scheme not in schemes or not parts.hostname:
                raise ValueError(
                    f"{text!r} must be an address that starts with {' or '.join(s + '://' for s in schemes)}"
                )
            if parts.query or parts.fragment or "@" in parts.netloc:
                raise ValueError("an address takes no query, fragment or user name")
            path = re.sub(r"/(ws|stream)/?$", "", parts.path) if "ws" in schemes else parts.path
            urls.append(f"{parts.scheme}://{parts.netloc}{path.rstrip('/')}")
        if len(set(urls)) != len(urls):
            raise ValueError("names an address twice")
        return tuple(urls)

    return parse


def _urls_or_off(value: str) -> tuple[str, ...]:
    return () if value.lower() == "off" else _urls("http", "https")(value)


def _optional_url(value: str) -> str:
    return _urls("http", "https")(value)[0] if value else ""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: ``parse`` turns its text into a value or raises ``ValueError`` with the rule."""

    name: str
    default: str
    parse: Callable[[str], object]
    doc: str
    secret: bool = False


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("SYMBOLS", "BTCUSDT", _symbols, "Instruments to capture, comma-separated Binance spot names."),
    Setting(
        "SHARD",
        str(shards.WHOLE),
        shards.parse,
        "Which of `n` feeders on one database this is, as `i/n`: each captures its own part of `SYMBOLS`.",
    ),
    Setting("HISTORY_DAYS", "395", _whole(1, 3650), "Days of history to have before the first start."),
    Setting(
        "DB_HOST",
        BUNDLED_DB_HOST,
        _host,
        "`timescaledb` is the bundled database; any other host is used instead of it. Of several,"
        " comma-separated, the one that takes writes.",
    ),
    Setting("DB_PORT", "5432", _whole(1, 65535), "The database's port (on the host, for the bundled one)."),
    Setting("DB_NAME", "btc_ml_production", _identifier, "The database."),
    Setting("DB_USER", "mltrader", _identifier, "The role that owns the schema."),
    Setting("DB_PASSWORD", "", _text, "Its password. Generated when empty.", secret=True),
    Setting("DB_SSLMODE", "prefer", _choice(*SSL_MODES), "TLS towards the database, as libpq's sslmode."),
    Setting(
        "MLREADER_PASSWORD",
        "",
        _text,
        "Password of the models' role `mlreader`. Generated when empty.",
        secret=True,
    ),
    Setting(
        "BINANCE_STREAM_URL",
        "wss://stream.binance.com:9443",
        _urls("ws", "wss"),
        "WebSocket address; alternates follow after commas.",
    ),
    Setting(
        "BINANCE_API_URL",
        "https://api.binance.com",
        _urls("http", "https"),
        "REST address; alternates follow after commas.",
    ),
    Setting(
        "BINANCE_ARCHIVE_URL",
        "https://data.binance.vision",
        _urls_or_off,
        "Address of the daily and monthly archives that fill the history; `off` leaves all to REST.",
    ),
    Setting("BIND_ADDRESS", "127.0.0.1", _address, "Address every port binds to."),
    Setting("FEEDER_PORT", "8080", _whole(1, 65535), "Port of the data-feeder's /health and /metrics."),
    Setting("GAP_HANDLER_PORT", "9000", _whole(1, 65535), "Port of the gap-handler's API."),
    Setting("PGADMIN_PORT", "8000", _whole(1, 65535), "Port of pgAdmin."),
    Setting(
        "PGADMIN_PASSWORD",
        "",
        _text,
        "pgAdmin's password for admin@example.com. Generated when empty.",
        secret=True,
    ),
    Setting("GAP_HANDLER_URL", "", _optional_url, "Where the feeder announces gaps; set by the deployment."),
    Setting("BACKFILL_TOKEN", "", _text, "When set, POST /backfill wants it as a bearer token.", secret=True),
    Setting(
        "GAP_DETECTION_THRESHOLD",
        "70",
        _whole(5, 86_400),
        "Seconds of silence on a kline stream that count as a gap.",
    ),
    Setting("MAX_CONCURRENT_BACKFILLS", "5", _whole(1, 64), "Backfill workers."),
    Setting(
        "BACKFILL_TIMEOUT_SECONDS",
        "300",
        _whole(5, 86_400),
        "Seconds without progress after which a backfill is given to another worker.",
    ),
    Setting(
        "GAP_HANDLERS",
        "1",
        _whole(1, 10),
        "Gap-handlers that ask the exchange from this address: each keeps to its share of the request limit,"
        " in whole requests a second.",
    ),
    Setting(
        "AUDIT_DAYS",
        "2",
        _whole(0, 30),
        "Finished days that the nightly audit compares with the exchange's own record; 0: none.",
    ),
    Setting(
        "OUTAGE_CONFIRM_SECONDS",
        "3600",
        _whole(1, 604_800),
        "Seconds of market time between the two looks that confirm an outage.",
    ),
    Setting("BACKUP_DIR", "./backups", _folder, "Folder of the nightly backups; another disk is better."),
    Setting("BACKUP_KEEP_DAYS", "30", _whole(1, 3650), "Days after which a nightly backup is deleted."),
    Setting("BATCH_MAX_ROWS", "500", _whole(1, 50_000), "Most candles written in one statement."),
    Setting("LOG_LEVEL", "info", _choice(*LOG_LEVELS), "debug, info, warning or error."),
)
NAMES: Final = frozenset(setting.name for setting in SETTINGS)


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where the database is. ``password`` never reaches a log: it is left out of ``repr``.

    ``host`` may be several, comma-separated: a primary and its standbys, in any order.
    """

    host: str
    port: int
    name: str
    user: str
    password: str
    sslmode: str

    def __repr__(self) -> str:
        return f"DatabaseSettings({self.user}@{self.host}:{self.port}/{self.name})"


@dataclass(frozen=True, slots=True)
class Settings:
    """The checked configuration of a service. Built by ``load``."""

    database: DatabaseSettings
    symbols: tuple[str, ...]
    shard: Shard
    history_days: int
    stream_urls: tuple[str, ...]
    api_urls: tuple[str, ...]
    archive_urls: tuple[str, ...]
    bind_address: str
    feeder_port: int
    gap_handler_port: int
    gap_handler_url: str
    gap_detection_threshold: int
    max_concurrent_backfills: int
    gap_handlers: int
    audit_days: int
    backfill_timeout_seconds: int
    outage_confirm_seconds: int
    batch_max_rows: int
    log_level: str

    @property
    def captured(self) -> tuple[str, ...]:
        """The symbols that are this feeder's to capture: its shard's."""
        return self.shard.part(self.symbols)


def parse(mapping: Mapping[str, str]) -> tuple[dict[str, object], list[str]]:
    """Return the parsed values by name and every problem found; unknown names are not looked at.

    A setting whose text is empty has its default.
    """
    values: dict[str, object] = {}
    problems: list[str] = []
    for setting in SETTINGS:
        text = mapping.get(setting.name, "")
        text = text if setting.secret else text.strip()
        try:
            values[setting.name] = setting.parse(text or setting.default)
        except ValueError as error:
            problems.append(
                f"{setting.name} {error} (got {'a secret' if setting.secret or '@' in text else repr(text)})"
            )
        if setting.secret and text.strip().lower() in PLACEHOLDERS:
            problems.append(
                f"{setting.name} still holds the example's placeholder:"
                " give it a value, or leave it empty to have one made"
            )
    return values, problems


def check(mapping: Mapping[str, str]) -> list[str]:
    """Return every problem of a ``.env`` file's contents at once, unknown names included."""
    import difflib

    problems = []
    for name in sorted(set(mapping) - NAMES):
        close = difflib.get_close_matches(name, NAMES, n=1)
        problems.append(f"{name} is not a setting" + (f" (did you mean {close[0]}?)" if close else ""))
    return problems + parse(mapping)[1]


def load(mapping: Mapping[str, str]) -> Settings:
    """Return the checked settings of an environment.

    Raises ``ConfigurationError`` that names every problem. Unknown names are not an error here: an
    environment holds much that is not ours; ``check`` looks for them in ``.env``.
    """
    v, problems = parse(mapping)
    if problems:
        raise ConfigurationError(problems)
    take: dict[str, object] = {
        "database": DatabaseSettings(
            host=str(v["DB_HOST"]),
            port=int(str(v["DB_PORT"])),
            name=str(v["DB_NAME"]),
            user=str(v["DB_USER"]),
            password=str(v["DB_PASSWORD"]),
            sslmode=str(v["DB_SSLMODE"]),
        ),
        "stream_urls": v["BINANCE_STREAM_URL"],
        "api_urls": v["BINANCE_API_URL"],
        "archive_urls": v["BINANCE_ARCHIVE_URL"],
    }
    for name in Settings.__dataclass_fields__:
        if name not in take:
            take[name] = v[name.upper()]
    return Settings(**take)  # type: ignore[arg-type]
