"""deploy/restore.sh looks at a backup before it touches anything; deploy/backup.sh shows what there is."""

from __future__ import annotations

import hashlib
import time

import pytest
from tests.deploy.checkouts import Checkout

NAME = "20260301T010000Z-demo-local"
ENV = "DB_PASSWORD=abcdefghijkl\nMLREADER_PASSWORD=abcdefghijkm\nPGADMIN_PASSWORD=abcdefghijkn\n"


@pytest.fixture
def deployed(checkout: Checkout) -> Checkout:
    """What a local demo leaves behind, as far as the checks look."""
    (checkout.path / ".local").mkdir()
    (checkout.path / ".local/deployment").write_text("engine=local\nexchange=demo\n")
    checkout.write_env(ENV)
    return checkout


def backup(checkout: Checkout, *, damaged: bool = False, **changed: str) -> None:
    folder = checkout.path / "backups" / NAME
    folder.mkdir(parents=True)
    (folder / "database.dump").write_bytes(b"archive")
    values = {
        "format": "1",
        "taken": str(int(time.time()) - 3 * 86_400),
        "engine": "local",
        "exchange": "demo",
        "schema": "0004_predictions.sql",
        "candles": "1440",
        "newest": "2026-03-01T00:59Z",
        "bytes": "7",
        "sha256": hashlib.sha256(b"other" if damaged else b"archive").hexdigest(),
        **changed,
    }
    (folder / "manifest").write_text("".join(f"{key}={value}\n" for key, value in values.items()))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"exchange": "live"}, "is of a live deployment, and this one is demo"),
        ({"schema": "9999_tomorrow.sql"}, "has the schema 9999_tomorrow.sql, and this version ends at"),
        ({"format": "7"}, "is of a form this version does not read"),
        ({"sha256": "0" * 64}, "is damaged"),
    ],
)
def test_a_backup_that_does_not_fit_is_refused(
    deployed: Checkout, changed: dict[str, str], said: str
) -> None:
    backup(deployed, **changed)
    done = deployed.run("deploy/restore.sh", NAME, "--replace", "--yes")
    assert done.returncode == 1
    assert said in done.stdout
    assert "nothing has been changed" in done.stdout


@pytest.mark.parametrize("options", [[], ["--replace", "--yes"], ["--table", "predictions"]])
def test_a_server_that_cannot_restore_it_is_found_before_anything_stops(
    deployed: Checkout, options: list[str]
) -> None:
    backup(deployed)
    python = deployed.path / ".local/venv/bin/python"
    python.parent.mkdir(parents=True)
    # In the place of the programs beside the database: the first of them refuses.
    python.write_text('#!/bin/sh\necho "$*" >>called\nexit 1\n')
    python.chmod(0o755)
    done = deployed.run("deploy/restore.sh", NAME, *options)
    assert done.returncode == 1
    assert "Nothing has been changed" in done.stdout
    called = (deployed.path / "called").read_text()
    assert called == f"deploy/local/database_tool.py load.sh check {NAME}\n"


def test_a_backup_that_is_not_there_is_named(deployed: Checkout) -> None:
    for name in ("latest", "20200101T000000Z-demo-local"):
        done = deployed.run("deploy/restore.sh", name)
        assert done.returncode == 1
        assert "There is no backup" in done.stdout


def test_nothing_deployed_is_said(checkout: Checkout) -> None:
    for program in (("deploy/restore.sh", NAME), ("deploy/backup.sh",)):
        done = checkout.run(*program)
        assert done.returncode == 1
        assert "./deploy.sh first" in done.stdout


def test_backups_are_listed_with_their_age(deployed: Checkout) -> None:
    backup(deployed)
    done = deployed.run("deploy/backup.sh", "--list")
    assert done.returncode == 0, done.stdout
    shown = [line.split() for line in done.stdout.splitlines()]
    assert [NAME, "3", "days", "0", "1440", "2026-03-01T00:59Z", "0004_predictions.sql"] in shown
    assert deployed.run("deploy/backup.sh", "--verify", NAME).returncode == 0
    assert f"{NAME} is whole" in deployed.run("deploy/backup.sh", "--verify", "latest").stdout
    assert deployed.run("deploy/backup.sh", "--verify", "no-such").returncode == 1


def test_a_database_of_ones_own_is_backed_up_by_its_owner(deployed: Checkout) -> None:
    (deployed.path / ".local/deployment").write_text("engine=local\nexchange=live\n")
    deployed.write_env(ENV + "DB_HOST=db.example.com\n")
    done = deployed.run("deploy/backup.sh")
    assert done.returncode == 1
    assert "a database of your own" in done.stdout


def test_the_summary_warns_of_an_old_backup(deployed: Checkout) -> None:
    backup(deployed)
    script = """
    ENGINE=local EXCHANGE=demo SECONDS=0
    source deploy/lib/backups.sh
    SETTINGS=$'BACKUP_DIR=./backups\\nDB_HOST=timescaledb\\nBIND_ADDRESS=127.0.0.1'
    newest_rows() { printf 'candle\\tone\\nfeatures\\ttwo\\nhistory\\twhole\\n'; }
    service_rows() { row one two healthy; }
    useful_commands() { :; }
    mkdir -p .local/logs
    source deploy/steps/print-summary.sh
    """
    done = deployed.steps(script)
    assert done.returncode == 0, done.stdout
    assert "Warning: the newest backup is 3 days old" in done.stdout


def test_progress_is_shown_while_the_first_rows_are_waited_for(deployed: Checkout) -> None:
    script = """
    ENGINE=local EXCHANGE=demo
    source deploy/lib/backups.sh
    SETTINGS=$'BACKUP_DIR=./backups\\nDB_HOST=timescaledb\\nBIND_ADDRESS=127.0.0.1'
    mkdir -p .local/logs
    sleep() { touch .local/looked; }
    newest_rows() {
      printf 'progress\\t12.5 %% of 568,800 minutes, 497,700 left\\n'
      [[ ! -e .local/looked ]] || printf 'candle\\tone\\nfeatures\\ttwo\\nhistory\\twhole\\n'
    }
    service_rows() { row one two healthy; }
    useful_commands() { :; }
    source deploy/steps/print-summary.sh
    """
    done = deployed.steps(script)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("history: 12.5 % of 568,800 minutes, 497,700 left") == 1
    assert "newest candle       one" in done.stdout
