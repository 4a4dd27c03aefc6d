"""Where the database is, by URL or environment; no message says a password."""

from __future__ import annotations

import pytest

from marketdata import address
from marketdata.client import AsyncClient, Client
from marketdata.errors import ConfigurationError
from marketdata.settings import DatabaseSettings


@pytest.mark.parametrize(
    ("dsn", "settings"),
    [
        (
            "postgresql://mlreader:s%2Fe%40%23c@db.example:6432/prices?sslmode=require",
            DatabaseSettings("db.example", 6432, "prices", "mlreader", "s/e@#c", "require"),
        ),
        ("postgres://db", DatabaseSettings("db", 5432, "btc_ml_production", "mlreader", "", "prefer")),
        (
            "postgresql://me@/prices?host=/var/run/postgresql",
            DatabaseSettings("/var/run/postgresql", 5432, "prices", "me", "", "prefer"),
        ),
        ("postgresql://me@[::1]:1/p", DatabaseSettings("::1", 1, "p", "me", "", "prefer")),
    ],
)
def test_a_url(dsn: str, settings: DatabaseSettings) -> None:
    assert AsyncClient(dsn).settings == settings


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        (
            {"DB_HOST": "db", "DB_PORT": "6432", "DB_NAME": "p", "DB_USER": "me", "DB_PASSWORD": "x",
             "DB_SSLMODE": "disable"},
            DatabaseSettings("db", 6432, "p", "me", "x", "disable"),
        ),
        # A deployment's .env: the models' role, not the owner.
        (
            {"DB_HOST": "db", "DB_USER": "mltrader", "DB_PASSWORD": "x", "MLREADER_PASSWORD": "y"},
            DatabaseSettings("db", 5432, "btc_ml_production", "mlreader", "y", "prefer"),
        ),
    ],
)  # fmt: skip
def test_an_environment(environment: dict[str, str], settings: DatabaseSettings) -> None:
    assert AsyncClient(environment=environment).settings == settings


def test_the_bundled_database_is_on_this_machine_where_its_name_means_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for resolves, host in ((False, "127.0.0.1"), (True, "timescaledb")):
        monkeypatch.setattr(address, "_resolves", lambda _, answer=resolves: answer)
        assert AsyncClient(environment={"DB_HOST": "timescaledb"}).settings.host == host
        assert AsyncClient(environment={}).settings.host == host


@pytest.mark.parametrize(
    "dsn",
    [
        "mysql://u:s3cret@h/p", "s3cret", "postgresql://u:s3cret/x@h/p", "postgresql://u:s3cret@h:port/p",
        "postgresql://u:s3cret@h/p?password=s3cret", "postgresql://u:s3cret@h/p?sslmode=maybe",
        "postgresql://u:s3cret@h/a b", "postgresql://u:s3cret@[h/p",
    ],
)  # fmt: skip
@pytest.mark.parametrize("client", [AsyncClient, Client])
def test_a_url_that_cannot_be_one_says_how_one_looks(
    dsn: str, client: type[AsyncClient] | type[Client]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        client(dsn)
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_client_shows_its_password() -> None:
    with Client("postgresql://mlreader:s3cret@127.0.0.1/p") as client:
        assert repr(client) == "Client(mlreader@127.0.0.1:5432/p)"


def test_a_url_without_a_password_takes_the_environments() -> None:
    environment = {"DB_PASSWORD": "theirs", "DB_USER": "nobody"}
    assert address.from_dsn("postgresql://me@db/p", environment).password == "theirs"
    assert address.from_dsn("postgresql://me:mine@db/p", environment).password == "mine"
    assert address.from_dsn("postgresql://me@db/p").password == ""
