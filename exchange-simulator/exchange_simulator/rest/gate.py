"""What every HTTP request passes: weight, faults, Binance's headers and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from exchange_simulator.clock import wall_seconds
from exchange_simulator.faults import Faults
from exchange_simulator.faults.archives import Published
from exchange_simulator.rest.errors import ApiError
from exchange_simulator.rest.weight import Verdict, Weights

JSON = "application/json;charset=UTF-8"
MARK = {"X-Exchange-Simulator": "1"}
"""On every response, so that nobody mistakes simulated data for real."""

_NO_SUCH_KEY = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
    "<Message>The specified key does not exist.</Message><Key>{key}</Key></Error>"
)

Handler = Callable[[Request], bytes]
Endpoint = Callable[[Request], Awaitable[Response]]
Weigh = Callable[[Request], int]


class Gate:
    """Wraps handlers of public endpoints."""

    def __init__(self, faults: Faults, weights: Weights) -> None:
        self._faults = faults
        self._weights = weights

    def api(self, handler: Handler, weigh: Weigh) -> Endpoint:
        """A REST endpoint: weighed, its ApiErrors answered as JSON."""

        async def endpoint(request: Request) -> Response:
            verdict = self._charge(request, weigh)
            used = {"X-MBX-USED-WEIGHT": str(verdict.used), "X-MBX-USED-WEIGHT-1M": str(verdict.used)}
            intercepted = await self._intercept(request, used)
            if intercepted is not None:
                return intercepted
            if verdict.status != 200:
                return _limited(verdict, self._weights.limit, used)
            try:
                content, status = handler(request), 200
            except ApiError as error:
                content, status = orjson.dumps(error.body), error.status
            content = self._faults.spoil(request.url.path, content)
            return Response(content, status, {**MARK, **used}, JSON)

        return endpoint

    def file(self, read: Callable[[str], Published | None]) -> Endpoint:
        """A file of the archive or its checksum: no weight, S3's 404."""

        async def endpoint(request: Request) -> Response:
            intercepted = await self._intercept(request, {})
            if intercepted is not None:
                return intercepted
            path = request.url.path
            # A month takes half a second to build; streams mustn't wait for it.
            file = await asyncio.to_thread(read, path)
            if file is None:
                return Response(_NO_SUCH_KEY.format(key=path.lstrip("/")), 404, MARK, "application/xml")
            file = self._faults.published(path.removesuffix(".CHECKSUM"), file)
            if path.endswith(".CHECKSUM"):
                content, kind = f"{file.digest}  {file.name}\n".encode(), "text/plain"
            else:
                content, kind = file.content, "application/zip"
            return Response(self._faults.spoil(path, content), 200, MARK, kind)

        return endpoint

    def _charge(self, request: Request, weigh: Weigh) -> Verdict:
        address = request.client.host if request.client else ""
        return self._weights.charge(address, weigh(request), wall_seconds())

    async def _intercept(self, request: Request, headers: dict[str, str]) -> Response | None:
        answer = await self._faults.intercept(request.url.path)
        if answer is None:
            return None
        if answer.status == 0:
            await request.app.state.reset(request.client)
        return Response(answer.body, answer.status or 500, {**MARK, **headers, **answer.headers})


def not_found(request: Request) -> Response:
    """A path nobody knows: HTML only for those who ask for it."""
    if "text/html" in request.headers.get("accept", ""):
        return Response("<html><body><h2>404 Not found</h2></body></html>", 404, MARK, "text/html")
    body = {"status": 404, "error": "Not Found", "message": "No message available", "path": request.url.path}
    return Response(orjson.dumps(body), 404, MARK, JSON)


def _limited(verdict: Verdict, limit: int, headers: dict[str, str]) -> Response:
    if verdict.status == 429:
        message = (
            f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        )
    else:
        message = (
            f"Way too much request weight used; IP banned until {verdict.until}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
    body = orjson.dumps({"code": -1003, "msg": message})
    return Response(body, verdict.status, {**MARK, **headers, "Retry-After": str(verdict.wait)}, JSON)
