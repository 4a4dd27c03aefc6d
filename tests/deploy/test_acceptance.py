"""The whole stack, deployed as a user deploys it: in Docker, and as local processes."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest
from tests.deploy.checkouts import Checkout, free_ports

DEPLOY_SECONDS = 600
SECRETS = ("DB_PASSWORD", "MLREADER_PASSWORD", "PGADMIN_PASSWORD")
TOKEN = "backfill-token-of-a-test"


def choose_ports(checkout: Checkout) -> dict[str, int]:
    names = ("DB_PORT", "FEEDER_PORT", "GAP_HANDLER_PORT", "PGADMIN_PORT")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    lines = [*(f"{name}={port}" for name, port in ports.items()), f"BACKFILL_TOKEN={TOKEN}"]
    checkout.write_env("# chosen by a test\n" + "".join(f"{line}\n" for line in lines))
    return ports


def secrets_of(checkout: Checkout) -> list[str]:
    found = [re.search(rf"^{name}=(.+)$", checkout.read_env(), re.MULTILINE)[1] for name in SECRETS]  # type: ignore[index]
    return [*found, TOKEN]


def health(port: int) -> dict[str, object]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as response:
        answer: dict[str, object] = json.load(response)
        return answer


def everything_said(checkout: Checkout) -> str:
    """Logs, names of files and command lines: wherever a secret could have slipped out."""
    listing = "import psutil\nfor process in psutil.process_iter(['cmdline']): print(process.info)"
    processes = checkout.run(sys.executable, "-c", listing).stdout
    logs = "".join(path.read_text("utf-8", "replace") for path in (checkout.path / ".local").rglob("*.log"))
    configuration = checkout.path / ".local/run/supervisord.conf"
    names = "\n".join(str(path) for path in (checkout.path / "backups").rglob("*"))
    manifests = "".join(path.read_text() for path in (checkout.path / "backups").rglob("manifest"))
    return "\n".join(
        [processes, logs, names, manifests, configuration.read_text() if configuration.exists() else ""]
    )


def change_password(checkout: Checkout, password: str) -> None:
    checkout.write_env(re.sub(r"(?m)^DB_PASSWORD=.*$", f"DB_PASSWORD={password}", checkout.read_env()))


def fetch(checkout: Checkout, sql: str) -> str:
    done = checkout.run(".local/bin/psql", "-At", "-c", sql)
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()


def until_whole(checkout: Checkout) -> None:
    """Wait until no expected minute is missing: what a database lacks is fetched again."""
    deadline = time.monotonic() + 180
    missing = (
        "SELECT count(*) FROM candle_coverage('BTCUSDT', '-infinity', 'infinity') WHERE status = 'missing'"
    )
    while fetch(checkout, missing) != "0":
        assert time.monotonic() < deadline
        time.sleep(1)


@pytest.fixture
def deployed(checkout: Checkout) -> Iterator[Checkout]:
    yield checkout
    done = checkout.run("./cleanup.sh", "--purge", "--yes", seconds=180)
    assert done.returncode == 0, done.stdout


@pytest.mark.acceptance
@pytest.mark.timeout(900)
def test_local_demo(deployed: Checkout) -> None:
    ports = choose_ports(deployed)
    deployed.write_env(deployed.read_env() + "HISTORY_DAYS=3\n")
    first = deployed.run("./deploy.sh", "--local", "--demo", seconds=DEPLOY_SECONDS)
    assert first.returncode == 0, first.stdout
    assert re.search(r"data-feeder +http://127\.0\.0\.1:\d+ +healthy", first.stdout)
    assert f"postgresql://mltrader@127.0.0.1:{ports['DB_PORT']}/btc_ml_production" in first.stdout
    assert re.search(r"newest candle +BTCUSDT", first.stdout), first.stdout
    assert re.search(r"history +([0-9.]+ % of|whole)", first.stdout), first.stdout
    assert health(ports["FEEDER_PORT"])["status"] in ("healthy", "degraded")
    env, secrets = deployed.read_env(), secrets_of(deployed)

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

    # The backup lacks an hour, which the deployment that restores it has to fetch again.
    until_whole(deployed)
    fetch(deployed, "DELETE FROM candles_1m WHERE time > now() - interval '1 hour'")
    fetch(
        deployed,
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted)"
        " VALUES ('BTCUSDT', date_trunc('minute', now()), 'm', 5, 1.5)",
    )
    taken = deployed.run("deploy/backup.sh", seconds=120)
    assert taken.returncode == 0, taken.stdout
    edge = fetch(deployed, "SELECT date_trunc('minute', now()) - interval '2 hours'")
    checksum = (
        "SELECT count(*), md5(string_agg(c::text, '|' ORDER BY symbol, time)) FROM candles_1m AS c"
        f" WHERE time < '{edge}'"
    )
    kept = fetch(deployed, checksum)

    change_password(deployed, "another-one-of-a-test")
    changed = deployed.run("./deploy.sh", seconds=120)
    assert changed.returncode == 0, changed.stdout
    assert "DB_PASSWORD has changed" in changed.stdout
    assert fetch(deployed, "SELECT pg_postmaster_start_time()") == started.strip(), "no restart for that"
    said = first.stdout + again.stdout + taken.stdout + changed.stdout + everything_said(deployed)
    for secret in [*secrets, *secrets_of(deployed)]:
        assert secret not in said

    stopped = deployed.run("./cleanup.sh", seconds=120)
    assert stopped.returncode == 0, stopped.stdout
    assert (deployed.path / ".local/data/demo").exists()
    with pytest.raises(OSError, match="refused"):
        health(ports["FEEDER_PORT"])

    # As on another machine: nothing but the repository, .env and the backups.
    data = deployed.path / ".local/data/demo"
    shutil.rmtree(data.resolve())
    data.unlink(missing_ok=True)
    fresh = deployed.run("./deploy.sh", seconds=120)
    assert fresh.returncode == 0, fresh.stdout
    assert fetch(deployed, "SELECT count(*) FROM predictions") == "0"
    refused = deployed.run("deploy/restore.sh", "latest")
    assert refused.returncode == 1
    assert "deploy/restore.sh 2" in refused.stdout
    assert " --replace" in refused.stdout
    restored = deployed.run("deploy/restore.sh", "latest", "--replace", "--yes", seconds=300)
    assert restored.returncode == 0, restored.stdout
    assert re.search(r"gap-handler +\S+ +healthy", restored.stdout), restored.stdout
    assert fetch(deployed, checksum) == kept
    assert fetch(deployed, "SELECT count(*) FROM predictions") == "1"
    until_whole(deployed)
    assert deployed.run("./cleanup.sh", seconds=120).returncode == 0

    # What no deployment has applied cannot be guessed.
    change_password(deployed, "yet-another-one")
    for memory in ("password-demo", "programs.json"):
        (deployed.path / ".local/run" / memory).unlink()
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

    insert = (
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted)"
        " VALUES ('BTCUSDT', date_trunc('minute', now()), 'm', 5, 1.5)"
    )
    query = ("docker", "compose", "exec", "-T", "timescaledb", *count[:-1])
    assert deployed.run(*query, insert).returncode == 0
    taken = deployed.run("deploy/backup.sh", seconds=120)
    assert taken.returncode == 0, taken.stdout
    assert deployed.run(*query, "DELETE FROM predictions").returncode == 0
    back = deployed.run("deploy/restore.sh", "latest", "--table", "predictions", "--replace", "--yes")
    assert back.returncode == 0, back.stdout
    assert deployed.run(*query, "SELECT count(*) FROM predictions").stdout == "1\n"
    commands = deployed.run("sh", "-c", "docker inspect --format '{{.Path}} {{.Args}}' $(docker ps -aq)")
    logs = deployed.run("docker", "compose", "logs", seconds=120)
    for secret in secrets_of(deployed):
        assert secret not in commands.stdout + logs.stdout + taken.stdout + everything_said(deployed)

    assert deployed.run("./cleanup.sh", seconds=120).returncode == 0
    assert containers() == ""
    volumes = deployed.run("docker", "volume", "ls", "--quiet").stdout
    assert f"{project}_timescaledb-demo-data" in volumes
    change_password(deployed, "another-one-of-a-test")
    changed = deployed.run("./deploy.sh", seconds=240)
    assert changed.returncode == 0, changed.stdout
    assert "DB_PASSWORD has changed" in changed.stdout
    # What a deployment on the real exchange would have left: a purge deletes the data of every mode.
    label = f"com.docker.compose.project={project}"
    live = ("docker", "volume", "create", "--label", label, f"{project}_timescaledb-data")
    assert deployed.run(*live).returncode == 0
    assert deployed.run("./cleanup.sh", "--purge", "--yes", seconds=120).returncode == 0
    assert project not in deployed.run("docker", "volume", "ls", "--quiet").stdout
