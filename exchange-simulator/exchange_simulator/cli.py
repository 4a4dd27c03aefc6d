"""Command-line flags to a configuration."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from exchange_simulator.config import SimulatorConfig
from exchange_simulator.errors import ClockError
from exchange_simulator.rest.control import parse_speed, parse_time


def parse_args(arguments: Sequence[str] | None = None) -> SimulatorConfig:
    """The configuration ``arguments`` describe. Exits with a message when they are wrong.

    Raises ConfigError when they contradict each other.
    """
    parser = argparse.ArgumentParser(
        prog="python -m exchange_simulator",
        description="A Binance spot that runs here: WebSocket streams, REST and archive files.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--stream-port", type=int, default=9443, help="WebSocket port, 0 for any free (default %(default)s)")
    add("--http-port", type=int, default=9444, help="REST, archive and control port, 0 for any free "
        "(default %(default)s)")  # fmt: skip
    add("--symbols", type=_symbols, default=(), metavar="A,B",
        help="symbols to offer (default BTCUSDT,ETHUSDT, or all recorded ones)")  # fmt: skip
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--seed", type=int, help="make up the market from this number, always the same")
    source.add_argument("--replay", type=Path, nargs="+", default=(), metavar="PATH",
                        help="replay daily 1m files (.zip or .csv), given or in folders")  # fmt: skip
    add("--history-days", type=int, default=395, help="days of seeded history before the start "
        "(default %(default)s)")  # fmt: skip
    add("--start", type=_time, help="market time at start, ISO 8601 or now (default: now when seeded, "
        "the first recorded minute in a replay)")  # fmt: skip
    add("--end", type=_time, help="market time stops here, ISO 8601")
    add("--speed", type=_speed, default=1.0, help="market seconds per second, or max: as fast as readers "
        "follow (default 1)")  # fmt: skip
    add("--open-frames-per-minute", type=int, help="frames of the open candle (default: one every 2 s, "
        "fewer above speed 1, 2 at max)")  # fmt: skip
    add("--book-frames-per-minute", type=int, help="bookTicker frames (default: 120, fewer above speed 1, "
        "4 at max)")  # fmt: skip
    add("--no-wait", action="store_true", help="at max speed, run even while nobody is subscribed")
    add("--weight-limit", type=int, default=6000, help="REST weight per minute (default %(default)s)")
    chosen = parser.parse_args(arguments)
    return SimulatorConfig(
        seed=chosen.seed,
        replay=tuple(chosen.replay),
        symbols=chosen.symbols,
        history_days=chosen.history_days,
        start_ms=chosen.start,
        end_ms=chosen.end,
        speed=chosen.speed,
        wait_for_subscribers=not chosen.no_wait,
        host=chosen.host,
        stream_port=chosen.stream_port,
        http_port=chosen.http_port,
        open_frames_per_minute=chosen.open_frames_per_minute,
        book_frames_per_minute=chosen.book_frames_per_minute,
        weight_limit=chosen.weight_limit,
    )


def _symbols(text: str) -> tuple[str, ...]:
    return tuple(name.strip().upper() for name in text.split(",") if name.strip())


def _time(text: str) -> int | None:
    try:
        return None if text == "now" else parse_time(text)
    except ClockError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _speed(text: str) -> float | None:
    try:
        return parse_speed(text)
    except ClockError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
