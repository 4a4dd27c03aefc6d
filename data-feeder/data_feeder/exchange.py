"""The REST questions the feeder asks: what is listed, what time it is. Klines are the gap-handler's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import httpx
import orjson

from marketdata import outgoing
from marketdata.binance import rest
from marketdata.errors import DecodeError, RejectedError, UnavailableError, UnknownSymbolError
from marketdata.outgoing import UNANSWERED

_TIMEOUT: Final = httpx.Timeout(10.0)
_NO_SUCH_SYMBOL: Final = (-1121, -1100)


class Listing(NamedTuple):
    """What the exchange said: its time (ms), status by symbol, and whose answer it is."""

    server_time: int
    statuses: dict[str, str]
    exchange: str


async def _ask(client: httpx.AsyncClient, symbols: Sequence[str]) -> Listing:
    query = orjson.dumps(list(symbols)).decode()
    try:
        answer = await client.get(rest.EXCHANGE_INFO_PATH, params={"symbols": query})
    except UNANSWERED as error:
        raise UnavailableError(f"{client.base_url}: {type(error).__name__}: {error}") from None
    refusal = rest.refusal(answer.status_code, answer.headers, answer.content)
    if refusal is not None:
        raise refusal
    info = rest.decode_exchange_info(answer.content)
    return Listing(
        info.server_time,
        {symbol: info.instruments[symbol].status for symbol in symbols if symbol in info.instruments},
        rest.answered_by(answer.headers),
    )


async def listing(api_url: str, symbols: Sequence[str]) -> Listing:
    """Ask for the status of ``symbols``; those the exchange lacks are left out of the answer.

    Raises ``ExchangeError`` and ``DecodeError``.
    """
    async with outgoing.client(base_url=api_url, timeout=_TIMEOUT) as client:
        try:
            return await _ask(client, symbols)
        except RejectedError as error:
            # One unknown name refuses the whole list, without saying which.
            if error.code not in _NO_SUCH_SYMBOL:
                raise
        found: dict[str, str] = {}
        newest = Listing(0, {}, "binance")
        for symbol in symbols:
            try:
                newest = await _ask(client, [symbol])
            except RejectedError as error:
                if error.code not in _NO_SUCH_SYMBOL:
                    raise
            else:
                found |= newest.statuses
            await asyncio.sleep(0.1)
        return Listing(newest.server_time, found, newest.exchange)


async def first_answer(api_urls: Sequence[str], symbols: Sequence[str]) -> Listing:
    """Ask one address after the other and return the first answer; raise the last one's error."""
    for position, url in enumerate(api_urls):
        try:
            return await listing(url, symbols)
        except (UnavailableError, DecodeError):
            if position == len(api_urls) - 1:
                raise
    raise AssertionError("settings hold at least one address")


def unknown_symbols(
    symbols: Sequence[str], listed: Listing, registered: set[str]
) -> UnknownSymbolError | None:
    """Return the error that names the symbols neither listed now nor known from before."""
    strangers = [s for s in symbols if s not in listed.statuses and s not in registered]
    if not strangers:
        return None
    return UnknownSymbolError(
        [f"SYMBOLS names {', '.join(strangers)}, which {listed.exchange} does not list: correct SYMBOLS"]
    )
