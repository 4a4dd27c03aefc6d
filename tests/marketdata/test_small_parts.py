"""Minutes, backoff, log lines, SQL files."""

import asyncio
import json
import logging
import random
import ssl
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from marketdata import backoff, heap, log, minutes, outgoing
from marketdata.sqlfiles import SqlFiles


def test_minutes_round_both_ways() -> None:
    assert minutes.floor_minute(119_999) == 60_000
    assert minutes.ceil_minute(60_001) == 120_000
    assert minutes.ceil_minute(60_000) == 60_000


def test_times_are_written_with_a_z() -> None:
    assert minutes.isoformat(1679661600000) == "2023-03-24T12:40:00Z"
    assert minutes.isoformat(1679661600250) == "2023-03-24T12:40:00.250Z"


def test_datetimes_convert_exactly_and_want_a_zone() -> None:
    instant = datetime(2023, 3, 24, 12, 40, 0, 999_000, tzinfo=UTC)
    assert minutes.from_datetime(instant) == 1679661600999
    assert minutes.to_datetime(1679661600999) == instant
    with pytest.raises(ValueError, match="no time zone"):
        minutes.from_datetime(datetime(2023, 3, 24))


def test_delays_grow_to_the_cap_and_are_jittered() -> None:
    waits = list(islice(backoff.delays(1.0, 8.0, rng=random.Random(1)), 20))
    for wait, ceiling in zip(waits, [1, 2, 4, 8] + [8] * 16, strict=True):
        assert ceiling / 2 <= wait <= ceiling
    assert len({round(wait, 6) for wait in waits[4:]}) > 10


def test_a_log_line_is_one_json_object() -> None:
    formatter = log.JsonFormatter("data_feeder")
    record = logging.LogRecord("data_feeder.x", logging.INFO, "f", 1, "candles_written", (), None)
    record.event_fields = {"rows": 3, "odd": {1, 2}}  # type: ignore[attr-defined]
    line = json.loads(formatter.format(record))
    assert line["event"] == "candles_written"
    assert line["rows"] == 3
    assert line["service"] == "data_feeder"
    assert line["time"].endswith("Z")


def test_another_librarys_line_keeps_its_message() -> None:
    record = logging.LogRecord("uvicorn.error", logging.WARNING, "f", 1, "port %s\nin use", ("80",), None)
    formatted = log.JsonFormatter("x").format(record)
    assert "\n" not in formatted
    assert json.loads(formatted)["message"] == "port 80\nin use"


def test_an_unknown_query_is_a_key_error(tmp_path: Path) -> None:
    (tmp_path / "one.sql").write_text("SELECT 1", encoding="utf-8")
    queries = SqlFiles(tmp_path)
    assert queries["one"] == "SELECT 1"
    with pytest.raises(KeyError, match="two"):
        queries["two"]


async def test_clients_share_one_list_of_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    load = ssl.SSLContext.load_verify_locations

    def counted(self: ssl.SSLContext, *arguments: object, **named: object) -> None:
        made.append(self)
        load(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    for _ in range(3):
        await outgoing.client(timeout=5.0).aclose()
    assert len(made) <= 1


async def test_freed_memory_is_given_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert heap.give_back()
    times: list[float] = []
    twice = asyncio.Event()

    def counted() -> bool:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 2:
            twice.set()
        return True

    monkeypatch.setattr(heap, "give_back", counted)
    monkeypatch.setattr(heap, "EVERY_SECONDS", 0.01)
    heap.give_back_regularly(asyncio.get_running_loop(), 0.01)
    await twice.wait()
    monkeypatch.setattr(heap, "give_back", lambda: False)
