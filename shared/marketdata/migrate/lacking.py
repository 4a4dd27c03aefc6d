"""What a kind of server lacks, in words, for the migration's output and ``/health``."""

from __future__ import annotations

from typing import Final

LACKING: Final = {
    "community": "",
    "apache": "TimescaleDB's Apache edition: hypertables, but no columnstore, policies or continuous"
    " aggregates. candles_5m … candles_1d are plain views, and the gap-handler runs the nightly jobs.",
    "plain": "PostgreSQL without TimescaleDB: plain tables and views, no compression. The gap-handler"
    " runs the nightly jobs and retention.",
}
"""What a server lacks, in a sentence, by ``server_kind()``."""
