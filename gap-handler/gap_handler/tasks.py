"""The edge of every task: whatever happens in a step, the next one comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

import asyncpg

from marketdata import metrics
from marketdata.backoff import delays
from marketdata.clock import Clock
from marketdata.database import TRANSIENT, explain
from marketdata.errors import DecodeError, ExchangeError
from marketdata.log import get_logger

log = get_logger(__name__)


class Idle(Enum):
    """What a step returns that had no reason to try anything: no sign that what failed before works again."""

    IDLE = "idle"


Step = Callable[[], Awaitable[Idle | None]]


async def forever(
    name: str, step: Step, clock: Clock, *, every: float = 0.0, troubles: dict[object, str] | None = None
) -> None:
    """Run ``step`` again and again, ``every`` seconds apart; after an error wait longer and longer.

    ``troubles`` holds what the database refuses for as long as it does, for ``/health``. Returns only by
    being cancelled.
    """
    waits = delays(first=0.5, cap=30.0)
    failing = False
    troubles = {} if troubles is None else troubles
    me = object()
    while True:
        try:
            outcome = await step()
        except TRANSIENT as error:
            troubles[me] = explain(error)
            if not failing:
                event = (
                    "database_refuses"
                    if isinstance(error, asyncpg.InsufficientResourcesError)
                    else "database_lost"
                )
                log.warning(event, task=name, reason=explain(error))
            failing = True
            await clock.sleep(next(waits))
        except (ExchangeError, DecodeError) as error:
            troubles.pop(me, None)  # the database's part was done
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
            if failing and outcome is not Idle.IDLE:
                troubles.pop(me, None)
                log.info("task_recovered", task=name)
                waits, failing = delays(first=0.5, cap=30.0), False
            if every:
                await clock.sleep(every)
