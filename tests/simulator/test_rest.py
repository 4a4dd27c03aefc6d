"""REST: paging, the open row, parameters and their errors, weights."""

from __future__ import annotations

import httpx
import pytest
from tests.simulator.conftest import Simulate
from tests.simulator.reader import DAY, MINUTE, START, finals, opened

from exchange_simulator import Simulator
from exchange_simulator.rest.weight import Weights

ONE = {"symbol": "BTCUSDT", "interval": "1m"}


async def klines(api: httpx.AsyncClient, **params: int | str) -> list[list[object]]:
    answer = await api.get("/api/v3/klines", params={**ONE, **params})
    assert answer.status_code == 200, answer.text
    rows: list[list[object]] = answer.json()
    return rows


async def test_a_row_has_twelve_elements_of_the_right_types(api: httpx.AsyncClient) -> None:
    row = (await klines(api, limit=1))[0]
    types = [type(cell) for cell in row]
    assert types == [int, str, str, str, str, str, int, str, int, str, str, str]
    assert row[11] == "0"


async def test_the_newest_row_is_still_open_and_nothing_says_so(
    api: httpx.AsyncClient, standing: Simulator
) -> None:
    rows = await klines(api, limit=3)
    now = (await api.get("/api/v3/time")).json()["serverTime"]
    assert now == standing.clock.now_ms()
    assert [row[0] for row in rows] == [START - 2 * MINUTE, START - MINUTE, START]
    assert rows[-1][6] == START + MINUTE - 1 > now
    standing.clock.jump(START + MINUTE + 5)
    final = (await klines(api, startTime=START, limit=1))[0]
    assert float(str(rows[-1][5])) < float(str(final[5]))
    assert int(str(rows[-1][8])) < int(str(final[8]))
    assert rows[-1][1] == final[1]


async def test_bounds_are_inclusive_and_unaligned_ones_round_inwards(api: httpx.AsyncClient) -> None:
    first = START - 10 * MINUTE
    rows = await klines(api, startTime=first, endTime=first + 2 * MINUTE)
    assert [row[0] for row in rows] == [first, first + MINUTE, first + 2 * MINUTE]
    rows = await klines(api, startTime=first + 1, endTime=first + 2 * MINUTE - 1)
    assert [row[0] for row in rows] == [first + MINUTE]
    rows = await klines(api, startTime=first, endTime=first)
    assert [row[0] for row in rows] == [first]
    rows = await klines(api, endTime=first, limit=2)
    assert [row[0] for row in rows] == [first - MINUTE, first]
    assert await klines(api, startTime=START + DAY) == []
    assert await klines(api, endTime=1000) == []
    assert await klines(api, startTime=first, endTime=first - MINUTE) == []


async def test_limits_default_to_500_and_are_cut_to_1000(api: httpx.AsyncClient) -> None:
    assert len(await klines(api)) == 500
    assert len(await klines(api, limit=1500)) == 1000


async def test_paging_forward_finds_every_minute_once(api: httpx.AsyncClient) -> None:
    low, high = START - 2500 * MINUTE, START - MINUTE
    seen: list[int] = []
    start = low
    while rows := await klines(api, startTime=start, endTime=high, limit=1000):
        seen += [int(str(row[0])) for row in rows]
        start = seen[-1] + MINUTE
    assert seen == list(range(low, high + 1, MINUTE))


