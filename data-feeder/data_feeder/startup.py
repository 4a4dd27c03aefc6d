"""What must be known before the first frame: the schema, the instruments, and what time the market has."""

from __future__ import annotations

from typing import NamedTuple

from data_feeder.exchange import Listing, first_answer, unknown_symbols
from data_feeder.status import Status
from marketdata.backoff import delays
from marketdata.clock import Clock
from marketdata.database import Connection
from marketdata.errors import DecodeError, ExchangeError, RateLimitedError
from marketdata.log import get_logger
from marketdata.minutes import floor_minute, isoformat
from marketdata.models import MINUTE_MS
from marketdata.settings import Settings
from marketdata.store import symbols as store

log = get_logger(__name__)


class Start(NamedTuple):
    """``symbols`` to stream, and the exchange's time ``now`` (ms): what closed before is the ledger's."""

    symbols: list[str]
    now: int

    @property
    def head(self) -> int:
        """The open of the newest minute that closed before ``now``."""
        return floor_minute(self.now) - MINUTE_MS


async def _listing(
    connection: Connection, settings: Settings, status: Status, clock: Clock
) -> Listing | None:
    """Ask until the exchange answers; None when it is down but every symbol is known from before."""
    waits = delays(1.0, 30.0)
    while True:
        try:
            answer = await first_answer(settings.api_urls, settings.symbols)
        except (ExchangeError, DecodeError) as error:
            status.exchange_problem = str(error)
            log.warning("exchange_unavailable", reason=str(error))
            known = set(settings.symbols) <= await store.known(connection)
            if known and await connection.fetchval("SELECT market_now()") is not None:
                return None
            pause = error.retry_after if isinstance(error, RateLimitedError) else next(waits)
            await clock.sleep(pause)
        else:
            status.exchange_problem = None
            return answer


async def prepare(connection: Connection, settings: Settings, status: Status, clock: Clock) -> Start:
    """Register the symbols and return what to stream.

    Waits for an exchange that is down. Raises ``UnknownSymbolError`` for a symbol it never had and
    ``WrongExchangeError`` when the database holds another exchange's candles.
    """
    listed = await _listing(connection, settings, status, clock)
    if listed is None:
        return Start(list(settings.symbols), await connection.fetchval("SELECT market_now()"))
    await store.claim_exchange(connection, listed.exchange)
    registered = await store.known(connection)
    problem = unknown_symbols(settings.symbols, listed, registered)
    if problem is not None:
        raise problem
    await connection.execute("SELECT advance_market_clock($1)", listed.server_time)
    await store.register(
        connection, listed.statuses, now_ms=listed.server_time, history_days=settings.history_days
    )
    for symbol in settings.symbols:
        if symbol not in listed.statuses:
            log.warning("symbol_delisted", symbol=symbol)
            await store.mark_delisted(connection, symbol)
    streaming = [symbol for symbol in settings.symbols if symbol in listed.statuses]
    log.info(
        "symbols_registered",
        symbols=streaming,
        exchange=listed.exchange,
        market_time=isoformat(listed.server_time),
    )
    return Start(streaming, listed.server_time)
