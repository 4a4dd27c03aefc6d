"""What goes wrong in a storm, and when: a pure function of a seed."""

from __future__ import annotations

import random
from typing import Any, Final, NamedTuple

from marketdata.models import MINUTE_MS

SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
DAY_MS: Final = 1440 * MINUTE_MS
FIRST: Final = 1678665600000
"""2023-03-13T00:00:00Z, where the recorded days begin."""
LIVE: Final = FIRST + 7 * DAY_MS
"""Where the stream begins; what lies before is history."""
UNAIDED: Final = FIRST + 24 * DAY_MS
"""From here on our own programs are left alone: what is missed now no audit of a start makes good."""
CALM: Final = FIRST + 26 * DAY_MS
"""From here on nothing goes wrong any more."""
END: Final = FIRST + 28 * DAY_MS
REAL_HALT: Final = (1679661600000, 1679666400000)
"""2023-03-24T12:40Z to 14:00Z: the exchange stood still, and has no rows."""

LEFT_OUT: Final[dict[str, str]] = {}
"""Kinds of the simulator's table that no storm has, and why."""

PROCESS_KINDS: Final = (
    "kill_feeder",
    "kill_handler",
    "kill_database",
    "kill_backend",
    "stop_feeder",
    "stop_handler",
    "second_handler",
)
"""What happens to our own programs. ``down`` is real seconds until the next start (``second_handler``:
how long it runs beside the first, and ``kill`` how it ends)."""

COUNTS: Final[dict[str, int]] = {
    "drop_connections": 18,
    "refuse_connections": 8,
    "server_shutdown": 8,
    "silent_after_ack": 3,
    "old_snapshot": 8,
    "stuck_socket": 3,
    "stop_pings": 4,
    "garbage_frame": 8,
    "large_frame": 5,
    "halt": 6,
    "withhold_final": 16,
    "withhold_all": 6,
    "repeat_frames": 8,
    "delay_frames": 12,
    "reorder": 10,
    "alter_final": 8,
    "clock_skew": 8,
    "corrupt_frames": 10,
    "rest_status": 20,
    "rest_html": 6,
    "rest_truncated_json": 6,
    "rest_delay": 8,
    "rest_connection_reset": 8,
    "rest_missing_rows": 8,
    "rest_wrong_rows": 10,
    "archive_status": 6,
    "archive_delay": 3,
    "archive_checksum": 3,
    "archive_truncated": 4,
    "archive_rows": 8,
    "kill_feeder": 6,
    "kill_handler": 6,
    "kill_database": 6,
    "kill_backend": 3,
    "stop_feeder": 3,
    "stop_handler": 3,
    "second_handler": 3,
}
_MENDED_BY_NIGHT: Final = ("alter_final",)
"""Kinds kept out of the last days of the storm: what mends them comes the night after."""


class Event(NamedTuple):
    """At the market instant ``at`` (Unix ms) ``kind`` happens."""

    at: int
    kind: str
    params: dict[str, Any]


def script(seed: int) -> list[Event]:
    """Return everything that goes wrong in the storm of ``seed``, in order."""
    rng = random.Random(f"storm {seed}")
    events: list[Event] = []
    for kind, count in COUNTS.items():
        if kind in LEFT_OUT:
            continue
        for n in range(count):
            events += _happening(rng, kind, n, _instant(rng, kind, n))
    return sorted(events, key=lambda event: event.at)


def _instant(rng: random.Random, kind: str, n: int) -> int:
    """Return a moment of the storm; archives are asked for history alone, so theirs is the beginning."""
    if kind.startswith("archive_"):
        return LIVE
    if (kind.startswith("rest_") and n < 2) or (kind == "kill_handler" and n == 0):
        return LIVE + rng.randrange(12 * 60) * MINUTE_MS
    return rng.randrange(
        LIVE + 30 * MINUTE_MS, UNAIDED if kind in (*PROCESS_KINDS, *_MENDED_BY_NIGHT) else CALM
    )


