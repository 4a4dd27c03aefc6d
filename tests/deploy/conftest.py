"""Copies of the checkout to deploy from, and what this machine can run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.deploy.checkouts import Checkout

ROOT = Path(__file__).resolve().parent.parent.parent
_SERVICES = ("timescaledb", "migrate", "feeder", "gap-handler", "pgadmin", "backup", "exchange-simulator")
_LEFT_OUT = (
    ".git",
    ".venv*",
    ".local",
    ".env",
    "__pycache__",
    "*.egg-info",
    "build",
    ".*_cache",
    ".hypothesis",
    "backups",
)
_IMAGES = ("timescale/timescaledb:2.29.2-pg17", "dpage/pgadmin4:9.18", "python:3.13-slim-trixie")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh copy of the repository, without anything a deployment or a test run left in it."""
    target = tmp_path / "market-data"
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)
    return Checkout(target)


def _answers(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.fixture(scope="session")
def compose() -> Callable[[Path], str]:
    """``docker compose config --format json`` of a folder; needs the client alone."""
    if not _answers("docker", "compose", "version"):
        pytest.skip("docker compose is not installed")

    def config(folder: Path) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        done = subprocess.run(
            ["docker", "compose", "config", "--format", "json"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout if done.returncode == 0 else ""

    return config


@pytest.fixture
def docker_engine() -> None:
    """A Docker engine with the images at hand, and nobody else's containers under our names."""
    if not _answers("docker", "info") or not _answers("docker", "compose", "version"):
        pytest.skip("no Docker engine with Compose v2 answers")
    missing = [image for image in _IMAGES if not _answers("docker", "image", "inspect", image)]
    if missing:
        pytest.skip(f"images are not here: {', '.join(missing)}")
    taken = [name for name in _SERVICES if _answers("docker", "container", "inspect", f"btc-ml-{name}")]
    if taken:
        pytest.skip(f"a deployment of this machine has the names: {', '.join(taken)}")
