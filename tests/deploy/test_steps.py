"""The shell steps one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.deploy.checkouts import Checkout

MODE = "source deploy/steps/read-arguments.sh; source deploy/steps/choose-mode.sh"


def remember(checkout: Checkout, engine: str, exchange: str) -> None:
    (checkout.path / ".local").mkdir(exist_ok=True)
    (checkout.path / ".local/deployment").write_text(f"engine={engine}\nexchange={exchange}\n")


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ("", "local-demo"),
        ("--live", "local-live"),
        ("--docker", "docker-demo"),
        ("--docker --live", "docker-live"),
    ],
)
def test_a_mode_is_kept_until_an_option_changes_it(checkout: Checkout, options: str, mode: str) -> None:
    remember(checkout, "local", "demo")
    done = checkout.steps(f"set -- {options}\n{MODE}\necho mode=$ENGINE-$EXCHANGE")
    assert f"mode={mode}\n" in done.stdout


def test_a_kept_local_mode_says_so_and_how_to_leave_it(checkout: Checkout) -> None:
    remember(checkout, "local", "demo")
    said = "as deployed here before; --docker changes to Docker Compose"
    assert said in checkout.steps(f"set -- --demo\n{MODE}").stdout
    assert said not in checkout.steps(f"set -- --local\n{MODE}").stdout


def without_docker(checkout: Checkout) -> str:
    """A PATH with what the steps need but Docker."""
    folder = checkout.path / "bin"
    folder.mkdir()
    script = "for t in bash sed cat tr python3 dirname; do ln -s $(command -v $t) bin/$t; done"
    assert checkout.run("bash", "-c", script).returncode == 0
    return str(folder)


def test_without_docker_the_first_deployment_is_local_and_says_so(checkout: Checkout) -> None:
    done = checkout.run(
        f"{without_docker(checkout)}/bash",
        "-c",
        "source deploy/lib/console.sh; source deploy/lib/python.sh; source deploy/lib/settings.sh;"
        f"source deploy/lib/compose.sh; {MODE}; echo mode=$ENGINE-$EXCHANGE",
        PATH=str(checkout.path / "bin"),
    )
    assert "docker is not installed" in done.stdout
    assert "mode=local-live" in done.stdout


def test_a_damaged_memory_is_not_guessed_from(checkout: Checkout) -> None:
    remember(checkout, "cloud", "demo")
    done = checkout.steps(f"set --\n{MODE}")
    assert done.returncode == 1
    assert "--docker --live" in done.stdout


def test_the_local_installation_runs_the_helpers_once_it_is_whole(checkout: Checkout) -> None:
    script = "mkdir -p .local/venv/bin; ln -s $(host_python) .local/venv/bin/python; helper_python; "
    script += "printf other >.local/venv/.lock-installed; helper_python; "
    script += "digest requirements-local.lock >.local/venv/.lock-installed; helper_python; "
    script += "ln -sf /bin/false .local/venv/bin/python; helper_python"
    ours = f"{checkout.path}/.local/venv/bin/python"
    host = checkout.steps("host_python").stdout
    assert checkout.steps(script).stdout == f"{host}{host}{ours}\n{host}"


def test_a_setting_is_read_whole(checkout: Checkout) -> None:
    script = "SETTINGS=$'A=1\\nDB_HOST=a=b c\\nDB_HOSTS=no'\nsetting DB_HOST; echo '|'; setting NONE"
    assert checkout.steps(script).stdout == "a=b c|\n"


@pytest.mark.parametrize(
    ("bound", "reached"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("192.0.2.1", "192.0.2.1")],
)
def test_the_address_shown_is_one_that_can_be_reached(checkout: Checkout, bound: str, reached: str) -> None:
    assert checkout.steps(f"SETTINGS=BIND_ADDRESS={bound}\nreachable_address").stdout == reached


@pytest.mark.parametrize(
    ("version", "enough"),
    [
        ("2.20.0", True),
        ("v2.26.1-4", True),
        ("5.0.1", True),
        ("2.19.9", False),
        ("1.29.2", False),
        ("", False),
    ],
)
def test_compose_versions(checkout: Checkout, version: str, enough: bool) -> None:
    script = f"docker() {{ echo '{version}'; }}\ncompose_is_new_enough && echo yes || echo no"
    assert checkout.steps(script).stdout == ("yes\n" if enough else "no\n")


def test_problems_are_counted_and_end_the_checks(checkout: Checkout) -> None:
    done = checkout.steps(
        "complain one\nprintf 'two\\n\\nthree\\n' | cat >f; complain_lines <f\nfinish_checks; echo on"
    )
    assert done.returncode == 1
    assert "3 problem(s) found; nothing has been changed." in done.stdout
    assert "on\n" not in done.stdout


def test_disk_space_counts_symbols_and_days(checkout: Checkout) -> None:
    script = "ENGINE=local EXCHANGE=live OLD_ENGINE=local OLD_EXCHANGE=live\n"
    script += "SETTINGS=$'SYMBOLS=A,B\\nHISTORY_DAYS=100'\n"
    done = checkout.steps(script + "source deploy/steps/check-disk.sh; needed_mib")
    assert done.stdout == "1224\n"


def test_too_little_disk_is_a_problem(checkout: Checkout) -> None:
    script = (
        "ENGINE=local EXCHANGE=live\nSETTINGS=$'SYMBOLS=A\\nHISTORY_DAYS=1'\nOLD_ENGINE='' OLD_EXCHANGE=''\n"
    )
    script += (
        "df() { printf 'x\\nx 1 1 2048 1 /\\n'; }\nsource deploy/steps/check-disk.sh; echo problems=$PROBLEMS"
    )
    done = checkout.steps(script)
    assert (
        "has 2 MiB free; this deployment needs about 1025 MiB. Free some, or set fewer SYMBOLS" in done.stdout
    )
    assert "problems=1" in done.stdout


def test_purge_wants_an_answer(checkout: Checkout) -> None:
    (checkout.path / ".local").mkdir()
    (checkout.path / ".local/kept").touch()
    done = checkout.run("./cleanup.sh", "--purge")
    assert done.returncode == 1
    assert (checkout.path / ".local/kept").exists()


def test_purge_takes_what_deploy_made_and_nothing_else(checkout: Checkout) -> None:
    (checkout.path / ".local").mkdir()
    (checkout.path / "notes.txt").touch()
    checkout.write_env("DB_PASSWORD=a\n")
    before = sorted(path.name for path in checkout.path.iterdir() if path.name != ".local")
    done = checkout.run("./cleanup.sh", "--purge", "--yes")
    assert done.returncode == 0, done.stdout
    assert "the backups (BACKUP_DIR) are kept" in done.stdout
    assert sorted(path.name for path in checkout.path.iterdir()) == before
    assert checkout.read_env() == "DB_PASSWORD=a\n"


def test_no_index_address_in_the_locks() -> None:
    root = Path(__file__).resolve().parent.parent.parent
    for lock in root.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text
        assert all(line.startswith((" ", "#")) or "==" in line for line in text.splitlines() if line)
