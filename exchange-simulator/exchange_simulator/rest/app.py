"""All HTTP routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exchange_simulator.clock import MarketClock
from exchange_simulator.config import SimulatorConfig
from exchange_simulator.errors import SimulatorError
from exchange_simulator.faults import Faults
from exchange_simulator.market import Market
from exchange_simulator.rest import control, tickers
from exchange_simulator.rest.archive import Archive
from exchange_simulator.rest.exchange_info import exchange_info
from exchange_simulator.rest.gate import JSON, MARK, Endpoint, Gate, not_found
from exchange_simulator.rest.klines import klines
from exchange_simulator.rest.weight import Weights
from exchange_simulator.streams.hub import Hub


def build_app(
    config: SimulatorConfig, clock: MarketClock, market: Market, hub: Hub, faults: Faults
) -> Starlette:
    """The ASGI application: `/api/v3`, `/data` and `/control`."""
    gate = Gate(faults, Weights(config.weight_limit, config.ban_after, config.ban_seconds))
    archive = Archive(market, clock, config.archive_delay_hours)

    def now(request: Request) -> int:
        return clock.now_us() if _micro(request) else clock.now_ms()

    def rows(request: Request) -> bytes:
        query = request.query_params
        return klines(query, market, clock, faults.hidden, faults.rearranged, _micro(request))

    def info(request: Request) -> bytes:
        query = request.query_params
        return orjson.dumps(exchange_info(query, market, clock, config.weight_limit, _micro(request)))

    def ticker(one: tickers.One) -> Callable[[Request], bytes]:
        return lambda r: orjson.dumps(tickers.one_or_many(r.query_params, market, clock, one))

    def flat(weight: int) -> Callable[[Request], int]:
        return lambda _: weight

    few = _by_symbols(2, 4)
    api: list[tuple[str, Callable[[Request], bytes], Callable[[Request], int]]] = [
        ("ping", lambda _: b"{}", flat(1)),
        ("time", lambda r: orjson.dumps({"serverTime": now(r)}), flat(1)),
        ("exchangeInfo", info, flat(20)),
        ("klines", rows, flat(2)),
        ("uiKlines", rows, flat(2)),
        ("ticker/bookTicker", ticker(tickers.book_ticker), few),
        ("ticker/price", ticker(tickers.price), few),
        ("ticker/24hr", ticker(tickers.day_statistics), _by_symbols(2, 80)),
        ("avgPrice", lambda r: orjson.dumps(tickers.average_price(r.query_params, market, clock)), flat(2)),
        ("depth", lambda r: orjson.dumps(tickers.depth(r.query_params, market, clock)), _depth_weight),
    ]
    routes = [Route(f"/api/v3/{name}", gate.api(read, weigh)) for name, read, weigh in api]
    routes += [
        Route("/data/{path:path}", gate.file(archive.get)),
        Route("/control/state", _json(lambda _: control.state(clock, market, hub, faults))),
        Route("/control/clock", _json(lambda _: control.clock_state(clock)), methods=["GET"]),
        Route("/control/clock", _json(lambda body: control.change_clock(clock, body)), methods=["POST"]),
        Route("/control/faults", _json(lambda body: control.add_fault(faults, body)), methods=["POST"]),
        Route("/control/faults", _clear(faults), methods=["DELETE"]),
        Route("/{path:path}", _missing),
    ]
    return Starlette(routes=routes)


async def _missing(request: Request) -> Response:
    return not_found(request)


def _micro(request: Request) -> bool:
    return request.headers.get("x-mbx-time-unit", "").upper() == "MICROSECOND"


def _by_symbols(one: int, many: int) -> Callable[[Request], int]:
    return lambda request: one if "symbol" in request.query_params else many


def _depth_weight(request: Request) -> int:
    raw = request.query_params.get("limit", "100")
    limit = int(raw) if raw.isdigit() else 100
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250


def _json(act: Callable[[object], Any]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            body = orjson.loads(await request.body()) if request.method == "POST" else None
            return Response(orjson.dumps(act(body), default=str), 200, MARK, JSON)
        except orjson.JSONDecodeError:
            return Response(orjson.dumps({"error": "the body is not JSON"}), 400, MARK, JSON)
        except SimulatorError as error:
            return Response(orjson.dumps({"error": str(error)}), 400, MARK, JSON)

    return endpoint


def _clear(faults: Faults) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        raw = request.query_params.get("id")
        if raw is not None and not raw.isdigit():
            return Response(orjson.dumps({"error": "id must be a number"}), 400, MARK, JSON)
        cleared = faults.clear(None if raw is None else int(raw))
        return Response(orjson.dumps({"cleared": cleared}), 200, MARK, JSON)

    return endpoint
