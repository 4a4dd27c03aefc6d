"""pgAdmin's connection files hold any password, and are private."""

from __future__ import annotations

import json
from pathlib import Path

import password
import render

PGADMIN = Path(__file__).resolve().parent.parent.parent / "pgadmin"
ENVIRONMENT = {
    "DB_HOST": "timescaledb",
    "DB_PORT": "5432",
    "DB_NAME": "prices",
    "DB_USER": "trader",
    "DB_PASSWORD": r"a:b\c $d ${E} 'f' #g",
    "DB_SSLMODE": "",
}


def test_a_password_with_colons_and_backslashes_is_escaped() -> None:
    line = render.pgpass((PGADMIN / "pgpass").read_text(), ENVIRONMENT)
    assert line == r"timescaledb:5432:*:trader:a\:b\\c $d ${E} 'f' #g" + "\n"


def test_the_server_is_the_one_in_use_and_names_the_password_file() -> None:
    server = json.loads(render.servers((PGADMIN / "servers.json").read_text(), ENVIRONMENT))["Servers"]["1"]
    assert (server["MaintenanceDB"], server["Username"], server["SSLMode"]) == ("prices", "trader", "prefer")
    assert server["PassFile"] == "/pgpass"
    assert "Password" not in server


def test_of_several_hosts_the_first_is_shown() -> None:
    environment = ENVIRONMENT | {"DB_HOST": "db1.example,db2.example"}
    assert render.pgpass((PGADMIN / "pgpass").read_text(), environment).startswith("db1.example:5432:")
    server = json.loads(render.servers((PGADMIN / "servers.json").read_text(), environment))["Servers"]["1"]
    assert server["Host"] == "db1.example"


def test_files_are_private_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "storage" / "pgpass"
    render.write_private(path, "one")
    render.write_private(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_changed_password_is_noticed_and_never_kept_as_text(tmp_path: Path) -> None:
    path = tmp_path / "stamp"
    assert not password.is_applied("one of ours", path)
    password.remember("one of ours", path)
    assert password.is_applied("one of ours", path)
    assert not password.is_applied("another", path)
    assert "one of ours" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
