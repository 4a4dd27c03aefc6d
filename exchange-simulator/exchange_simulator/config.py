"""All settings of a simulator in one frozen value, checked as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exchange_simulator.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """Settings of one simulator; exactly one of ``seed`` and ``replay`` is given.

    Times are Unix milliseconds of market time unless a name says otherwise. ``start_ms`` None means
    now for seeded data and the first recorded minute for a replay. ``speed`` None is "max".
    """

    seed: int | None = None
    replay: tuple[Path, ...] = ()
    symbols: tuple[str, ...] = ()
    """Upper case. Empty: BTCUSDT and ETHUSDT when seeded, all recorded ones in a replay."""
    history_days: int = 395
    """Seeded data reaches back this many days from the start."""
    start_ms: int | None = None
    end_ms: int | None = None
    """Market time stops here (a second later, for the last frames); a replay ends with its files anyway."""
    speed: float | None = 1.0
    wait_for_subscribers: bool = True
    """At max speed market time stands still until somebody subscribes."""

    host: str = "127.0.0.1"
    stream_port: int = 9443
    http_port: int = 9444
    """0 takes any free port."""

    open_frames_per_minute: int | None = None
    """Frames of the still-open candle. None: every 2000 ms up to speed 1, fewer above, 2 at max."""
    book_frames_per_minute: int | None = None
    """bookTicker frames. None: 120 up to speed 1, fewer above, 4 at max."""
    final_jitter_ms: tuple[int, int] = (15, 60)
    """A final frame's `E` lies this many ms after its minute ended (least, most), by seeded hash."""

    ping_interval_s: float = 20.0
    pong_deadline_s: float = 60.0
    connection_lifetime_s: float = 86_400.0
    messages_per_second: int = 5
    streams_per_connection: int = 1024
    connections_per_5_minutes: int = 300
    max_buffered_bytes: int = 16 * 1024 * 1024
    """A reader that leaves more than this unread is disconnected (the clock waits at max speed)."""

    weight_limit: int = 6000
    """Request weight an address may use in a real minute."""
    ban_after: int = 10
    """Requests in spite of a 429 before the address is banned (418)."""
    ban_seconds: int = 120
    archive_delay_hours: float = 0.0
    """Market hours after midnight until a finished day's (or month's) archive appears."""

    def __post_init__(self) -> None:
        """Raise ConfigError with every contradiction at once."""
        wrong: list[str] = []
        if (self.seed is None) == (not self.replay):
            wrong.append("give exactly one of seed and replay")
        if self.speed is not None and not self.speed > 0:
            wrong.append("speed must be positive or max")
        if self.history_days < 1:
            wrong.append("history_days must be at least 1")
        if self.start_ms is not None and self.end_ms is not None and self.end_ms <= self.start_ms:
            wrong.append("end must lie after start")
        if any(symbol != symbol.upper() or not symbol for symbol in self.symbols):
            wrong.append("symbols are upper case and not empty")
        if len(set(self.symbols)) != len(self.symbols):
            wrong.append("a symbol is named twice")
        for name in ("open_frames_per_minute", "book_frames_per_minute"):
            count: int | None = getattr(self, name)
            if count is not None and not 0 <= count <= 6000:
                wrong.append(f"{name} must be 0..6000")
        least, most = self.final_jitter_ms
        if not 1 <= least <= most < 60_000:
            wrong.append("final_jitter_ms must be 1 <= least <= most < 60000")
        if wrong:
            raise ConfigError("; ".join(wrong))
