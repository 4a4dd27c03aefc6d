"""The Compose files keep what the documentation says of them."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.checkouts import Checkout

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = ("migrate", "data-feeder", "gap-handler", "backup", "exchange-simulator")


@pytest.fixture
def demo(checkout: Checkout, compose: object) -> dict[str, Any]:
    """The whole configuration of a demo."""
    files = ("--file", "docker-compose.yml", "--file", "deploy/docker/demo.yml")
    checkout.write_env("DB_HOST=db.example.com\nDB_PORT=6000\nDB_SSLMODE=verify-full\n")
    done = checkout.run(
        "docker",
        "compose",
        *files,
        "config",
        "--format",
        "json",
        DEMO_SYMBOLS="BTCUSDT",
        DEMO_HISTORY_DAYS="3",
    )
    configuration: dict[str, Any] = json.loads(done.stdout)
    return configuration


def test_our_containers_are_hardened(demo: dict[str, Any]) -> None:
    for name in OURS:
        service = demo["services"][name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_every_container_is_limited_and_its_log_rotates(demo: dict[str, Any]) -> None:
    for name, service in demo["services"].items():
        assert int(service["mem_limit"]) > 0, name
        assert service["logging"]["options"]["max-size"], name
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name


def test_every_published_port_binds_to_the_bind_address(demo: dict[str, Any]) -> None:
    published = [port for service in demo["services"].values() for port in service.get("ports", [])]
    assert {port["target"] for port in published} == {5432, 8080, 9000, 80}
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}


def test_a_demo_has_a_database_volume_of_its_own(demo: dict[str, Any]) -> None:
    volumes = demo["services"]["timescaledb"]["volumes"]
    sources = [volume["source"] for volume in volumes if volume["target"] == "/var/lib/postgresql/data"]
    assert sources == ["timescaledb-demo-data"]


def test_a_demos_backups_are_known_as_a_demos(demo: dict[str, Any]) -> None:
    backup = demo["services"]["backup"]
    assert backup["environment"]["BACKUP_EXCHANGE"] == "demo"
    assert backup["environment"]["PGHOST"] == "timescaledb"
    assert backup["image"] == demo["services"]["timescaledb"]["image"], "pg_dump is of the server's version"


def test_a_demo_ignores_a_database_of_ones_own(demo: dict[str, Any]) -> None:
    for name in ("migrate", "data-feeder", "gap-handler", "pgadmin"):
        environment = demo["services"][name]["environment"]
        used = (environment["DB_HOST"], environment["DB_PORT"], environment["DB_SSLMODE"])
        assert used == ("timescaledb", "5432", "prefer"), name


def test_only_a_demo_knows_the_simulator() -> None:
    assert "simulator" not in (ROOT / "docker-compose.yml").read_text()


def test_plain_compose_needs_no_variables_and_warns_of_nothing(checkout: Checkout, compose: object) -> None:
    done = subprocess.run(
        ["docker", "compose", "config", "--quiet"],
        cwd=checkout.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_file_says_nothing_the_first_compose_cannot_read() -> None:
    lines = [line.strip() for line in (ROOT / "docker-compose.yml").read_text().splitlines()]
    for newer in ("required:", "develop:", "include:", "configs:", "name: btc-ml\n", "pull_policy:"):
        assert not any(line.startswith(newer) for line in lines), newer


def test_images_carry_full_tags() -> None:
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / "deploy/Dockerfile").read_text()
    for image in ("timescale/timescaledb:2.29.2-pg17", "dpage/pgadmin4:9.18", "python:3.13-slim-trixie"):
        assert image in text
    assert ":latest" not in text


def test_a_database_of_ones_own_replaces_the_bundled_one(checkout: Checkout, compose: object) -> None:
    files = ("--file", "docker-compose.yml", "--file", "deploy/docker/external-database.yml")
    checkout.write_env("DB_HOST=db.example.com\nDB_PORT=6000\nDB_PASSWORD='a $b'\n")
    done = checkout.run("docker", "compose", *files, "config", "--format", "json")
    services = json.loads(done.stdout)["services"]
    assert services["timescaledb"]["scale"] == 0
    assert services["backup"]["scale"] == 0
    for name in ("migrate", "data-feeder", "gap-handler", "pgadmin"):
        environment = services[name]["environment"]
        assert (environment["DB_HOST"], environment["DB_PORT"]) == ("db.example.com", "6000")
        assert environment["DB_PASSWORD"] == "a $$b"


def test_two_feeders_on_one_machine_differ_in_shard_port_and_name(
    checkout: Checkout, compose: object
) -> None:
    (checkout.path / "docker-compose.shards.yml").write_text(
        (ROOT / "deploy/docker/two-feeders.yml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    checkout.write_env("SYMBOLS=BTCUSDT,ETHUSDT\nDB_HOST=db1.example,db2.example\n")
    done = checkout.steps(
        "EXCHANGE=live\nSETTINGS=DB_HOST=db1.example,db2.example\nset_compose_files\n"
        "compose config --format json; docker_services >services.txt"
    )
    services = json.loads(done.stdout)["services"]
    first, second = services["data-feeder"], services["data-feeder-2"]
    assert (first["environment"].pop("SHARD"), second["environment"].pop("SHARD")) == ("1/2", "2/2")
    assert first["environment"] == second["environment"]
    assert first["environment"]["DB_HOST"] == "db1.example,db2.example"
    assert [port["published"] for port in first["ports"] + second["ports"]] == ["8080", "8081"]
    differing = {"environment", "ports", "container_name"}
    assert {name for name in first if first[name] != second.get(name)} <= differing
    waited_for = (checkout.path / "services.txt").read_text().split()
    assert waited_for == ["data-feeder", "gap-handler", "pgadmin", "data-feeder-2"]


def test_a_restore_and_a_purge_know_the_second_feeder(checkout: Checkout, compose: object) -> None:
    more = (ROOT / "deploy/docker/two-feeders.yml").read_text(encoding="utf-8")
    (checkout.path / "docker-compose.shards.yml").write_text(more, encoding="utf-8")
    done = checkout.steps("EXCHANGE=live\nSETTINGS=DB_HOST=timescaledb\ndatabase_users")
    assert done.stdout.split() == ["data-feeder", "gap-handler", "pgadmin", "data-feeder-2", "backup"]
    done = checkout.steps("all_files config --services")
    assert {"data-feeder-2", "exchange-simulator", "timescaledb"} <= set(done.stdout.split())


def test_a_demo_and_a_plain_deployment_have_one_feeder(checkout: Checkout) -> None:
    plain = 'SETTINGS=DB_HOST=timescaledb\nset_compose_files\necho "${COMPOSE_FILES[@]}"'
    assert "shards" not in checkout.steps(f"EXCHANGE=live\n{plain}").stdout
    (checkout.path / "docker-compose.shards.yml").touch()
    assert "docker-compose.shards.yml" in checkout.steps(f"EXCHANGE=live\n{plain}").stdout
    settings = "setting() { echo x; }\n"
    assert "shards" not in checkout.steps(f"EXCHANGE=demo\n{settings}{plain}").stdout


def test_one_of_several_database_hosts_that_answers_is_enough(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        done = checkout.run("python3", "deploy/reach.py", "127.0.0.9,127.0.0.1", port)
        assert (done.returncode, done.stdout) == (0, "")
    done = checkout.run("python3", "deploy/reach.py", "127.0.0.9,127.0.0.1", port)
    assert done.returncode == 1
    assert done.stdout.count("refused") == 2
