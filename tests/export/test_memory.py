"""What an export needs does not grow with its range."""

from __future__ import annotations

import json
from pathlib import Path

from tests.export.stored import DELAY_MS, begin, run, text
from tests.features.samples import START

from marketdata.database import Connection
from marketdata.features.registry import NAMES
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings

SMALL, LARGE = 6, 48
"""Days."""
KEPT_MB = (LARGE - SMALL) * 1440 * len(NAMES) * 8 / 1e6
"""What the larger range's rows take, were they kept: more than 16."""

PROGRAM = """
import json, re, sys
from marketdata.export import export
written = export(sys.argv[1], symbols=["BTCUSDT"], start=sys.argv[2], end=sys.argv[3], part_minutes=1440,
                 labels=["barrier:60:0.005:0.005"])
# Not ru_maxrss: that of a program just started is its parent's.
peak = re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())
print(json.dumps([written.rows, int(peak[1]) / 1024]))
"""


async def test_memory_is_that_of_a_part(
    connection: Connection, database: DatabaseSettings, tmp_path: Path
) -> None:
    await begin(connection, ["BTCUSDT"], LARGE * 1440)
    await connection.execute(
        "INSERT INTO candles_1m SELECT 'BTCUSDT', time, 100 + 10 * sin(n), 112, 88, 100 + 10 * sin(n + 1),"
        " n % 97, n % 97 * 100, n % 97, n % 90, n % 90 * 100, 'stream',"
        " time + $3::integer * interval '1 millisecond'"
        " FROM generate_series(0, $1::integer - 1) AS n,"
        " LATERAL (SELECT $2::timestamptz + n * interval '1 minute') AS t (time)",
        LARGE * 1440, START, MINUTE_MS + DELAY_MS,
    )  # fmt: skip
    peaks = []
    for days in (SMALL, LARGE):
        done = run(database, "-c", PROGRAM, str(tmp_path / f"{days}.parquet"), text(1), text(days * 1440))
        assert done.returncode == 0, done.stderr
        rows, peak = json.loads(done.stdout)
        assert rows == days * 1440 - 1
        peaks.append(peak)
    assert peaks[1] - peaks[0] < KEPT_MB / 2, peaks
