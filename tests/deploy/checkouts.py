"""A copy of the repository to deploy from, and ports to deploy on."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path


class Checkout:
    """A copy of the repository, with the shell steps run as a user runs them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *command: str, seconds: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout with a small environment; stdout and stderr come together."""
        keep = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "DOCKER_HOST", "PYENV_VERSION")
        inherited = {name: os.environ[name] for name in os.environ if name in keep or name.startswith("PIP_")}
        return subprocess.run(
            command,
            cwd=self.path,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )

    def steps(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run some shell with the deployment's libraries loaded, as deploy.sh loads them."""
        libraries = "".join(
            f"source deploy/lib/{name}.sh\n" for name in ("console", "python", "settings", "compose")
        )
        return self.run("bash", "-c", f"set -euo pipefail\n{libraries}{script}", seconds=60, **environment)

    def write_env(self, text: str) -> None:
        """Write the checkout's ``.env``."""
        (self.path / ".env").write_text(text, encoding="utf-8", newline="")

    def read_env(self) -> str:
        """The text of the checkout's ``.env``."""
        return (self.path / ".env").read_bytes().decode("utf-8")


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
