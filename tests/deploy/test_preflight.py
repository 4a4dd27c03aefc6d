"""deploy.sh checks before it changes: each of these ends with the folder as it was."""

from __future__ import annotations

import http.server
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.deploy.checkouts import Checkout, free_ports

SECRETS = "DB_PASSWORD=a\nMLREADER_PASSWORD=b\nPGADMIN_PASSWORD=c\n"


def ports_env(*, db: int, feeder: int, gap_handler: int, pgadmin: int = 8000) -> str:
    return f"DB_PORT={db}\nFEEDER_PORT={feeder}\nGAP_HANDLER_PORT={gap_handler}\nPGADMIN_PORT={pgadmin}\n"


def assert_untouched(checkout: Checkout, env: str | None = None) -> None:
    assert not (checkout.path / ".local").exists()
    assert (checkout.read_env() if (checkout.path / ".env").exists() else None) == env


def test_a_taken_port_is_named_with_its_setting_and_its_holder(checkout: Checkout) -> None:
    db, feeder, gap_handler = free_ports(3)
    env = SECRETS + ports_env(db=db, feeder=feeder, gap_handler=gap_handler)
    checkout.write_env(env)
    with socket.create_server(("127.0.0.1", feeder)):
        done = checkout.run("./deploy.sh", "--local", "--demo")
    assert done.returncode == 1
    assert f"FEEDER_PORT: port {feeder} is taken" in done.stdout
    if os.path.isdir("/proc/self/fd"):
        assert f"(pid {os.getpid()})" in done.stdout
    assert "nothing has been changed" in done.stdout
    assert_untouched(checkout, env)


def test_unknown_malformed_and_placeholder_settings_are_reported_together(checkout: Checkout) -> None:
    env = "DB_PORTT=1\nSYMBOLS=btc\nPGADMIN_PASSWORD=change_me\n"
    checkout.write_env(env)
    done = checkout.run("./deploy.sh", "--local", "--demo")
    assert done.returncode == 1
    for name in ("DB_PORTT is not a setting", "SYMBOLS", "PGADMIN_PASSWORD still holds"):
        assert name in done.stdout
    assert_untouched(checkout, env)


def test_a_backup_folder_that_cannot_be_made_is_reported_with_the_rest(checkout: Checkout) -> None:
    db, feeder, gap_handler = free_ports(3)
    (checkout.path / "file").touch()
    env = SECRETS + ports_env(db=db, feeder=feeder, gap_handler=gap_handler) + "BACKUP_DIR=./file/backups\n"
    checkout.write_env(env)
    with socket.create_server(("127.0.0.1", feeder)):
        done = checkout.run("./deploy.sh", "--local", "--demo")
    assert done.returncode == 1
    assert "BACKUP_DIR: ./file/backups cannot be made: ./file is not a folder" in done.stdout
    assert f"FEEDER_PORT: port {feeder} is taken" in done.stdout
    assert "nothing has been changed" in done.stdout
    assert_untouched(checkout, env)


def test_the_copied_example_is_refused_by_name(checkout: Checkout) -> None:
    example = (checkout.path / ".env.example").read_text(encoding="utf-8")
    checkout.write_env(example)
    done = checkout.run("./deploy.sh", "--local", "--demo")
    assert done.returncode == 1
    for name in ("DB_PASSWORD", "MLREADER_PASSWORD", "PGADMIN_PASSWORD"):
        assert f"{name} still holds" in done.stdout
    assert_untouched(checkout, example)


@contextmanager
def answering(status: int, **headers: str) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("status", "said"), [(451, "does not serve your location"), (503, "answers 503")])
def test_an_exchange_that_refuses_is_explained(checkout: Checkout, status: int, said: str) -> None:
    db, feeder, gap_handler = free_ports(3)
    with answering(status) as port:
        env = SECRETS + ports_env(db=db, feeder=feeder, gap_handler=gap_handler)
        env += f"BINANCE_API_URL=http://127.0.0.1:{port}\nBINANCE_STREAM_URL=ws://127.0.0.1:{port}\n"
        checkout.write_env(env)
        done = checkout.run("./deploy.sh", "--local")
    assert done.returncode == 1
    assert said in done.stdout
    assert "./deploy.sh --demo" in done.stdout
    assert "BINANCE_API_URL=https://data-api.binance.vision" in done.stdout
    assert "BINANCE_STREAM_URL=wss://data-stream.binance.vision" in done.stdout
    assert_untouched(checkout, env)


