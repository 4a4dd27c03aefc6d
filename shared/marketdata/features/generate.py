"""Write what follows from the registry: ``python -m marketdata.features.generate [--check]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from marketdata.features.document import render_document
from marketdata.features.view import render_view

TARGETS: Final[dict[str, Callable[[], str]]] = {
    "timescaledb/repeatable/45_feature_matrix.sql": render_view,
    "docs/features.md": render_document,
}
"""Generated files, relative to the repository's root."""

_CHECKOUT: Final = Path(__file__).resolve().parents[3]


def outdated(root: Path) -> list[str]:
    """The generated files under ``root`` that are missing or not what the registry says."""
    return [name for name, render in TARGETS.items() if _read(root / name) != render()]


def write(root: Path) -> list[str]:
    """Bring the generated files under ``root`` up to date; returns those that changed."""
    changed = outdated(root)
    for name in changed:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TARGETS[name](), encoding="utf-8", newline="\n")
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with ``--check`` only say which are out of date and return 1 if any is."""
    parser = argparse.ArgumentParser(prog="python -m marketdata.features.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    parser.add_argument("--root", type=Path, default=_CHECKOUT, help="the repository (default: this one)")
    options = parser.parse_args(arguments)
    names = outdated(options.root) if options.check else write(options.root)
    for name in names:
        sys.stdout.write(f"{'out of date' if options.check else 'written'}: {name}\n")
    return 1 if options.check and names else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
