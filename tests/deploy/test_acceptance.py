"""The whole stack, deployed as a user deploys it: in Docker, and as local processes."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator

import pytest
from tests.deploy.checkouts import Checkout, free_ports

DEPLOY_SECONDS = 600
SECRETS = ("DB_PASSWORD", "MLREADER_PASSWORD", "PGADMIN_PASSWORD")


def choose_ports(checkout: Checkout) -> dict[str, int]:
    names = ("DB_PORT", "FEEDER_PORT", "GAP_HANDLER_PORT", "PGADMIN_PORT")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    checkout.write_env("# chosen by a test\n" + "".join(f"{name}={port}\n" for name, port in ports.items()))
    return ports


def secrets_of(checkout: Checkout) -> list[str]:
    return [re.search(rf"^{name}=(.+)$", checkout.read_env(), re.MULTILINE)[1] for name in SECRETS]  # type: ignore[index]


def health(port: int) -> dict[str, object]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as response:
        answer: dict[str, object] = json.load(response)
        return answer


@pytest.fixture
def deployed(checkout: Checkout) -> Iterator[Checkout]:
    yield checkout
    done = checkout.run("./cleanup.sh", "--purge", "--yes", seconds=180)
    assert done.returncode == 0, done.stdout


@pytest.mark.acceptance
@pytest.mark.timeout(900)
def test_local_demo(deployed: Checkout) -> None:
    ports = choose_ports(deployed)
    first = deployed.run("./deploy.sh", "--local", "--demo", seconds=DEPLOY_SECONDS)
    assert first.returncode == 0, first.stdout
    assert re.search(r"data-feeder +http://127\.0\.0\.1:\d+ +healthy", first.stdout)
    assert f"postgresql://mltrader@127.0.0.1:{ports['DB_PORT']}/btc_ml_production" in first.stdout
    assert re.search(r"newest candle +BTCUSDT", first.stdout), first.stdout
    assert re.search(r"history +([0-9.]+ % of|whole)", first.stdout), first.stdout
    assert health(ports["FEEDER_PORT"])["status"] in ("healthy", "degraded")
    env, secrets = deployed.read_env(), secrets_of(deployed)

    listing = "import psutil\nfor process in psutil.process_iter(['cmdline']): print(process.info)"
    processes = deployed.run(".local/venv/bin/python", "-c", listing)
    logs = "".join(path.read_text("utf-8", "replace") for path in (deployed.path / ".local/logs").iterdir())
    configuration = (deployed.path / ".local/run/supervisord.conf").read_text()
    for secret in secrets:
        assert secret not in first.stdout + processes.stdout + logs + configuration

    rows = deployed.run(".local/bin/psql", "-At", "-c", "SELECT count(*) > 0 FROM candles_1m")
    assert rows.stdout == "t\n"
    pid = (deployed.path / ".local/run/supervisord.pid").read_text()
    started = deployed.run(".local/bin/psql", "-At", "-c", "SELECT pg_postmaster_start_time()").stdout
    again = deployed.run("./deploy.sh", seconds=120)
    assert again.returncode == 0, again.stdout
    assert "Starting" not in again.stdout
    assert deployed.read_env() == env
    assert (deployed.path / ".local/run/supervisord.pid").read_text() == pid
    assert deployed.run(".local/bin/psql", "-At", "-c", "SELECT pg_postmaster_start_time()").stdout == started

    stopped = deployed.run("./cleanup.sh", seconds=120)
    assert stopped.returncode == 0, stopped.stdout
    assert (deployed.path / ".local/data/demo").exists()
    with pytest.raises(OSError, match="refused"):
        health(ports["FEEDER_PORT"])

    wrong = re.sub(r"(?m)^DB_PASSWORD=.*$", "DB_PASSWORD=another-one", env)
    deployed.write_env(wrong)
    refused = deployed.run("./deploy.sh", seconds=120)
    assert refused.returncode == 1
    assert "refuses DB_USER and DB_PASSWORD" in refused.stdout


@pytest.mark.acceptance
@pytest.mark.docker
@pytest.mark.timeout(900)
def test_docker_demo(docker_engine: None, deployed: Checkout) -> None:
    ports = choose_ports(deployed)
    project = f"btc-ml-test-{ports['DB_PORT']}"
    deployed.write_env(deployed.read_env() + f"COMPOSE_PROJECT_NAME={project}\n")
    first = deployed.run("./deploy.sh", "--docker", "--demo", seconds=DEPLOY_SECONDS)
    assert first.returncode == 0, first.stdout
    for service in ("timescaledb", "exchange-simulator", "data-feeder", "gap-handler", "pgadmin"):
        assert re.search(rf"{service} +\S.* +healthy", first.stdout), first.stdout
    env = deployed.read_env()
    assert all(secret not in first.stdout for secret in secrets_of(deployed))

    def containers() -> str:
        return deployed.run("docker", "ps", "--quiet", "--no-trunc", "--filter", "name=btc-ml-").stdout

    count = ("psql", "-U", "mltrader", "-d", "btc_ml_production", "-Atc", "SELECT COUNT(*) FROM candles_1m")
    deadline = time.monotonic() + 90
    while True:
        rows = deployed.run("docker", "compose", "exec", "-T", "timescaledb", *count)
        assert rows.returncode == 0, rows.stdout
        if int(rows.stdout) > 0 or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert int(rows.stdout) > 0
    assert deployed.run("docker", "compose", "exec", "-T", "timescaledb", "pg_isready").returncode == 0
    tcp = ("psql", "-w", "-h", "127.0.0.1", *count[1:])
    refused = deployed.run("docker", "compose", "exec", "-T", "timescaledb", *tcp)
    assert "no password supplied" in refused.stdout
    assert "websocket" in deployed.run("docker", "compose", "logs", "data-feeder").stdout.lower()
    assert health(ports["GAP_HANDLER_PORT"])

    before = containers()
    again = deployed.run("./deploy.sh", seconds=180)
    assert again.returncode == 0, again.stdout
    assert (containers(), deployed.read_env()) == (before, env)

    assert deployed.run("./cleanup.sh", seconds=120).returncode == 0
    assert containers() == ""
    volumes = deployed.run("docker", "volume", "ls", "--quiet").stdout
    assert f"{project}_timescaledb-demo-data" in volumes
    deployed.write_env(re.sub(r"(?m)^DB_PASSWORD=.*$", "DB_PASSWORD=another-one", env))
    refused = deployed.run("./deploy.sh", seconds=180)
    assert refused.returncode == 1
    assert "refuses DB_PASSWORD" in refused.stdout
    deployed.write_env(env)
    # What a deployment on the real exchange would have left: a purge deletes the data of every mode.
    label = f"com.docker.compose.project={project}"
    live = ("docker", "volume", "create", "--label", label, f"{project}_timescaledb-data")
    assert deployed.run(*live).returncode == 0
    assert deployed.run("./cleanup.sh", "--purge", "--yes", seconds=120).returncode == 0
    assert project not in deployed.run("docker", "volume", "ls", "--quiet").stdout