def test_the_simulator_is_refused_without_demo(checkout: Checkout) -> None:
    db, feeder, gap_handler = free_ports(3)
    (checkout.path / ".local").mkdir()
    (checkout.path / ".local/deployment").write_text("engine=local\nexchange=live\n")
    with answering(200, X_Exchange_Simulator="1") as port:
        env = SECRETS + ports_env(db=db, feeder=feeder, gap_handler=gap_handler)
        env += f"BINANCE_API_URL=http://127.0.0.1:{port}\nBINANCE_STREAM_URL=ws://127.0.0.1:{port}/ws\n"
        checkout.write_env(env)
        done = checkout.run("./deploy.sh")
    assert done.returncode == 1
    assert "is the exchange simulator, and this deployment is not a demo" in done.stdout
    assert not (checkout.path / ".local/venv").exists()


def test_contradicting_options_are_refused(checkout: Checkout) -> None:
    for options in (("--docker", "--local"), ("--demo", "--live"), ("--fast",)):
        assert checkout.run("./deploy.sh", *options).returncode == 1
    assert_untouched(checkout)


def test_data_whose_password_is_lost_is_not_deployed_over(checkout: Checkout) -> None:
    (checkout.path / ".local/data/demo").mkdir(parents=True)
    db, feeder, gap_handler = free_ports(3)
    env = ports_env(db=db, feeder=feeder, gap_handler=gap_handler)
    checkout.write_env(env)
    done = checkout.run("./deploy.sh", "--local", "--demo")
    assert done.returncode == 1
    assert "no longer has its DB_PASSWORD" in done.stdout
    assert checkout.read_env() == env


@contextmanager
def listing_only(*symbols: str) -> Iterator[int]:
    """An exchange in three answers: it pings, upgrades, and lists these symbols."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = re.search(r"symbol=(\w+)", self.path)
            status, body = 200, b"{}"
            if self.path.endswith("/ws"):
                status = 101
            elif asked and asked[1] not in symbols:
                status, body = 400, b'{"code":-1121,"msg":"Invalid symbol."}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_symbol_the_exchange_lacks_is_named_before_anything_changes(checkout: Checkout) -> None:
    with listing_only("BTCUSDT") as port:
        env = (
            f"SYMBOLS=BTCUSDT,NOSUCHUSDT\nBINANCE_API_URL=http://127.0.0.1:{port}\n"
            f"BINANCE_STREAM_URL=ws://127.0.0.1:{port}\n"
        )
        checkout.write_env(env)
        done = checkout.run("./deploy.sh", "--local", "--live")
    assert done.returncode == 1
    assert "SYMBOLS: the exchange does not list NOSUCHUSDT." in done.stdout
    assert "BTCUSDT," not in done.stdout
    assert_untouched(checkout, env)


def test_a_bind_address_that_is_none_is_named(checkout: Checkout) -> None:
    checkout.write_env("BIND_ADDRESS=300.1.1.1\n")
    done = checkout.run("./deploy.sh", "--local", "--demo")
    assert done.returncode == 1
    assert "BIND_ADDRESS must be an IP address" in done.stdout


def test_a_database_of_ones_own_that_does_not_answer_is_found_first(checkout: Checkout) -> None:
    db, feeder, gap_handler = free_ports(3)
    env = SECRETS + ports_env(db=db, feeder=feeder, gap_handler=gap_handler) + "DB_HOST=127.0.0.1\n"
    checkout.write_env(env)
    with answering(503) as port:
        urls = f"BINANCE_API_URL=http://127.0.0.1:{port}\nBINANCE_STREAM_URL=ws://127.0.0.1:{port}\n"
        checkout.write_env(env + urls)
        done = checkout.run("./deploy.sh", "--local", "--live")
    assert done.returncode == 1
    assert f"DB_HOST: no database answers at 127.0.0.1:{db}" in done.stdout
    assert "Warning: DB_PASSWORD is short" in done.stdout
    assert_untouched(checkout, env + urls)


def test_a_demo_with_a_shard_is_refused_with_what_to_do(checkout: Checkout) -> None:
    db, feeder, gap_handler = free_ports(3)
    env = SECRETS + ports_env(db=db, feeder=feeder, gap_handler=gap_handler) + "SHARD=1/2\n"
    checkout.write_env(env)
    done = checkout.run("./deploy.sh", "--local", "--demo")
    assert done.returncode == 1
    assert "SHARD=1/2: a demo has one feeder" in done.stdout
    assert "Take SHARD out of .env" in done.stdout
    assert_untouched(checkout, env)


def test_an_address_of_another_machine_is_named_at_once(checkout: Checkout) -> None:
    env = SECRETS + "BIND_ADDRESS=192.0.2.1\n"
    checkout.write_env(env)
    done = checkout.run("./deploy.sh", "--local", "--demo")
    assert done.returncode == 1
    assert "BIND_ADDRESS: 192.0.2.1 is no address of this machine" in done.stdout
    assert_untouched(checkout, env)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_an_address_of_this_machine_is_taken(checkout: Checkout, address: str) -> None:
    assert checkout.run("python3", "deploy/bindable.py", address).returncode == 0


def test_an_exchange_nobody_can_reach_points_at_the_network_first(checkout: Checkout) -> None:
    port = free_ports(1)[0]
    urls = (f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}")
    done = checkout.run("python3", "deploy/exchange.py", *urls, "BTCUSDT")
    assert done.returncode == 1
    assert "Look first whether this machine has a network" in done.stdout
    with answering(503) as there:
        urls = (f"http://127.0.0.1:{there}", f"ws://127.0.0.1:{there}")
        assert "Look first" not in checkout.run("python3", "deploy/exchange.py", *urls, "BTCUSDT").stdout


MORE_FEEDERS = """
services:
  data-feeder-2:
    extends:
      file: docker-compose.yml
      service: data-feeder
    container_name: btc-ml-data-feeder-2
    ports: !override
      - "127.0.0.1:{port}:8080"
