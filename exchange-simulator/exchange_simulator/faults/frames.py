"""Kinds that change stream messages. Each gets one matching frame and returns what is sent instead.

All take `frames` (final, open, kline, book or all) and `start`/`end` (open minute in ms, half-open),
beside the common `symbol`, `count` (matching frames) and `for_seconds`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from exchange_simulator.decimals import parse, text
from exchange_simulator.faults.model import Apply, Fault, Phase, World, kind
from exchange_simulator.streams.frames import Frame, FrameKind, KlineFrame, RawFrame

_GROUPS: Final = {
    "final": (FrameKind.FINAL,),
    "open": (FrameKind.OPEN,),
    "kline": (FrameKind.FINAL, FrameKind.OPEN),
    "book": (FrameKind.BOOK,),
    "all": tuple(FrameKind),
}


def matches(fault: Fault, frame: Frame) -> bool:
    """True when ``frame`` is one the fault is about."""
    params = fault.params
    if fault.symbol is not None and frame.symbol != fault.symbol:
        return False
    if params["stream"] is not None and frame.stream != params["stream"]:
        return False
    if frame.kind not in _GROUPS.get(params["frames"], ()):
        return False
    start, end = params["start"], params["end"]
    return (start is None or frame.minute >= start) and (end is None or frame.minute < end)


def frame_kind(name: str, summary: str, frames: str = "final", **defaults: Any) -> Callable[[Apply], Apply]:
    """Enter a kind that changes frames."""
    return kind(name, Phase.FRAME, summary, frames=frames, stream=None, start=None, end=None, **defaults)


@frame_kind("withhold_final", "Final frames are never sent.")
def withhold_final(fault: Fault, frame: Frame, world: World) -> list[Frame]:
    """The candle exists everywhere else."""
    return []


@frame_kind("withhold_all", "A stream falls silent; the connection stays up.", frames="all")
def withhold_all(fault: Fault, frame: Frame, world: World) -> list[Frame]:
    """Choose by `symbol` or `stream`."""
    return []


@frame_kind("repeat_frames", "Frames are sent `times` more.", frames="kline", times=1)
def repeat_frames(fault: Fault, frame: Frame, world: World) -> list[Frame]:
    """Identical duplicates."""
    return [frame] * (1 + int(fault.params["times"]))


@frame_kind("delay_frames", "Frames arrive `seconds` of market time late, their `E` unchanged.", seconds=7.0)
def delay_frames(fault: Fault, frame: Frame, world: World) -> list[Frame]:
    """Later frames overtake them."""
    world.defer(frame.event + int(float(fault.params["seconds"]) * 1000), frame)
    return []


@frame_kind("reorder", "A frame arrives after the next one of its stream.")
def reorder(fault: Fault, frame: Frame, world: World) -> list[Frame]:
    """Swaps neighbours."""
    world.hold(frame)
    return []


@frame_kind("alter_final", "Frames say `close` times `factor`, and `volume` times `volume_factor`.",
            factor=1.001, volume_factor=1.0)  # fmt: skip
def alter_final(fault: Fault, frame: Frame, world: World) -> list[Frame]:
    """REST and archive keep the true candle, so the two disagree."""
    if not isinstance(frame, KlineFrame):
        return [frame]
    row = frame.row
    close = text(int(parse(row.close) * float(fault.params["factor"])))
    volume = text(int(parse(row.volume) * float(fault.params["volume_factor"])))
    high = max(row.high, close, key=parse)
    low = min(row.low, close, key=parse)
    changed = row._replace(close=close, volume=volume, high=high, low=low)
    return [
        KlineFrame(
            frame.stream, frame.symbol, frame.interval, changed, frame.first_id, frame.event, frame.final
        )
    ]


@frame_kind("clock_skew", "`E` of kline frames is `seconds` wrong.", frames="kline", seconds=3600.0)
def clock_skew(fault: Fault, frame: Frame, world: World) -> list[Frame]:
    """A host whose clock is off; the candle itself is right."""
    if not isinstance(frame, KlineFrame):
        return [frame]
    event = frame.event + int(float(fault.params["seconds"]) * 1000)
    return [
        KlineFrame(frame.stream, frame.symbol, frame.interval, frame.row, frame.first_id, event, frame.final)
    ]


@frame_kind("corrupt_frames", "Frames are cut off in the middle.", frames="kline")
def corrupt_frames(fault: Fault, frame: Frame, world: World) -> list[Frame]:
    """Sent to the stream's subscribers like the frame itself."""
    body = frame.payload(False)
    broken = RawFrame(body[: fault.rng.randrange(1, len(body))], frame.event)
    broken.stream = frame.stream
    return [broken]
