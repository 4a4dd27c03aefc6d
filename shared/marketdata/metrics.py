"""Every metric of the suite, in one place so that the documents can be checked against it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram


class ManyHistogram(Histogram):
    """A histogram that takes many observations for little more than the price of one."""

    def observe_all(self, amounts: Iterable[float]) -> None:
        """Observe each of ``amounts``."""
        ordered = sorted(amounts)
        if not ordered:
            return
        self._sum.inc(sum(ordered))
        below = 0
        for bound, bucket in zip(self._upper_bounds, self._buckets, strict=True):
            upto = bisect_right(ordered, bound)
            if upto > below:
                bucket.inc(upto - below)
                below = upto


_LATENCY: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

CANDLES_WRITTEN: Final = Counter("candles_written_total", "Candles inserted or corrected.", ["source"])
CANDLES_UNCHANGED: Final = Counter(
    "candles_unchanged_total", "Candles that were stored already, equal.", ["source"]
)
CANDLES_INVALID: Final = Counter(
    "candles_invalid_total", "Candles refused as impossible; each is in the ledger.", ["source"]
)
WRITE_SECONDS: Final = Histogram(
    "candle_write_seconds", "Duration of one batch's transaction.", ["source"], buckets=_LATENCY
)
WRITE_FAILURES: Final = Counter(
    "candle_write_failures_total", "Batches the database refused for now; they are kept.", ["source"]
)
FRAMES: Final = Counter("stream_frames_total", "WebSocket frames by what they were.", ["kind"])
FRAMES_UNDECODED: Final = Counter("stream_frames_undecoded_total", "Frames that are not of the protocol.")
FRAME_LATENESS_SECONDS: Final = ManyHistogram(
    "frame_lateness_seconds",
    "How much later than the quickest frame's a final candle's way to us was.",
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
CLOCK_OFFSET: Final = Gauge(
    "clock_offset_seconds", "This machine's clock minus the exchange's; nothing here depends on it."
)
FRAME_TO_COMMIT_SECONDS: Final = ManyHistogram(
    "frame_to_commit_seconds", "From a final candle's frame in hand to its commit.", buckets=_LATENCY
)
WEBSOCKET_CONNECTED: Final = Gauge("websocket_connections", "Stream connections that are delivering.")
WEBSOCKET_RECONNECTS: Final = Counter(
    "websocket_reconnects_total", "Stream connections lost, by reason.", ["reason"]
)
STREAMS_SILENT: Final = Counter(
    "streams_silent_total", "Times a kline stream said nothing for GAP_DETECTION_THRESHOLD seconds."
)
SYMBOLS_UNHEARD: Final = Gauge(
    "symbols_unheard", "Symbols of which no feeder has stored a candle for 3 minutes; their gaps go by REST."
)
STREAM_FAILOVERS: Final = Counter(
    "stream_failovers_total", "Changes of the stream address that delivers, by the one taken.", ["address"]
)
EVENT_LOOP_LAG_SECONDS: Final = Histogram(
    "event_loop_lag_seconds",
    "How much later than asked for the event loop woke a task that sleeps: the longest turns, sampled.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
WRITE_BUFFER: Final = Gauge("write_buffer_candles", "Final candles waiting for the database.")
CANDLES_SHED: Final = Counter("candles_shed_total", "Buffered candles given up to the ledger as gaps.")
BOOK_MINUTES_SHED: Final = Counter(
    "book_minutes_shed_total", "Buffered minutes of the book given up; their features are null."
)
GAPS_DETECTED: Final = Counter("gaps_detected_total", "Gaps written to the ledger, by cause.", ["cause"])
TASK_FAILURES: Final = Counter("task_failures_total", "Unexpected errors at a task's edge.", ["task"])
FEATURE_ROWS: Final = Counter(
    "feature_rows_total", "Feature rows written: live, or computed again.", ["path"]
)
FEATURE_SECONDS: Final = Histogram(
    "feature_seconds", "From a candle's commit to its feature row's.", buckets=_LATENCY
)
LAST_CANDLE_TIME: Final = Gauge(
    "last_candle_timestamp_seconds", "Open of the newest stored candle.", ["symbol"]
)
BACKFILLS: Final = Counter("backfills_total", "Pieces of work finished, by outcome.", ["outcome"])
CANDLES_RECOVERED: Final = Counter("candles_recovered_total", "Candles written by backfills.")
ARCHIVE_FILES: Final = Counter(
    "archive_files_total", "Archive files asked for, by what came of them.", ["outcome"]
)
REST_REQUESTS: Final = Counter(
    "rest_requests_total", "REST requests, by HTTP status (0: no answer).", ["status"]
)
REST_WEIGHT: Final = Gauge("rest_used_weight", "Request weight used this minute, as the exchange counts it.")
AUDITED_CANDLES: Final = Counter(
    "audited_candles_total", "Stored candles compared with the exchange's own record by the audit."
)
AUDIT_DIFFERENCES: Final = Counter(
    "audit_differences_total",
    "Minutes in which that record differed: `corrected`, `missing` here, `unconfirmed` there.",
    ["kind"],
)
HISTORY_COMPLETENESS: Final = Gauge(
    "history_completeness_ratio", "Share of a symbol's expected minutes accounted for, 0 to 1.", ["symbol"]
)
HISTORY_MISSING: Final = Gauge(
    "history_minutes_missing", "Expected minutes of a symbol that are missing, by the ledger.", ["symbol"]
)
OPEN_GAPS: Final = Gauge("open_gaps", "Gaps in the ledger that are not closed.")
