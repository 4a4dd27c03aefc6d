"""Stream messages: their fields, and how a candle grows and closes."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from tests.simulator.conftest import Simulate
from tests.simulator.reader import DATA, DAY, MINUTE, NO_DATA, START, collect, finals, opened, receive

from exchange_simulator import Simulator
from exchange_simulator.decimals import parse
from exchange_simulator.rows import TRADES
from exchange_simulator.source.seeded import SeededSource
from exchange_simulator.streams.frames import KlineFrame


async def test_a_kline_frame_has_every_field_in_binances_order(fast: Simulator) -> None:
    async with opened(fast, "/ws/btcusdt@kline_1m") as socket:
        event = (await finals(socket, 1))[0]
    assert list(event) == ["e", "E", "s", "k"]
    assert list(event["k"]) == list("tTsifLochlvnxqVQB")
    candle = event["k"]
    assert (event["e"], event["s"], candle["s"], candle["i"]) == ("kline", "BTCUSDT", "BTCUSDT", "1m")
    assert candle["T"] == candle["t"] + MINUTE - 1
    assert candle["L"] - candle["f"] + 1 == candle["n"]
    assert 15 <= event["E"] - (candle["T"] + 1) <= 60
    assert all(len(candle[key].partition(".")[2]) == 8 for key in "ochlvqVQ")


@pytest.mark.skipif(not DATA.is_dir(), reason=NO_DATA)
async def test_frames_have_the_shape_of_recorded_ones(fast: Simulator) -> None:
    lines = (DATA / "ws_frames" / "frames.jsonl").read_text().splitlines()
    recorded = [orjson.loads(orjson.loads(line)["raw"]) for line in lines if '"market": "spot"' in line]
    streams = "/stream?streams=btcusdt@kline_1m/btcusdt@bookTicker"
    async with opened(fast, streams) as socket:
        ours = await collect(socket, 12)
    compared = 0
    for name in ("btcusdt@kline_1m", "btcusdt@bookTicker"):
        theirs = next(frame for frame in recorded if frame["stream"] == name)
        for frame in (frame for frame in ours if frame["stream"] == name):
            assert _shape(frame) == _shape(theirs)
            compared += 1
    assert compared == 12


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items()}
    return type(value).__name__


async def test_each_minute_closes_exactly_once_and_in_order(fast: Simulator) -> None:
    async with opened(fast, "/ws/btcusdt@kline_1m") as socket:
        events = [event for event in await collect(socket, 300) if event["e"] == "kline"]
    closed = [event["k"]["t"] for event in events if event["k"]["x"]]
    assert len(closed) >= 99
    assert closed == list(range(closed[0], closed[0] + len(closed) * MINUTE, MINUTE))
    assert [event["E"] for event in events] == sorted(event["E"] for event in events)
    last_final = 0
    for event in events:
        assert event["k"]["t"] > last_final
        last_final = event["k"]["t"] if event["k"]["x"] else last_final


async def test_an_open_candle_grows_plausibly_into_its_final_self(simulate: Simulate) -> None:
    async with (
        simulate(speed=None, open_frames_per_minute=29) as sim,
        opened(sim, "/ws/btcusdt@kline_1m") as socket,
    ):
        events = await collect(socket, 1500)
    pairs = [(a, b) for a, b in pairwise(events) if a["k"]["t"] == b["k"]["t"]]
    assert len(pairs) > 1000
    for before, after in pairs:
        a, b = before["k"], after["k"]
        assert not a["x"]
        assert a["o"] == b["o"]
        assert a["f"] == b["f"]
        assert parse(a["h"]) <= parse(b["h"])
        assert parse(a["l"]) >= parse(b["l"])
        for key in "vqVQ":
            assert parse(a[key]) <= parse(b[key]), key
        assert a["n"] <= b["n"]
        assert parse(a["l"]) <= parse(a["c"]) <= parse(a["h"])
        assert parse(a["l"]) * parse(a["v"]) <= (parse(a["q"]) + 1) * 10**8
        assert parse(a["q"]) * 10**8 <= parse(a["h"]) * parse(a["v"])
        assert before["E"] % 2000 < 100
    assert any(a["k"]["c"] != b["k"]["c"] for a, b in pairs)


async def test_at_speed_one_open_frames_keep_the_two_second_grid(simulate: Simulate) -> None:
    async with (
        simulate(start_ms=START + 3_900) as sim,
        opened(sim, "/ws/btcusdt@kline_1m") as socket,
    ):
        first, second = await receive(socket), await receive(socket)
        assert second["E"] - first["E"] == 2000
        assert first["E"] == START + 4_019
        assert second["E"] <= sim.clock.now_ms() < second["E"] + 500


async def test_book_ticker_carries_no_time_and_straddles_the_price(fast: Simulator) -> None:
    async with opened(fast, "/ws/btcusdt@bookTicker/btcusdt@kline_1m") as socket:
        events = await collect(socket, 200)
    quotes = [event for event in events if "u" in event]
    assert len(quotes) > 50
    assert all(list(quote) == ["u", "s", "b", "B", "a", "A"] for quote in quotes)
    assert all(parse(quote["b"]) < parse(quote["a"]) for quote in quotes)
    assert all(parse(quote["B"]) > 0 and parse(quote["A"]) > 0 for quote in quotes)
    updates = [quote["u"] for quote in quotes]
    assert updates == sorted(set(updates))
    close = parse(next(event for event in events if event.get("e"))["k"]["c"])
    assert abs(parse(quotes[0]["b"]) - close) < close / 50


async def test_microseconds_and_wrapping_are_the_readers_choice(fast: Simulator) -> None:
    fast.clock.pause()
    async with (
        opened(fast, "/ws/btcusdt@kline_1m") as plain,
        opened(fast, "/stream?streams=btcusdt@kline_1m&timeUnit=MICROSECOND") as micro,
    ):
        fast.clock.resume()
        raw = (await finals(plain, 1))[0]
        wrapped = await receive(micro)
        while not wrapped["data"]["k"]["x"]:
            wrapped = await receive(micro)
    assert wrapped["stream"] == "btcusdt@kline_1m"
    data = wrapped["data"]
    assert data["E"] == raw["E"] * 1000
    assert data["k"]["t"] == raw["k"]["t"] * 1000
    assert data["k"]["T"] == raw["k"]["T"] * 1000 + 999
    assert data["k"]["c"] == raw["k"]["c"]


async def test_longer_intervals_are_sums_of_minutes(fast: Simulator) -> None:
    async with opened(fast, "/stream?streams=btcusdt@kline_1m/btcusdt@kline_5m") as socket:
        events = await finals(socket, 24)
    long = [event["k"] for event in events if event["k"]["i"] == "5m"][1]
    parts = [e["k"] for e in events if e["k"]["i"] == "1m" and long["t"] <= e["k"]["t"] <= long["T"]]
    assert len(parts) == 5
    assert long["T"] == long["t"] + 5 * MINUTE - 1
    assert (long["o"], long["c"]) == (parts[0]["o"], parts[-1]["c"])
    assert parse(long["v"]) == sum(parse(part["v"]) for part in parts)
    assert long["n"] == sum(part["n"] for part in parts)
    assert (long["f"], long["L"]) == (parts[0]["f"], parts[-1]["L"])


async def test_a_minute_without_trades_is_flat_and_has_no_trade_ids() -> None:
    symbols = tuple(f"X{number}USDT" for number in range(20))
    source = SeededSource(7, symbols, START // DAY)
    days = [day for symbol in symbols if (day := source.day(symbol, START // DAY))]
    quiet = [(day, row) for day in days for row in range(1440) if day.ints(row)[TRADES] == 0]
    assert 0 < len(quiet) < len(days) * 144
    for day, position in quiet:
        row = day.row(position)
        assert row.open == row.high == row.low == row.close == day.row(position - 1).close
        assert row.volume == row.quote == row.taker == row.taker_quote == "0.00000000"
        frame = KlineFrame("x", "X", "1m", row, day.first_trade_id(position), START, True)
        candle = orjson.loads(frame.payload(False))["k"]
        assert (candle["f"], candle["L"], candle["n"]) == (-1, -1, 0)