"""
STEP = "EXCHANGE={exchange} ENGINE=docker OLD_ENGINE='' HOST_PYTHON=$(host_python)\nhelper() {{ :; }}\n"
STEP += "SETTINGS=$'DB_HOST=timescaledb\\nSHARD=1/1\\nBIND_ADDRESS=127.0.0.1\\n{ports}'\n"


def second_feeder(checkout: Checkout, port: int) -> str:
    """A second feeder at ``port`` beside a deployment on free ports; what the check of the ports said."""
    (checkout.path / "docker-compose.shards.yml").write_text(MORE_FEEDERS.format(port=port))
    db, feeder, gap_handler, pgadmin = free_ports(4)
    ports = f"DB_PORT={db}\\nFEEDER_PORT={feeder}\\nGAP_HANDLER_PORT={gap_handler}\\nPGADMIN_PORT={pgadmin}"
    step = STEP.format(exchange="live", ports=ports.replace(str(gap_handler), "8200"))
    done = checkout.steps(f"{step}source deploy/steps/check-ports.sh; echo problems=$PROBLEMS")
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_second_feeders_port_is_checked_like_the_others(checkout: Checkout, compose: object) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        said = second_feeder(checkout, port)
    assert f"data-feeder-2: port {port} is taken" in said
    assert "docker-compose.shards.yml" in said
    said = second_feeder(checkout, 8200)
    assert "data-feeder-2 in docker-compose.shards.yml and GAP_HANDLER_PORT have both port 8200" in said
    assert "problems=0" in second_feeder(checkout, free_ports(1)[0])


def test_a_demo_with_more_feeders_is_refused(checkout: Checkout) -> None:
    (checkout.path / "docker-compose.shards.yml").touch()
    step = STEP.format(exchange="demo", ports="")
    step += "look_at_settings() { LOOKED=; }\n"
    done = checkout.steps(f"{step}source deploy/steps/check-settings.sh; echo problems=$PROBLEMS")
    assert "docker-compose.shards.yml: a demo has one feeder. Move the file away" in done.stdout
    assert "problems=1" in done.stdout
