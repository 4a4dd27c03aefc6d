"""An event loop in a thread of its own, so that code without one can use what is asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from marketdata.errors import RequestError

Result = TypeVar("Result")


class LoopThread:
    """Runs coroutines for other threads, also for one whose own loop is running, as in Jupyter."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._stopped = False
        self._lock = threading.Lock()
        """What is begun is begun before the end, which cancels it: nobody waits for a loop that is gone."""
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Return the coroutine's result. An interrupt (Ctrl-C) of the waiting thread cancels it.

        Raises what the coroutine does, and ``RequestError`` after ``stop`` and where that ends it.
        """
        with self._lock:
            if self._stopped:
                coroutine.close()
                raise RequestError("this client is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except CancelledError:
            if self._stopped:
                raise RequestError("this client is closed") from None
            raise
        except BaseException:
            future.cancel()
            raise

    @property
    def running(self) -> bool:
        """Whether it still runs coroutines."""
        return not self._stopped

    def stop(self) -> None:
        """End the loop and its thread; a coroutine still running is cancelled."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_end())
        finally:
            self._loop.close()


async def _end() -> None:
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    # Names are resolved in threads of the loop's.
    await asyncio.get_running_loop().shutdown_default_executor()
