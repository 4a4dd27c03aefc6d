"""Clients that know nothing of the simulator: python-binance and ccxt, pointed at its address."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulator.conftest import Simulate
from tests.simulator.reader import DAY, MINUTE, START


async def test_python_binance_reads_history_and_streams(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    binance = pytest.importorskip("binance", reason="python-binance is not installed")
    async with simulate(start_ms=START + 59_500) as sim:
        sim.clock.pause()
        monkeypatch.setattr(binance.AsyncClient, "API_URL", f"{sim.api_url}/api")
        monkeypatch.setattr(binance.BinanceSocketManager, "STREAM_URL", f"{sim.stream_url}/")
        client = await binance.AsyncClient.create()
        try:
            info = await client.get_exchange_info()
            assert {entry["symbol"] for entry in info["symbols"]} == {"BTCUSDT", "ETHUSDT"}
            rows = await client.get_klines(symbol="BTCUSDT", interval="1m", limit=3)
            assert [row[0] for row in rows] == [START - 2 * MINUTE, START - MINUTE, START]
            day = await client.get_historical_klines("BTCUSDT", "1m", START - DAY, START - 1)
            assert len(day) == 1440
            manager = binance.BinanceSocketManager(client)
            async with manager.kline_socket("BTCUSDT", interval="1m") as stream:
                sim.clock.resume()
                event = await asyncio.wait_for(stream.recv(), 4)
                assert event["e"] == "kline"
                assert event["k"]["x"] is True
                assert event["k"]["t"] == START
            assert (
                event["k"]["c"] == (await client.get_klines(symbol="BTCUSDT", interval="1m", limit=2))[0][4]
            )
        finally:
            await client.close_connection()


async def test_ccxt_loads_markets_and_candles(simulate: Simulate) -> None:
    ccxt = pytest.importorskip("ccxt.async_support", reason="ccxt is not installed")
    async with simulate() as sim:
        exchange = ccxt.binance({"options": {"fetchMarkets": {"types": ["spot"]}}})
        exchange.urls["api"]["public"] = f"{sim.api_url}/api/v3"
        try:
            markets = await exchange.load_markets()
            assert markets["BTC/USDT"]["spot"]
            assert markets["BTC/USDT"]["precision"]["price"] == 0.01
            since = START - 100 * MINUTE
            candles = await exchange.fetch_ohlcv("BTC/USDT", "1m", since=since, limit=50)
            assert [row[0] for row in candles] == [since + number * MINUTE for number in range(50)]
            truth = sim.candles("BTCUSDT", since, since + MINUTE)[0]
            assert candles[0] == [truth.time, truth.open, truth.high, truth.low, truth.close, truth.volume]
            with pytest.raises(ccxt.BadSymbol):
                await exchange.fetch_ohlcv("NO/SUCH", "1m")
        finally:
            await exchange.close()