async def test_the_oldest_row_is_found_with_start_zero(api: httpx.AsyncClient) -> None:
    first = (START // DAY - 3) * DAY
    assert (await klines(api, startTime=0, limit=1))[0][0] == first


async def test_times_may_be_microseconds_both_ways(api: httpx.AsyncClient) -> None:
    plain = await klines(api, startTime=START - MINUTE, limit=1)
    assert await klines(api, startTime=(START - MINUTE) * 1000, limit=1) == plain
    micro = {"X-MBX-TIME-UNIT": "MICROSECOND"}
    answer = await api.get(
        "/api/v3/klines", params={**ONE, "startTime": START - MINUTE, "limit": 1}, headers=micro
    )
    row = answer.json()[0]
    assert row[0] == (START - MINUTE) * 1000
    assert row[6] == START * 1000 - 1
    assert (await api.get("/api/v3/time", headers=micro)).json()["serverTime"] % 1000 == 0


async def test_longer_bars_add_up_and_follow_the_time_zone(api: httpx.AsyncClient) -> None:
    hour = START // 3_600_000 * 3_600_000 - 3_600_000
    bar = (await klines(api, interval="1h", startTime=hour, limit=1))[0]
    minutes = await klines(api, startTime=hour, limit=60)
    assert bar[0] == hour
    assert bar[6] == hour + 3_600_000 - 1
    assert bar[1] == minutes[0][1]
    assert bar[4] == minutes[-1][4]
    assert bar[8] == sum(int(str(row[8])) for row in minutes)
    assert float(str(bar[5])) == pytest.approx(sum(float(str(row[5])) for row in minutes))
    days = await klines(api, interval="1d", timeZone="8", limit=2)
    assert {int(str(row[0])) % DAY for row in days} == {16 * 3_600_000}
    for interval in ("3m", "5m", "15m", "30m", "2h", "4h", "6h", "8h", "12h", "3d", "1w", "1M"):
        assert await klines(api, interval=interval, limit=2)
    assert await klines(api, timeZone="0", limit=1)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("klines?symbol=NOSUCHUSDT&interval=1m", -1121),
        ("klines?symbol=BTCUSDT&interval=7m", -1120),
        ("klines?symbol=btcusdt&interval=1m", -1100),
        ("klines?symbol=BTCUSDT", -1102),
        ("klines?interval=1m", -1102),
        ("klines?symbol=BTCUSDT&interval=1m&colour=red", -1104),
        ("klines?symbol=&interval=1m", -1105),
        ("klines?symbol=BTCUSDT&interval=1m&limit=0", -1130),
        ("klines?symbol=BTCUSDT&interval=1m&startTime=-5", -1130),
        ("klines?symbol=BTCUSDT&interval=1m&limit=ten", -1100),
        ("klines?symbol=BTCUSDT&interval=1m&timeZone=15", -1130),
        ("exchangeInfo?symbol=NOSUCHUSDT", -1121),
        ("exchangeInfo?symbol=BTCUSDT&symbols=[]", -1100),
        ('exchangeInfo?symbols=["BTCUSDT","BTCUSDT"]', -1151),
        ("exchangeInfo?symbolStatus=ASLEEP", -1122),
        ("ticker/bookTicker?symbol=NOSUCHUSDT", -1121),
    ],
)
async def test_mistakes_get_binances_codes(api: httpx.AsyncClient, path: str, code: int) -> None:
    answer = await api.get(f"/api/v3/{path}")
    assert answer.status_code == 400
    assert answer.json()["code"] == code
    assert answer.headers["x-exchange-simulator"] == "1"