def _happening(rng: random.Random, kind: str, n: int, at: int) -> list[Event]:
    """Return the ``n``-th occurrence of ``kind``, with what it needs to have any effect."""
    symbol = rng.choice(SYMBOLS)
    # Some minutes ahead, so that they are still to come when the driver gets there.
    minute = at // MINUTE_MS * MINUTE_MS + rng.randrange(90, 240) * MINUTE_MS
    span = rng.choice((1, 1, 2, 5, 30))
    some: dict[str, Any] = {}
    match kind:
        case "drop_connections":
            some = {"mode": rng.choice(("abort", "close"))}
        case "refuse_connections":
            some = {"status": rng.choice((0, 0, 429, 503)), "count": rng.randrange(1, 3)}
            cut = Event(at + MINUTE_MS, "drop_connections", {"mode": "abort"})
            return [Event(at, kind, some), cut]
        case "server_shutdown":
            some = {"grace_seconds": rng.choice((0.05, 0.5, 1.5))}
        case "silent_after_ack" | "old_snapshot":
            some = {"count": 1, **({"minutes": rng.choice((1, 2, 60))} if kind == "old_snapshot" else {})}
            cut = Event(at + MINUTE_MS, "drop_connections", {"mode": rng.choice(("abort", "close"))})
            return [Event(at, kind, some), cut]
        case "garbage_frame":
            some = {"text": rng.choice(('{"e":"kli', "", "[]", "null", '{"e":"kline","k":{}}', "\x00\xff"))}
        case "large_frame":
            some = {"bytes": rng.choice((500_000, 2_000_000))}
        case "halt":
            while abs(at - REAL_HALT[0]) < DAY_MS / 4:
                at = rng.randrange(LIVE + DAY_MS, CALM - DAY_MS)
            some = {"minutes": rng.choice((1, 3, 17, 90)), "symbol": rng.choice((None, symbol))}
        case "withhold_final":
            some = {"symbol": rng.choice((None, symbol)), "start": minute, "end": minute + span * MINUTE_MS}
        case "withhold_all":
            some = {"symbol": rng.choice((None, symbol)), "for_seconds": rng.choice((0.3, 1.0, 1.0, 7.0))}
        case "repeat_frames":
            some = {"count": rng.randrange(1, 200), "times": rng.choice((1, 3))}
        case "delay_frames":
            some = {"count": rng.randrange(1, 12), "seconds": rng.choice((4, 7, 61, 300, 7200))}
        case "reorder":
            some = {"count": rng.randrange(1, 20), "frames": rng.choice(("final", "kline"))}
        case "alter_final":
            factor = rng.choice((0.999, 1.001))
            some = {"count": rng.randrange(1, 4), "factor": factor, "volume_factor": 1.5}
        case "clock_skew":
            some = {"count": rng.randrange(1, 20), "seconds": rng.choice((3600, -3600, 120, -120))}
        case "corrupt_frames":
            some = {"count": rng.randrange(1, 20), "frames": rng.choice(("kline", "all"))}
        case "rest_status":
            status, wait = rng.choice(
                ((429, 1), (429, 2), (418, 2), (403, 1), (500, None), (503, None), (504, None))
            )
            some = {
                "status": status,
                "count": rng.randrange(1, 4),
                "path": rng.choice(("", "klines", "time")),
            }
            some |= {} if wait is None else {"retry_after": wait}
        case "rest_html" | "rest_truncated_json" | "rest_connection_reset":
            some = {"count": rng.randrange(1, 4), "path": rng.choice(("", "klines"))}
        case "rest_delay":
            some = {"seconds": rng.choice((0.3, 1.0, 3.0)), "count": rng.randrange(1, 4)}
        case "rest_missing_rows":
            # Fewer requests than the two looks and the paging before each: more would be a true outage.
            some = {"symbol": symbol, "start": minute, "end": minute + span * MINUTE_MS}
            hole = Event(at, "withhold_final", dict(some))
            return [hole, Event(at, kind, some | {"count": rng.randrange(1, 4)})]
        case "rest_wrong_rows":
            some = {
                "how": rng.choice(("outside", "reversed", "shuffled", "repeated")),
                "count": rng.randrange(1, 4),
            }
        case "archive_status":
            some = {"status": rng.choice((404, 403, 500)), "count": rng.randrange(1, 4)}
        case "archive_delay":
            some = {"seconds": rng.choice((0.5, 2.0)), "count": 1}
        case "archive_checksum":
            some = {"count": 1, "symbol": symbol}
        case "archive_truncated":
            some = {"count": 1, "symbol": symbol, "checksum": rng.choice(("whole", "half"))}
        case "archive_rows":
            defects = ("lacking", "off_grid", "unit", "header")
            some = {"count": 1, "symbol": symbol, "defect": defects[n % 4], "rows": rng.choice((1, 7, 200))}
        case "kill_feeder" | "kill_handler" | "stop_feeder" | "stop_handler":
            some = {"down": rng.choice((0.0, 0.0, 0.5, 2.0))}
        case "kill_database":
            some = {"down": rng.choice((0.0, 0.5, 3.0))}
        case "kill_backend":
            some = {"choice": rng.random()}
        case "second_handler":
            some = {"down": rng.choice((4.0, 8.0)), "kill": rng.random() < 0.5}
    if "seed" not in some and kind not in PROCESS_KINDS:
        some["seed"] = rng.randrange(1 << 30)
    return [Event(at, kind, some)]
