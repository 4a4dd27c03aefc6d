"""Runs deploy/newest.py with the local services' settings."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import programs

if __name__ == "__main__":
    os.environ.update(programs.load()["data-feeder"].environment)
    runpy.run_path(str(Path(sys.path[0]).parent / "newest.py"), run_name="__main__")
