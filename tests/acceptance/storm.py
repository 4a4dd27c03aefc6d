"""Drives a storm: real processes, a script of faults, and a market that waits for slow machines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
from tests.acceptance.own_server import OwnServer
from tests.acceptance.storm_script import CALM, END, LIVE, PROCESS_KINDS, SYMBOLS, Event
from tests.processes import Ports, Program, answer, free_port, until

from marketdata.minutes import from_datetime, isoformat
from marketdata.models import MINUTE_MS

SPEED: Final = 12_000
SLOW: Final = SPEED / 4
"""The market's speed while the pipeline is behind for no fault of the storm's."""
CALMING: Final = 300
"""Its speed while the last gaps are being closed: an outage is confirmed only when time goes on."""
_LATE_MINUTES: Final = 240
_BEHIND_MINUTES: Final = 700
_MISSING_MINUTES: Final = 30_000
_RECENT_SECONDS: Final = 4.0


class Storm:
    """The processes of one storm and what was done to them. Use as ``async with``."""

    def __init__(self, seed: int, events: list[Event], days: Path, folder: Path) -> None:
        self.seed = seed
        self.events = events
        self.folder = folder
        self.database = OwnServer(folder / "database.log")
        self.done: list[str] = []
        self.performed: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self.halts: list[dict[str, Any]] = []
        self.crashes: list[str] = []
        self.seconds: dict[str, float] = {}
        ports, second_port = Ports.free(), free_port()
        hosts = ("127.0.0.1", "localhost")
        environment = {
            **ports.environment(self.database.settings),
            "SYMBOLS": ",".join(SYMBOLS),
            "HISTORY_DAYS": "9",
            "BINANCE_STREAM_URL": ",".join(f"ws://{host}:{ports.stream}" for host in hosts),
            "BINANCE_API_URL": ",".join(f"http://{host}:{ports.http}" for host in hosts),
            "GAP_DETECTION_THRESHOLD": "5",
        }
        self.simulator = ports.simulator(
            folder / "simulator.log",
            "--replay", str(days), "--symbols", ",".join(SYMBOLS), "--no-wait",
            "--start", str(LIVE), "--speed", "60",
            "--open-frames-per-minute", "2", "--book-frames-per-minute", "2",
        )  # fmt: skip
        self.feeder = Program(folder / "feeder.log", "data_feeder", environment=environment)
        self.handler = Program(folder / "handler.log", "gap_handler", environment=environment)
        self.second = Program(
            folder / "second-handler.log",
            "gap_handler",
            environment=environment | {"GAP_HANDLER_PORT": str(second_port)},
        )
        self._health = {
            self.feeder: f"http://127.0.0.1:{ports.feeder}/health",
            self.handler: f"http://127.0.0.1:{ports.handler}/health",
            self.second: f"http://127.0.0.1:{second_port}/health",
        }
        self._held = {program: asyncio.Lock() for program in (self.feeder, self.handler, self.second)}
        self._database_held = asyncio.Lock()
        # A connection for each question: on a busy machine one that is kept ends while it is being asked.
        fresh = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{ports.http}", timeout=30, limits=fresh, trust_env=False
        )
        self._doing: set[asyncio.Task[None]] = set()
        self._speed = 60.0
        self._governed = True
        self._standing = False
        self._shifts: dict[int, int] = {}
        self._disturbed = time.monotonic()
        self._started = time.monotonic()

    @property
    def programs(self) -> tuple[Program, ...]:
        """All of ours."""
        return self.simulator, self.feeder, self.handler, self.second

    async def __aenter__(self) -> Storm:
        """Start the database."""
        await asyncio.to_thread(self.database.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End everything."""
        for task in self._doing:
            task.cancel()
        await asyncio.gather(*self._doing, return_exceptions=True)
        await self._client.aclose()
        for program in self.programs:
            if program.running:
                program.kill()
        await asyncio.to_thread(self.database.remove)

    async def rage(self) -> None:
        """Run the whole script, and the market to its end with every gap closed or nearly so."""
        self.simulator.start()
        await until(self._exchange_answers, seconds=60, what="the simulator answers", programs=self.programs)
        events = list(self.events)
        while events and events[0].at <= LIVE:
            await self._perform(events.pop(0))
        self.handler.start()
        self.feeder.start()
        await until(self._listening, seconds=60, what="the feeder listens", programs=self.programs)
        watching = [asyncio.create_task(self._supervise()), asyncio.create_task(self._govern())]
        try:
            await self._run_at(SPEED)
            self.lap("started")
            for event in events:
                await self._reach(event.at, watching)
                await self._perform(event)
            await self._reach(CALM, watching)
            await self._resume()
            await self._calm_down()
            self.lap("storm over")
            self._governed = False
            await self._run_at(CALMING)
            await until(
                self._no_gaps,
                seconds=150,
                what="the feeder is well and every gap closed",
                programs=self.programs,
            )
            self.lap("gaps closed")
            await self._run_at(SPEED)
            self._governed = True
            await self._reach(END, watching)
            self.lap("market closed")
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def now(self) -> int:
        """Return the simulator's market time."""
        return int((await self._client.get("/control/clock")).json()["now_ms"])

    async def health(self, program: Program) -> dict[str, Any]:
        """Return a service's own account of itself, ``{}`` while it has none."""
        return await answer(self._health[program])

    async def _run_at(self, speed: float) -> None:
        self._speed = speed
        await self._client.post("/control/clock", json={"speed": speed})

    async def _reach(self, at: int, watching: list[asyncio.Task[None]]) -> None:
        """Wait for a market instant. The market stands still for a driver that has fallen behind it:
        on a slow machine a storm takes longer, and is as hard.
        """
        while (now := await self.now()) < at:
            await self._resume()
            for task in watching:
                if task.done():
                    task.result()
            await asyncio.sleep(min(0.5, max(0.02, (at - now) / 1000 / self._speed)))
        if now > at + _LATE_MINUTES * MINUTE_MS and not self._standing:
            self._standing = True
            await self._client.post("/control/clock", json={"pause": True})

    async def _resume(self) -> None:
        if self._standing:
            self._standing = False
            await self._client.post("/control/clock", json={"resume": True})

    async def _govern(self) -> None:
        """Slow the market while the pipeline is behind though nothing has just been done to it."""
        said = 0.0
        while True:
            await asyncio.sleep(0.5)
            feeder, handler = await asyncio.gather(self.health(self.feeder), self.health(self.handler))
            now = await self.now()
            last = feeder.get("last_candle_time")
            behind = (now - _ms(last)) // MINUTE_MS if last else 0
            missing = handler.get("minutes_missing") or 0
            quiet = time.monotonic() - self._disturbed > _RECENT_SECONDS
            owing = quiet and (behind > _BEHIND_MINUTES or missing > _MISSING_MINUTES)
            wanted = SLOW if owing else SPEED
            if self._governed and wanted != self._speed:
                await self._run_at(wanted)
            if time.monotonic() - said > 5:
                said = time.monotonic()
                self.note(
                    f"behind {behind} min, missing {missing}, buffered {feeder.get('candles_buffered')},"
                    f" speed {self._speed:.0f}, {len(self.done)} lines, feeder {feeder.get('reasons')},"
                    f" handler {handler.get('reasons')}",
                    now,
                )

    async def _calm_down(self) -> None:
        """Let what was begun come to its end, and take every fault away."""
        await asyncio.gather(*self._doing)
        state = (await self._client.get("/control/state")).json()
        for fault in state["faults"]:
            self.fired[fault["kind"]] += fault["fired"]
        self.halts = state["halts"]
        await self._client.delete("/control/faults")

    async def _perform(self, event: Event) -> None:
        now = await self.now()
        params = dict(event.params)
        if "start" in params:
            # Minutes that were still to come are still to come: what belongs together moves together.
            shift = self._shifts.setdefault(event.at, max(now - event.at, 0) // MINUTE_MS * MINUTE_MS)
            params |= {"start": params["start"] + shift, "end": params["end"] + shift}
        self.note(f"{event.kind} {params} (due {isoformat(event.at)})", now)
        self.performed[event.kind] += 1
        if event.kind in PROCESS_KINDS:
            self._disturbed = time.monotonic()
            task = asyncio.create_task(self._act(event.kind, **params))
            self._doing.add(task)
            task.add_done_callback(self._ended)
            return
        reply = await self._client.post("/control/faults", json={"kind": event.kind, **params})
        assert reply.status_code == 200, f"{event}: {reply.text}"

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._doing.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.crashes.append(f"the storm's own: {error!r}")

    async def _act(self, kind: str, down: float = 0.0, kill: bool = True, choice: float = 0.0) -> None:
        if kind == "kill_database":
            async with self._database_held:
                await asyncio.to_thread(self.database.kill)
                await asyncio.sleep(down)
                await asyncio.to_thread(self.database.start)
        elif kind == "kill_backend":
            async with self._database_held:
                self.database.kill_backend(choice)
        elif kind == "second_handler":
            async with self._held[self.second]:
                self.second.start()
                await asyncio.sleep(down)
                await self._end(self.second, kill)
        else:
            program = self.feeder if kind.endswith("feeder") else self.handler
            async with self._held[program]:
                await self._end(program, kind.startswith("kill"))
                await asyncio.sleep(down)
                program.start()
        self._disturbed = time.monotonic()

    async def _end(self, program: Program, kill: bool) -> None:
        if not program.running:
            self._crashed(program)
        elif kill:
            await asyncio.to_thread(program.kill)
        else:
            # One that has not begun yet knows no other answer to a signal than to die of it.
            await until(lambda: self._answers(program), seconds=60, what=f"{program.log.stem} answers")
            code = await asyncio.to_thread(program.stop, 30)
            if code != 0:
                self.crashes.append(f"{program.log.stem} ended with {code} when it was asked to stop")

    def _crashed(self, program: Program) -> None:
        tail = "\n".join(program.output().splitlines()[-3:])
        self.crashes.append(f"{program.log.stem} ended by itself with {program.wait(1)}: {tail}")
        self.note(self.crashes[-1])

    async def _supervise(self) -> None:
        """Start again what ended by itself, as a deployment would; it counts against us all the same."""
        while True:
            await asyncio.sleep(0.25)
            for program in (self.feeder, self.handler):
                if not self._held[program].locked() and not program.running:
                    self._crashed(program)
                    program.start()

    async def _exchange_answers(self) -> bool:
        assert self.simulator.running, self.simulator.output()
        with contextlib.suppress(httpx.HTTPError):
            return (await self._client.get("/control/clock")).status_code == 200
        return False

    async def _listening(self) -> bool:
        state = (await self._client.get("/control/state")).json()
        return bool(state["subscriptions"]) and bool((await self.health(self.handler)).get("status"))

    async def _answers(self, program: Program) -> bool:
        return bool(await self.health(program))

    async def _no_gaps(self) -> bool:
        feeder, handler = await asyncio.gather(self.health(self.feeder), self.health(self.handler))
        return feeder.get("status") == "healthy" and handler.get("open_gaps") == 0

    def lap(self, name: str) -> None:
        """Note when a part of the storm was over."""
        self.seconds[name] = time.monotonic() - self._started
        self.note(f"=== {name}")

    def note(self, text: str, now: int = 0) -> None:
        """Keep a line of the storm's own log; ``now`` is market time."""
        line = f"{time.monotonic() - self._started:7.2f} {isoformat(now) if now else ''} {text}"
        self.done.append(line)
        with (self.folder / "storm.log").open("a") as file:
            file.write(line + "\n")


def _ms(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text))
