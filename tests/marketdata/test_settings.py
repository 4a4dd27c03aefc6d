"""Settings are read once, checked whole, and every problem is reported at once."""

import re
from pathlib import Path

import pytest

from marketdata import settings
from marketdata.errors import ConfigurationError

REPOSITORY = Path(__file__).resolve().parents[2]


def test_empty_mapping_gives_every_default() -> None:
    loaded = settings.load({})
    assert loaded.symbols == ("BTCUSDT",)
    assert loaded.database.host == settings.BUNDLED_DB_HOST
    assert loaded.database.name == "btc_ml_production"
    assert loaded.gap_detection_threshold == 70
    assert loaded.outage_confirm_seconds == 3600


def test_every_problem_is_named_at_once() -> None:
    problems = settings.check(
        {
            "SYMBOLS": "btcusdt",
            "DB_PORT": "70000",
            "HISTORY_DAYS": "many",
            "BINANCE_API_URL": "ftp://x",
            "GAP_DETECTION_TRESHOLD": "70",
        }
    )
    text = "\n".join(problems)
    for name in ("SYMBOLS", "DB_PORT", "HISTORY_DAYS", "BINANCE_API_URL", "GAP_DETECTION_TRESHOLD"):
        assert name in text
    assert "did you mean GAP_DETECTION_THRESHOLD?" in text
    assert len(problems) == 5


def test_load_raises_with_all_problems() -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings.load({"DB_PORT": "x", "LOG_LEVEL": "loud"})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("wss://stream.binance.com:9443/ws", "wss://stream.binance.com:9443"),
        ("wss://stream.binance.com:9443/stream/", "wss://stream.binance.com:9443"),
        ("ws://127.0.0.1:9443", "ws://127.0.0.1:9443"),
        ("wss://proxy.example/binance/ws", "wss://proxy.example/binance"),
    ],
)
def test_stream_address_may_end_in_ws_or_stream(text: str, address: str) -> None:
    assert settings.load({"BINANCE_STREAM_URL": text}).stream_urls == (address,)


def test_alternate_addresses_follow_after_commas() -> None:
    loaded = settings.load({"BINANCE_API_URL": "https://api.binance.com, https://data-api.binance.vision/"})
    assert loaded.api_urls == ("https://api.binance.com", "https://data-api.binance.vision")


@pytest.mark.parametrize("text", ["", ",", "BTCUSDT,,ETHUSDT", "BTC-USDT", "BTCUSDT,BTCUSDT", "btcusdt", "B"])
def test_malformed_symbols_are_refused(text: str) -> None:
    if text:
        assert settings.check({"SYMBOLS": text})
    else:
        assert settings.load({"SYMBOLS": text}).symbols == ("BTCUSDT",)


def test_a_symbol_may_have_letters_beyond_ascii() -> None:
    assert settings.load({"SYMBOLS": "币安人生USDT"}).symbols == ("币安人生USDT",)


def test_secrets_stay_out_of_problems_and_representations() -> None:
    loaded = settings.load({"DB_PASSWORD": "hunter2-hunter2"})
    assert "hunter2" not in repr(loaded)
    problems = settings.check({"PGADMIN_PASSWORD": "change_me"})
    assert len(problems) == 1
    assert "PGADMIN_PASSWORD" in problems[0]


def test_passwords_keep_every_character() -> None:
    password = " $:@#\\' \" spaces "
    assert settings.load({"DB_PASSWORD": password}).database.password == password


def test_example_file_lists_every_setting_a_user_may_set() -> None:
    example = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    listed = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE))
    set_by_deployment = {"GAP_HANDLER_URL"}
    assert listed == settings.NAMES - set_by_deployment
