"""Kinds that act on HTTP requests. All take `path` (a part of the path; control is never touched)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from exchange_simulator.faults.model import Apply, Fault, Phase, World, kind
from exchange_simulator.market import Span
from exchange_simulator.rows import MINUTE_MS, Row

_RESTRICTED: Final = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in "
    "https://www.binance.com/en/terms. Please contact customer service if you believe you received this "
    "message in error."
)
_BODIES: Final[dict[int, tuple[int, str]]] = {
    400: (-1100, "Illegal characters found in a parameter."),
    418: (-1003, "Way too much request weight used; IP banned until {until}. Please use WebSocket Streams "
                 "for live updates to avoid bans."),
    429: (-1003, "Too much request weight used; current limit is 6000 request weight per 1 MINUTE. "
                 "Please use WebSocket Streams for live updates to avoid polling the API."),
    451: (0, _RESTRICTED),
    500: (-1000, "An unknown error occurred while processing the request."),
    503: (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    504: (-1007, "Timeout waiting for response from backend server. Send status unknown; "
                 "execution status unknown."),
}  # fmt: skip
_HTML: Final = (
    "<html>\r\n<head><title>{status}</title></head>\r\n"
    "<body>\r\n<center><h1>{status}</h1></center>\r\n</body>\r\n</html>\r\n"
)


class Answer(NamedTuple):
    """An HTTP answer without its protocol. Status 0: none, the TCP connection is reset."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Question(NamedTuple):
    """What a klines request asked for; times in Unix ms, both inclusive."""

    symbol: str
    interval: str
    start: int | None
    end: int


def request_kind(name: str, phase: Phase, summary: str, **defaults: Any) -> Callable[[Apply], Apply]:
    """Enter a kind chosen by request path."""
    return kind(name, phase, summary, path="", **defaults)


@request_kind(
    "rest_status",
    Phase.REQUEST,
    "Answer `status` with Binance's body for it (or `code`/`msg`) and `retry_after` seconds.",
    status=429,
    retry_after=None,
    code=None,
    msg=None,
)
async def rest_status(fault: Fault, path: str, world: World) -> Answer:
    """403 is the firewall's HTML page; 429 and 418 always carry Retry-After."""
    params = fault.params
    status = int(params["status"])
    wait = params["retry_after"]
    if wait is None and status in (418, 429):
        wait = 120 if status == 418 else 5
    headers = {} if wait is None else {"Retry-After": str(wait)}
    if status == 403 and params["code"] is None:
        page = _HTML.format(status="403 Forbidden").encode()
        return Answer(403, page, headers | {"Content-Type": "text/html"})
    code, message = _BODIES.get(status, (-1000, "An unknown error occurred while processing the request."))
    until = world.clock.now_ms() + int(wait or 0) * 1000
    body = {"code": code if params["code"] is None else params["code"],
            "msg": params["msg"] or message.replace("{until}", str(until))}  # fmt: skip
    return Answer(status, orjson.dumps(body), headers | {"Content-Type": "application/json;charset=UTF-8"})


@request_kind("rest_html", Phase.REQUEST, "Answer an HTML page with `status`.", status=200)
async def rest_html(fault: Fault, path: str, world: World) -> Answer:
    """What a proxy in between would say."""
    status = int(fault.params["status"])
    return Answer(status, _HTML.format(status=status).encode(), {"Content-Type": "text/html"})


@request_kind("rest_delay", Phase.REQUEST, "Answer `seconds` (real) late.", seconds=1.0)
async def rest_delay(fault: Fault, path: str, world: World) -> None:
    """The answer itself is right."""
    await asyncio.sleep(float(fault.params["seconds"]))


@request_kind("rest_connection_reset", Phase.REQUEST, "Reset the TCP connection instead of an answer.")
async def rest_connection_reset(fault: Fault, path: str, world: World) -> Answer:
    """``count`` is how many requests."""
    return Answer(0, b"", {})


@request_kind("rest_truncated_json", Phase.RESPONSE, "Cut the body at `share` of its length.", share=0.6)
def rest_truncated_json(fault: Fault, body: bytes, world: World) -> bytes:
    """The length header agrees with what is sent."""
    return body[: int(len(body) * float(fault.params["share"]))]


@kind(
    "rest_missing_rows",
    Phase.ROWS,
    "Klines leave out the minutes [start, end) (ms), or `minutes` from `start`, though they exist.",
    required=("start",),
    start=None,
    end=None,
    minutes=1,
)
def rest_missing_rows(fault: Fault, _: None, world: World) -> Span:
    """``count`` counts requests that lost a row."""
    start, end = int(fault.params["start"]), fault.params["end"]
    if end is None:
        end = start + int(fault.params["minutes"]) * MINUTE_MS
    return Span(fault.symbol, start, int(end))


@kind(
    "rest_wrong_rows",
    Phase.ANSWER,
    "Klines come wrong: `how` is `outside` (also rows from before and after the range), `reversed`, "
    "`shuffled` or `repeated` (each row twice).",
    choices={"how": ("outside", "reversed", "shuffled", "repeated")},
    how="outside",
    rows=3,
)
def rest_wrong_rows(fault: Fault, asked: tuple[Question, list[Row]], world: World) -> list[Row]:
    """Every row is true; ``count`` is how many answers. `rows` is how many `outside` adds on each side."""
    question, rows = asked
    match fault.params["how"]:
        case "reversed":
            return rows[::-1]
        case "shuffled":
            return fault.rng.sample(rows, len(rows))
        case "repeated":
            return [row for row in rows for _ in (1, 2)]
    now, more = world.clock.now_ms(), int(fault.params["rows"])
    first = rows[0].open_time if rows else question.end
    last = rows[-1].open_time if rows else question.end
    find = world.market.rows
    before = find(question.symbol, question.interval, now, start=None, end=first - 1, limit=more)
    after = find(question.symbol, question.interval, now, start=last + 1, end=None, limit=more)
    return before + rows + after
