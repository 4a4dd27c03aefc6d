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
    """``symbols`` to stream, and the exchange's time ``now`` (ms): what closed before is the ledger's.

    ``confirmed`` is false when the exchange was down and both are what the database remembers.
    """

    symbols: list[str]
    now: int
    confirmed: bool

    @property
    def head(self) -> int:
        """The open of the newest minute that closed before ``now``."""
        return floor_minute(self.now) - MINUTE_MS


async def _listing(
    connection: Connection, settings: Settings, status: Status, clock: Clock, *, patient: bool
) -> Listing | None:
    """Ask until the exchange answers; None, unless ``patient``, when it is down but all symbols are known."""
    waits = delays(1.0, 30.0)
    while True:
        try:
            answer = await first_answer(settings.api_urls, settings.captured)
        except (ExchangeError, DecodeError) as error:
            status.exchange_problem = str(error)
            log.warning("exchange_unavailable", reason=str(error))
            known = set(settings.captured) <= await store.known(connection)
            if known and not patient and await connection.fetchval("SELECT market_now()") is not None:
                return None
            pause = error.retry_after if isinstance(error, RateLimitedError) else next(waits)
            await clock.sleep(pause)
        else:
            status.exchange_problem = None
            return answer


async def prepare(
    connection: Connection, settings: Settings, status: Status, clock: Clock, *, patient: bool = False
) -> Start:
    """Register the symbols of this shard and return what to stream.

    Of the other shards' symbols nothing is touched, whatever their feeders do at this moment; a shard that
    has none asks the exchange nothing. Waits for an exchange that is down; unless ``patient``, not where
    every symbol is known from before. Raises ``UnknownSymbolError`` for a symbol it never had and
    ``WrongExchangeError`` when the database holds another exchange's candles.
    """
    own = settings.captured
    if not own:
        await store.retire(connection, settings.shard.part(await store.known(connection)))
        status.exchange_problem = None
        return Start([], 0, confirmed=True)
    listed = await _listing(connection, settings, status, clock, patient=patient)
    if listed is None:
        now = await connection.fetchval("SELECT market_now()")
        return Start(list(own), now, confirmed=False)
    await store.claim_exchange(connection, listed.exchange)
    registered = await store.known(connection)
    problem = unknown_symbols(own, listed, registered)
    if problem is not None:
        raise problem
    await connection.execute("SELECT advance_market_clock($1)", listed.server_time)
    await store.register(
        connection, listed.statuses, now_ms=listed.server_time, history_days=settings.history_days
    )
    await store.retire(connection, sorted(set(settings.shard.part(registered)) - set(own)))
    for symbol in own:
        if symbol not in listed.statuses:
            log.warning("symbol_delisted", symbol=symbol)
            await store.mark_delisted(connection, symbol)
    streaming = [symbol for symbol in own if symbol in listed.statuses]
    log.info(
        "symbols_registered",
        symbols=streaming,
        exchange=listed.exchange,
        market_time=isoformat(listed.server_time),
    )
    return Start(streaming, listed.server_time, confirmed=True)
