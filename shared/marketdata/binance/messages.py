"""WebSocket frames to models (spot, web-socket-streams.md)."""

from __future__ import annotations

from typing import Any, Final

import orjson

from marketdata.errors import DecodeError
from marketdata.models import Acknowledgement, Candle, KlineEvent, Quote, ServerShutdown

Event = KlineEvent | Quote | ServerShutdown | Acknowledgement
"""What a frame can say to us; a frame that says something else decodes to None."""

# A stream asked for microseconds sends them in every time field; no millisecond time is this large.
_MICROSECONDS_FROM: Final = 100_000_000_000_000
# 2^53: what JSON's numbers hold exactly, and far from what a timestamp or a column can.
_LARGEST: Final = 1 << 53


def _whole(value: object) -> int:
    """Return a JSON integer; text, fractions and what no column holds are not the protocol's."""
    if type(value) is not int or abs(value) > _LARGEST:
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a name")
    return value


def milliseconds(time: int) -> int:
    """Return an exchange time in milliseconds, whichever of the two units it came in."""
    return time // 1000 if time >= _MICROSECONDS_FROM else time


def _kline(data: dict[str, Any]) -> KlineEvent | None:
    k = data["k"]
    if k["i"] != "1m":
        return None
    return KlineEvent(
        milliseconds(_whole(data["E"])),
        k["x"] is True,
        Candle(
            _name(k["s"]),
            milliseconds(_whole(k["t"])),
            float(k["o"]),
            float(k["h"]),
            float(k["l"]),
            float(k["c"]),
            float(k["v"]),
            float(k["q"]),
            _whole(k["n"]),
            float(k["V"]),
            float(k["Q"]),
        ),
    )


def decode(raw: bytes | str) -> Event | None:
    """Return what a frame says: raw, wrapped by a combined stream, or an answer to a control message.

    None for an event this suite does not use. Raises ``DecodeError`` for bytes that are not a
    frame of the protocol.
    """
    try:
        message = orjson.loads(raw)
        data = message.get("data", message)
        kind = data.get("e")
        if kind == "kline":
            return _kline(data)
        if kind is None:
            # Spot's bookTicker has no type: it is known by its fields.
            if "u" in data and "b" in data:
                return Quote(
                    _name(data["s"]),
                    float(data["b"]),
                    float(data["B"]),
                    float(data["a"]),
                    float(data["A"]),
                    _whole(data["u"]),
                )
            # An error is documented bare and was recorded (2026) inside an envelope.
            refused = data.get("error", data)
            if "code" in refused:
                return Acknowledgement(data.get("id"), f"{refused['code']}: {refused.get('msg', '')}")
            if "result" in data:
                return Acknowledgement(data.get("id"), None)
            raise DecodeError("a frame of no known kind", raw)
        if kind == "serverShutdown":
            return ServerShutdown(milliseconds(_whole(data["E"])))
        return None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DecodeError(f"not a frame of the protocol ({error!r})", raw) from None
