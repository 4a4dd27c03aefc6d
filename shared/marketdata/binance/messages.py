"""WebSocket frames to models (spot, web-socket-streams.md)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

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


# A named tuple of a tuple: half the price of its constructor, which takes its arguments apart again.
_candle = cast(Callable[[tuple[Any, ...]], Candle], partial(tuple.__new__, Candle))
_event = cast(Callable[[tuple[Any, ...]], KlineEvent], partial(tuple.__new__, KlineEvent))
_quote = cast(Callable[[tuple[Any, ...]], Quote], partial(tuple.__new__, Quote))


def _kline(data: dict[str, Any]) -> KlineEvent | None:
    k = data["k"]
    if k["i"] != "1m":
        return None
    pushed, symbol, time, trades = data["E"], k["s"], k["t"], k["n"]
    if not (
        type(pushed) is type(time) is type(trades) is int
        and type(symbol) is str
        and 0 <= pushed < _MICROSECONDS_FROM
        and 0 <= time < _MICROSECONDS_FROM
        and 0 <= trades <= _LARGEST
    ):
        # Not what is usual: microseconds, or nothing of the protocol.
        pushed, time = milliseconds(_whole(pushed)), milliseconds(_whole(time))
        symbol, trades = _name(symbol), _whole(trades)
    return _event(
        (
            pushed,
            k["x"] is True,
            _candle(
                (
                    symbol, time, float(k["o"]), float(k["h"]), float(k["l"]), float(k["c"]), float(k["v"]),
                    float(k["q"]), trades, float(k["V"]), float(k["Q"]),
                )
            ),
        )
    )  # fmt: skip


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
                return _quote(
                    (
                        _name(data["s"]), float(data["b"]), float(data["B"]), float(data["a"]),
                        float(data["A"]), _whole(data["u"]),
                    )
                )  # fmt: skip
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
