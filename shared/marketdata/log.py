"""One JSON line a log event, named so that people find it by grep.

``log.info("candles_written", rows=3)`` prints
``{"time":"…","level":"info","service":"data_feeder","event":"candles_written","rows":3}``.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final

import orjson

_FIELDS: Final = "event_fields"


class JsonFormatter(logging.Formatter):
    """Render a record as one JSON object; a record of another library keeps its message."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        fields: dict[str, Any] | None = getattr(record, _FIELDS, None)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "service": self._service,
            "event": record.getMessage() if fields is not None else record.name.replace(".", "_"),
        }
        if fields is not None:
            line.update(fields)
        else:
            line["message"] = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = repr(record.exc_info[1])
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return orjson.dumps(
            line, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
        ).decode()


class EventLogger:
    """A logger whose messages are event names and whose arguments are the event's fields."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: Any) -> None:
        """Log what only a developer wants to see."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log a normal event."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log what the service handles itself but a person may want to know."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log what a person must act upon."""
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Log an error with the traceback of the exception being handled."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def _log(self, level: int, event: str, fields: dict[str, Any], *, exc_info: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, exc_info=exc_info, extra={_FIELDS: fields})


def get_logger(name: str) -> EventLogger:
    """Return the event logger of a module."""
    return EventLogger(name)


def configure(service: str, level: str) -> None:
    """Send every log line of this process to standard output as JSON.

    ``level`` is ``debug``, ``info``, ``warning`` or ``error``. Libraries speak from warning on.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for ours in ("marketdata", service):
        logging.getLogger(ours).setLevel(level.upper())
