"""The gap-handler's doors: who may ask, how much, how long; and a token that is seen nowhere."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.gap_handler.harness import HOUR_MS, NOON, SYMBOL, Connection, eventually, handler, rows
from tests.gap_handler.test_process import environment, free_port, start

from data_feeder.announce import Announcer
from exchange_simulator import Simulator
from gap_handler import api
from marketdata.minutes import isoformat
from marketdata.settings import DatabaseSettings
from marketdata.store.ledger import Gap

pytestmark = pytest.mark.database

GOOD = {"symbol": SYMBOL, "start": isoformat(NOON - HOUR_MS), "end": isoformat(NOON)}
SECRET = "s3cret ü-token"


async def talk(client: httpx.AsyncClient, *pieces: bytes, seconds: float = 20) -> bytes:
    """Send raw bytes and return everything that comes back until the other side closes.

    Nothing where it closes on what it has not read: then the answer may be lost on the way.
    """
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(seconds):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join(
        [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    ).encode()


async def test_only_the_token_opens(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    wrong = [
        b"", b"Bearer", b"Bearer \xff\xfe", b"Basic " + SECRET.encode(), SECRET.encode(),
        b"Bearer " + SECRET.encode()[:-1], b"Bearer " + SECRET.encode() + b"x",
        b"Bearer " + SECRET.upper().encode(),
        b"Bearer " + SECRET.encode("latin-1"), b"Bearer Bearer " + SECRET.encode(), b"Bearer " + b"x" * 8000,
    ]  # fmt: skip
    async with handler(database, simulator.api_url, token=SECRET) as service:
        answers = [await service.client.post("/backfill", json=GOOD)]
        for value in wrong:
            headers = {b"Authorization": value}
            # Who may not ask is not told what is wrong with the request either.
            answers += [
                await service.client.post("/backfill", json=GOOD, headers=headers),
                await service.client.post("/backfill", content=b"{", headers=headers),
            ]
        for answer in answers:
            assert answer.status_code == 401, answer.request.headers
            assert answer.headers["www-authenticate"] == "Bearer"
            assert isinstance(answer.json()["detail"], str)
        assert not await rows(ledger, "gap")
        for scheme in (b"Bearer ", b"bearer ", b"BEARER   "):
            good = {b"Authorization": scheme + SECRET.encode()}
            assert (await service.client.post("/backfill", json=GOOD, headers=good)).status_code == 202


@pytest.mark.parametrize("token", [SECRET, f"  {SECRET} "])
async def test_the_feeders_nudge_carries_any_token(
    token: str, database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, simulator.api_url, token=token) as service:
        announcer = Announcer(str(service.client.base_url).rstrip("/"), token)
        announcer.announce([Gap(1, SYMBOL, NOON - HOUR_MS, NOON)])
        running = asyncio.create_task(announcer.run())

        async def accepted() -> bool:
            assert not running.done(), running
            return bool(await rows(ledger, "gap"))

        await eventually(accepted)
        running.cancel()


async def test_a_body_is_bounded_however_it_comes(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_BODY_SECONDS", 0.3)
    async with handler(database, simulator.api_url) as service:
        declared = await talk(service.client, head("POST", "/backfill", "Content-Length: 99999999999"))
        assert declared.startswith(b"HTTP/1.1 413"), "refused before any of it came"
        chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        chunked = await talk(
            service.client, head("POST", "/backfill", "Transfer-Encoding: chunked"), *[chunk] * 5
        )
        assert chunked.startswith(b"HTTP/1.1 413"), "refused before its end"
        slow = await talk(service.client, head("POST", "/backfill", "Content-Length: 50"), b'{"symbol":')
        assert slow.startswith(b"HTTP/1.1 408")
        for wrong in ("Content-Length: -1", "Content-Length: many", "Content-Length: 3\r\nContent-Length: 4"):
            answer = await talk(service.client, head("POST", "/backfill", wrong), b"{}")
            assert answer.startswith(b"HTTP/1.1 400"), wrong
        # Hung up in the middle: nobody to answer, nothing to break.
        gone = asyncio.create_task(
            talk(service.client, head("POST", "/backfill", "Content-Length: 50"), b"{", seconds=0.05)
        )
        with pytest.raises(TimeoutError):
            await gone
        assert (await service.client.get("/health")).status_code == 200
    assert not await rows(ledger, "gap")


async def test_headers_are_bounded(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, simulator.api_url) as service:
        for oversized in (f"X: {'a' * 200_000}", "\r\n".join(f"X-{n}: a" for n in range(30_000))):
            answer = await talk(service.client, head("GET", "/health", oversized))
            assert answer.startswith(b"HTTP/1.1 400") or not answer, answer[:80]
        endless = await talk(service.client, head("GET", "/" + "a" * 200_000))
        assert endless.startswith(b"HTTP/1.1 400") or not endless, endless[:80]
        assert (await service.client.get("/health")).status_code == 200


async def test_other_methods_and_paths_are_named_refusals(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, simulator.api_url) as service:
        allowed = {"/backfill": "POST", "/backfill/1": "GET", "/health": "GET", "/metrics": "GET"}
        for path, method in allowed.items():
            for other in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} - {method}:
                answer = await service.client.request(other, path)
                assert (answer.status_code, answer.headers["allow"]) == (405, method), (other, path)
                if other != "HEAD":
                    assert answer.json() == {"detail": "Method Not Allowed"}
        for path in ("/nothing", "/backfill/1/2", "/../etc/passwd", "/%00", "/backfill/%2e%2e"):
            answer = await service.client.get(path)
            assert answer.status_code in (404, 422), path
            assert "detail" in answer.json()


async def test_refusals_have_two_shapes_and_both_are_declared(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    def text(answer: httpx.Response) -> bool:
        return list(answer.json()) == ["detail"] and isinstance(answer.json()["detail"], str)

    def fields(answer: httpx.Response) -> list[tuple[Any, ...]]:
        assert all(set(problem) == {"loc", "field", "msg", "type"} for problem in answer.json()["detail"])
        return [(problem["loc"], problem["field"]) for problem in answer.json()["detail"]]

    async with handler(database, simulator.api_url) as service:
        assert fields(await service.client.get("/backfill/abc")) == [(["path", "job_id"], "job_id")]
        wrong = await service.client.post("/backfill", json=GOOD | {"symbol": ""})
        assert fields(wrong) == [(["body", "symbol"], "symbol")]
        assert fields(await service.client.post("/backfill", content=b"{")) == [(["body"], "body")]
        assert text(await service.client.get("/backfill/99999"))
        assert text(await service.client.post("/backfill", content=b" " * 70_000))
        document = (await service.client.get("/openapi.json")).json()
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if status not in ("200", "202") and "/health" not in operation["operationId"]:
                    assert "application/json" in answer["content"], (operation["operationId"], status)
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_a_token_is_seen_nowhere(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    token, guess = "tok3n-of-the-house", "gu3ssed-token"
    port = free_port()
    process = await start(
        environment(
            database,
            BINANCE_API_URL=simulator.api_url,
            GAP_HANDLER_PORT=str(port),
            BACKFILL_TOKEN=token,
            LOG_LEVEL="DEBUG",
        )
    )
    said = b""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        async def serving() -> bool:
            try:
                return (await client.get("/health")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(serving)
        for given in (f"Bearer {token}", f"Bearer {guess}", f"Basic {guess}", guess):
            headers = {"Authorization": given}
            for body in (GOOD, {"symbol": 1}):
                answer = await client.post("/backfill", json=body, headers=headers)
                said += answer.content + repr(answer.headers).encode()
        for path in ("/health", "/metrics", "/openapi.json", "/docs", f"/backfill/{guess}"):
            said += (await client.get(path)).content
        if sys.platform == "linux":
            said += Path(f"/proc/{process.pid}/cmdline").read_bytes()  # noqa: ASYNC240 - no disk behind it
    process.terminate()
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert b"service_stopped" in out
    for text in (said, out, err):
        assert token.encode() not in text
        assert guess.encode() not in text
