"""``python -m marketdata.document``: the tables of settings and metrics in ``docs/``, from the code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from marketdata import metrics
from marketdata.settings import SETTINGS

_GENERATED: Final = "<!-- Made by python -m marketdata.document; a test keeps it true. -->\n"


def configuration() -> str:
    """Return ``docs/configuration.md``."""
    rows = "\n".join(
        f"| `{s.name}` | {'*secret*' if s.secret else f'`{s.default}`' if s.default else ''} | {s.doc} |"
        for s in SETTINGS
    )
    return f"""# Configuration
{_GENERATED}
Settings are read once at a service's start, from the environment; `deploy.sh` fills that from `.env`. Every
problem is reported at once, by name, and stops the start. An empty value means the default. Unknown names
are an error in `.env` and nobody's business in the environment.

| setting | default | meaning |
|---|---|---|
{rows}

How `.env` is read, and what a change takes to apply: [deployment](deployment.md#settings).
"""


def _kind(metric: MetricWrapperBase) -> str:
    kinds: dict[type[MetricWrapperBase], str] = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
    return next(kind for type_, kind in kinds.items() if isinstance(metric, type_))


def metric_table() -> str:
    """Return ``docs/metrics.md``."""
    found = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    rows = []
    for metric in found:
        (family,) = metric.describe()
        name = family.name + ("_total" if isinstance(metric, Counter) else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        rows.append(f"| `{name}` | {_kind(metric)} | {labels} | {family.documentation} |")
    table = "\n".join(rows)
    return f"""# Metrics
{_GENERATED}
Both services answer `GET /metrics` in Prometheus' text format. Durations are in seconds.

| metric | kind | labels | meaning |
|---|---|---|---|
{table}
"""


DOCUMENTS: Final[dict[str, Callable[[], str]]] = {
    "docs/configuration.md": configuration,
    "docs/metrics.md": metric_table,
}


def outdated(root: Path) -> list[str]:
    """Return the documents under ``root`` that differ from what the code says."""
    return [
        name
        for name, render in DOCUMENTS.items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != render()
    ]


def main() -> int:
    """Write the documents, or with ``--check`` say which are outdated and return 1."""
    parser = argparse.ArgumentParser(prog="marketdata.document", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something is outdated")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    arguments = parser.parse_args()
    late = outdated(arguments.root)
    if arguments.check:
        print("\n".join(f"{name} is outdated: run python -m marketdata.document" for name in late))
        return int(bool(late))
    for name in late:
        (arguments.root / name).write_text(DOCUMENTS[name](), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
