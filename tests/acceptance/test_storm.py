"""The promise, with everything going wrong at once: every minute is accounted for, and true.

Three symbols and 28 real days, 21 of them streamed at 12,000 times their speed while the exchange, the
database and both services fail in every way the simulator knows (`storm_script`). A storm that fails
says its seed, the minutes that are wrong with their rows of the ledger, and where its logs are.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from tests.acceptance import storm_verdict
from tests.acceptance.storm import Storm
from tests.acceptance.storm_script import (
    CALM,
    COUNTS,
    DAY_MS,
    FIRST,
    LEFT_OUT,
    LIVE,
    PROCESS_KINDS,
    REAL_HALT,
    SYMBOLS,
    UNAIDED,
    script,
)
from tests.acceptance.truth import archived
from tests.conftest import migrate

from exchange_simulator.faults.model import KINDS, checked
from marketdata import database as db
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS

SEEDS = (1, 2, 3)
RAGING = tuple(int(seed) for seed in os.environ.get("STORM_SEEDS", "1,2").split(","))
"""Each has every kind of trouble, which the scripts' own tests see to; another is another order of it."""
DAYS = [isoformat(FIRST + n * DAY_MS)[:10] for n in range(28)]
COMMON = {"symbol", "count", "for_seconds", "seed"}


def test_a_script_follows_from_its_seed_alone() -> None:
    assert script(1) == script(1)
    assert script(1) != script(2)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_script_has_every_kind_at_its_time(seed: int) -> None:
    events = script(seed)
    counted = Counter(event.kind for event in events)
    assert set(COUNTS) == KINDS.keys() | set(PROCESS_KINDS), "every kind has its place in the storm"
    assert counted.keys() == COUNTS.keys() - LEFT_OUT.keys()
    assert sum(counted[kind] for kind in KINDS) >= 200
    assert min(counted[f"kill_{victim}"] for victim in ("feeder", "handler", "database")) >= 5
    assert events == sorted(events, key=lambda event: event.at)
    assert all(LIVE <= event.at < (UNAIDED if event.kind in PROCESS_KINDS else CALM) for event in events)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_script_asks_for_nothing_that_would_make_a_false_record(seed: int) -> None:
    for event in script(seed):
        if event.kind in KINDS:
            checked(event.kind, {k: v for k, v in event.params.items() if k not in COMMON})
        if event.kind == "rest_missing_rows":
            assert event.params["count"] < 4, "hidden from both looks it would be a true outage"
        if event.kind == "halt":
            assert abs(event.at - REAL_HALT[0]) > 180 * MINUTE_MS, "the real one is to be found as it was"
        if event.kind == "alter_final":
            assert event.at < UNAIDED, "what mends it comes in the night"


@pytest.mark.acceptance
@pytest.mark.promise
@pytest.mark.timeout(540)
@pytest.mark.parametrize("seed", RAGING)
async def test_every_minute_survives_the_storm(seed: int, real_data: Path, tmp_path: Path) -> None:
    recorded = archived(real_data, SYMBOLS, DAYS)
    assert len(recorded) == 3 * (28 * 1440 - 80)
    storm = Storm(seed, script(seed), real_data / "spot_daily_zips" / "1m", tmp_path)
    try:
        async with storm:
            await migrate(storm.database.settings, policies=False)
            await storm.rage()
            truth = storm_verdict.without_halts(recorded, storm.halts)
            connection = await db.connect(storm.database.settings, "test")
            try:
                await storm_verdict.settle(storm, connection, len(truth), seconds=90)
                await storm_verdict.judge(storm, connection, truth)
            finally:
                await connection.close()
    except BaseException as error:
        error.add_note(storm_verdict.account(storm))
        raise
