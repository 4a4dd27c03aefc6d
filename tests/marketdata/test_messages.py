"""Frames to models, with what Binance really sent where it was recorded."""

import gzip
import json
from pathlib import Path

import pytest

from marketdata.binance.messages import decode
from marketdata.errors import DecodeError
from marketdata.models import Acknowledgement, Candle, KlineEvent, Quote, ServerShutdown

KLINE = (
    '{"e":"kline","E":1790935260019,"s":"BTCUSDT","k":{"t":1790935200000,"T":1790935259999,"s":"BTCUSDT",'
    '"i":"1m","f":7130470413,"L":7130471247,"o":"76421.07000000","c":"76408.36000000","h":"76421.08000000",'
    '"l":"76408.35000000","v":"2.62202000","n":835,"x":true,"q":"200365.91000000","V":"1.10000000",'
    '"Q":"84055.10000000","B":"0"}}'
)
CANDLE = Candle(
    "BTCUSDT", 1790935200000, 76421.07, 76421.08, 76408.35, 76408.36, 2.62202, 200365.91, 835, 1.1, 84055.1
)


def test_final_kline() -> None:
    assert decode(KLINE) == KlineEvent(1790935260019, True, CANDLE)


def test_wrapped_kline_is_the_same() -> None:
    assert decode(f'{{"stream":"btcusdt@kline_1m","data":{KLINE}}}') == decode(KLINE)


def test_open_kline_is_not_final() -> None:
    event = decode(KLINE.replace('"x":true', '"x":false'))
    assert isinstance(event, KlineEvent)
    assert not event.final


def test_only_true_is_final() -> None:
    event = decode(KLINE.replace('"x":true', '"x":1'))
    assert isinstance(event, KlineEvent)
    assert not event.final


def test_microseconds_become_milliseconds() -> None:
    micro = KLINE.replace("1790935260019", "1790935260019123").replace("1790935200000", "1790935200000000")
    assert decode(micro) == decode(KLINE)


def test_another_interval_is_not_ours() -> None:
    assert decode(KLINE.replace('"i":"1m"', '"i":"5m"')) is None


def test_minute_without_trades_keeps_its_zero() -> None:
    event = decode(KLINE.replace('"n":835', '"n":0').replace('"v":"2.62202000"', '"v":"0.00000000"'))
    assert isinstance(event, KlineEvent)
    assert event.candle.trades == 0


def test_quote_is_known_by_its_fields() -> None:
    raw = '{"u":400900217,"s":"BTCUSDT","b":"76400.10","B":"3.10","a":"76400.11","A":"0.52"}'
    assert decode(raw) == Quote("BTCUSDT", 76400.10, 3.10, 76400.11, 0.52, 400900217)


def test_server_shutdown_raw_and_wrapped() -> None:
    raw = '{"e":"serverShutdown","E":1790935260019}'
    assert decode(raw) == ServerShutdown(1790935260019)
    assert decode(f'{{"stream":"!serverShutdown","data":{raw}}}') == ServerShutdown(1790935260019)


def test_acknowledgements() -> None:
    assert decode('{"result":null,"id":7}') == Acknowledgement(7, None)
    refused = decode('{"code":2,"msg":"Invalid request: bad","id":12}')
    assert isinstance(refused, Acknowledgement)
    assert refused.error == "2: Invalid request: bad"
    assert decode('{"error":{"code":2,"msg":"Invalid request: bad"},"id":12}') == refused


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\x00\xff", b"null", b"[]", b"17", b'"x"', b"{", b"{}", b'{"e":"kline"}', b'{"data":null}',
        KLINE.replace('"76421.07000000"', '"abc"').encode(), KLINE.replace('"n":835', '"n":"many"').encode(),
        KLINE[:100].encode(), b'{"u":1,"b":"x","s":"S","B":"1","a":"1","A":"1"}',
    ],
)  # fmt: skip
def test_garbage_is_a_decode_error(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(raw)


def test_recorded_frames_decode(real_data: Path) -> None:
    kinds: dict[str, int] = {}
    for line in (real_data / "ws_frames" / "frames.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        event = decode(record["raw"])
        kinds[type(event).__name__] = kinds.get(type(event).__name__, 0) + 1
    assert kinds["KlineEvent"] >= 1
    assert kinds["Quote"] >= 1


def test_recorded_sessions_decode(real_data: Path) -> None:
    frames = 0
    for path in sorted((real_data / "ws_frames").glob("*.ws.1.0.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            next(lines)
            for line in lines:
                _, _, raw = line.partition(": ")
                if raw.strip():
                    decode(raw.strip())
                    frames += 1
    assert frames > 0
