"""The edge of every task: whatever happens in a step, the next one comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from marketdata import metrics
from marketdata.backoff import delays
from marketdata.clock import Clock
from marketdata.database import TRANSIENT
from marketdata.errors import DecodeError, ExchangeError
from marketdata.log import get_logger

log = get_logger(__name__)


async def forever(
    name: str, step: Callable[[], Awaitable[None]], clock: Clock, *, every: float = 0.0
) -> None:
    """Run ``step`` again and again, ``every`` seconds apart; after an error wait longer and longer.

    Returns only by being cancelled.
    """
    waits = delays(first=0.5, cap=30.0)
    failing = False
    while True:
        try:
            await step()
        except TRANSIENT as error:
            if not failing:
                log.warning("database_lost", task=name, reason=str(error) or type(error).__name__)
            failing = True
            await clock.sleep(next(waits))
        except (ExchangeError, DecodeError) as error:
            if not failing:
                log.warning("exchange_failing", task=name, reason=str(error))
            failing = True
            await clock.sleep(next(waits))
        except Exception:
            metrics.TASK_FAILURES.labels(name).inc()
            log.exception("task_failed", task=name)
            failing = True
            await clock.sleep(next(waits))
        else:
            if failing:
                log.info("task_recovered", task=name)
                waits, failing = delays(first=0.5, cap=30.0), False
            if every:
                await clock.sleep(every)
