"""Stops what writes to the local database, and leaves the database and the simulated exchange running."""

from __future__ import annotations

import programs
import supervision

if __name__ == "__main__":
    for name in reversed(programs.load()):
        if name not in ("timescaledb", "exchange-simulator"):
            supervision.stop_program(name)