async def test_unknown_paths_are_html_only_for_browsers(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/v1/klines")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json;charset=UTF-8")
    answer = await api.get("/nothing", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"][:9]) == (404, "text/html")
    assert answer.headers["x-exchange-simulator"] == "1"


async def test_exchange_info_describes_each_symbol(api: httpx.AsyncClient) -> None:
    info = (await api.get("/api/v3/exchangeInfo")).json()
    assert [entry["symbol"] for entry in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    limits = {limit["rateLimitType"]: limit["limit"] for limit in info["rateLimits"]}
    assert limits["REQUEST_WEIGHT"] == 6000
    entry = info["symbols"][0]
    assert (entry["status"], entry["baseAsset"], entry["quoteAsset"]) == ("TRADING", "BTC", "USDT")
    filters = {item["filterType"]: item for item in entry["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    one = (await api.get("/api/v3/exchangeInfo", params={"symbols": '["ETHUSDT"]'})).json()
    assert [entry["symbol"] for entry in one["symbols"]] == ["ETHUSDT"]
    none = (await api.get("/api/v3/exchangeInfo", params={"symbolStatus": "BREAK"})).json()
    assert none["symbols"] == []


async def test_tickers_agree_with_the_open_candle(api: httpx.AsyncClient) -> None:
    close = (await klines(api, limit=1))[0][4]
    assert (await api.get("/api/v3/ticker/price?symbol=BTCUSDT")).json()["price"] == close
    book = (await api.get("/api/v3/ticker/bookTicker?symbol=BTCUSDT")).json()
    assert list(book) == ["symbol", "bidPrice", "bidQty", "askPrice", "askQty"]
    assert float(book["bidPrice"]) <= float(str(close)) <= float(book["askPrice"])
    assert len((await api.get("/api/v3/ticker/bookTicker")).json()) == 2
    assert len((await api.get('/api/v3/ticker/price?symbols=["ETHUSDT"]')).json()) == 1
    assert (await api.get("/api/v3/ticker/24hr?symbol=BTCUSDT")).json()["count"] > 0
    assert float((await api.get("/api/v3/avgPrice?symbol=BTCUSDT")).json()["price"]) > 0
    assert len((await api.get("/api/v3/depth?symbol=BTCUSDT&limit=5")).json()["bids"]) == 5


async def test_weights_are_counted_shown_and_enforced(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real minute must not turn in between.
    monkeypatch.setattr("exchange_simulator.rest.gate.wall_seconds", lambda: 6000.0)
    async with simulate(weight_limit=30, ban_after=2) as sim, httpx.AsyncClient(base_url=sim.api_url) as api:
        paths = ("ping", "klines?symbol=BTCUSDT&interval=1m&limit=1", "exchangeInfo", "ticker/price")
        used = [(await api.get(f"/api/v3/{path}")).headers["x-mbx-used-weight-1m"] for path in paths]
        assert used == ["1", "3", "23", "27"]
        answers = [await api.get("/api/v3/ticker/price") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [429, 429, 418, 418]
        for answer in answers:
            assert answer.json()["code"] == -1003
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["x-exchange-simulator"] == "1"


def test_a_limit_turns_into_a_ban_when_ignored_and_bans_grow() -> None:
    weights = Weights(limit=10, ban_after=2, ban_seconds=120)
    assert weights.charge("a", 10, now=6000.0).status == 200
    first = weights.charge("a", 2, now=6010.0)
    assert (first.status, first.wait) == (429, 50)
    assert weights.charge("b", 2, now=6010.0).status == 200
    assert weights.charge("a", 2, now=6011.0).status == 429
    ban = weights.charge("a", 2, now=6012.0)
    assert (ban.status, ban.wait, ban.until) == (418, 120, 6_132_000)
    assert weights.charge("a", 1, now=6100.0).status == 418
    assert weights.charge("a", 10, now=6133.0).status == 200
    for _ in range(3):
        again = weights.charge("a", 1, now=6134.0)
    assert (again.status, again.wait) == (418, 240)


async def test_rest_and_stream_tell_the_same_story_and_never_the_future(simulate: Simulate) -> None:
    async with (
        simulate(speed=1200.0, start_ms=START) as sim,
        httpx.AsyncClient(base_url=sim.api_url) as api,
        opened(sim, "/ws/btcusdt@kline_1m") as socket,
    ):
        for event in await finals(socket, 10):
            candle = event["k"]
            before = sim.clock.now_ms()
            rows = await klines(api, startTime=candle["t"])
            assert int(str(rows[-1][0])) <= sim.clock.now_ms()
            assert before >= candle["T"]
            row = rows[0]
            keys = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")
            assert row == [candle[key] for key in keys]
