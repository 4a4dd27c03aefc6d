"""Labels against their definitions, word by word, in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.export.conftest import Exported
from tests.export.stored import at, begin, numbers, put, seeded, text

from marketdata.database import Connection
from marketdata.export.labels import Label, Prices, columns, parse
from marketdata.store import ledger

Bar = tuple[float, float, float] | None
"""Close, high, low; None where there is no real candle."""


def plain(label: Label, bars: list[Bar], row: int) -> tuple[float | None, ...]:
    """What the definition says of one row."""
    nothing = (None,) * len(label.names)
    needed = bars[row : row + label.horizon + 1]
    if len(needed) <= label.horizon or any(bar is None for bar in needed):
        return nothing
    now, *future = [bar for bar in needed if bar is not None]
    if label.kind == "return":
        return (math.log(future[-1][0] / now[0]),)
    if label.kind == "direction":
        return (float((future[-1][0] > now[0]) - (future[-1][0] < now[0])),)
    for minute, (_, high, low) in enumerate(future, start=1):
        up, down = high >= now[0] * (1 + label.up), low <= now[0] * (1 - label.down)
        if up and down:
            return (None, minute)
        if up or down:
            return (1.0 if up else -1.0, minute)
    return (0.0, label.horizon)


@st.composite
def histories(draw: st.DrawFn) -> list[Bar]:
    size = draw(st.integers(1, 40))
    closes = draw(st.lists(st.integers(90, 110), min_size=size, max_size=size))
    reach = draw(st.lists(st.integers(0, 8), min_size=2 * size, max_size=2 * size))
    absent = draw(st.sets(st.integers(0, size - 1), max_size=2))
    return [
        None if n in absent else (close, close + reach[2 * n], close - reach[2 * n + 1])
        for n, close in enumerate(map(float, closes))
    ]


LABELS = st.one_of(
    st.builds(Label, st.sampled_from(["return", "direction"]), st.integers(1, 12)),
    st.builds(
        Label,
        st.just("barrier"),
        st.integers(1, 12),
        st.sampled_from([0.02, 0.05]),
        st.sampled_from([0.03, 0.1]),
    ),
)


@settings(max_examples=400, deadline=None)
@given(histories(), LABELS, st.data())
def test_labels_are_what_their_definition_says(bars: list[Bar], label: Label, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, len(bars)))
    laid = np.full((3, rows + label.horizon), np.nan)
    for n, bar in enumerate(bars[: rows + label.horizon]):
        laid[:, n] = np.nan if bar is None else bar
    got = columns(label, Prices(*laid), rows)
    assert tuple(column.name for column in got) == label.names
    for row in range(rows):
        for column, expected in zip(got, plain(label, bars[: rows + label.horizon], row), strict=True):
            value = column.values[row]
            assert np.isnan(value) if expected is None else value == pytest.approx(expected, abs=1e-15)


def test_a_label_is_written_as_it_is_asked_for() -> None:
    assert parse(" barrier:60:0.005:0.01 ").text == "barrier:60:0.005:0.01"
    assert parse("barrier:5:1e-2:0.5").names == (
        "label_barrier_5_0.01_0.5",
        "label_barrier_5_0.01_0.5_minutes",
    )
    assert parse("return:15").names == ("label_return_15",)


@pytest.mark.parametrize(
    "text",
    ["", "return", "return:", "return:x", "return:1.5", "return:-1", "return:10081", "return:5:1",
     "barrier:5", "barrier:5:0:0.1", "barrier:5:nan:0.1", "barrier:5:inf:0.1", "barrier:5:0.1:1",
     "barrier:5:a:b"],
)  # fmt: skip
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a label|horizon|barriers|UP must"):
        parse(text)


async def test_a_hole_an_outage_and_the_present_end_what_labels_know(
    connection: Connection, exported: Exported
) -> None:
    await begin(connection, ["BTCUSDT"], 400)
    table = seeded(400)
    await put(connection, "BTCUSDT", np.delete(table, [200, 300, 301], axis=0))
    await ledger.record_outage(connection, "BTCUSDT", at(300), at(302), confirm_seconds=0)
    found = exported(
        start=text(150), end=text(401), features=["return_1m"], labels=["return:10", "barrier:10:9:0.9"]
    )
    known = {
        int(minute): value
        for minute, value in zip(
            (numbers(found, "time") - at(0)) // 60_000, numbers(found, "label_return_10"), strict=True
        )
    }
    # The row at t needs the candles t - 1 to t + 9.
    gone = {m for m in known if any(m - 1 <= hole <= m + 9 for hole in (200, 300, 301, *range(400, 420)))}
    assert {m for m, value in known.items() if np.isnan(value)} == gone
    assert {191, 390} & gone == {191}
    assert known[170] == math.log(table[179, 4] / table[169, 4])
    # Nothing reaches such barriers: what is not null is 0, at the horizon.
    assert set(numbers(found, "label_barrier_10_9.0_0.9")[:30]) == {0.0}
    assert set(numbers(found, "label_barrier_10_9.0_0.9_minutes")[:30]) == {10.0}


@pytest.mark.leak
async def test_no_feature_sees_how_far_labels_look(connection: Connection, exported: Exported) -> None:
    await begin(connection, ["BTCUSDT", "ETHUSDT"], 2000)
    await put(connection, "BTCUSDT", seeded(2000))
    await put(connection, "ETHUSDT", seeded(2000, seed=2))
    asked = {"symbols": ["ETHUSDT"], "start": text(1600), "end": text(1700)}
    alone = exported(**asked)
    for labels in (["return:1"], ["return:200", "barrier:250:0.001:0.001"]):
        beside = exported(**asked, labels=labels)
        assert beside.drop_columns([n for n in beside.column_names if n.startswith("label_")]).equals(alone)


@pytest.mark.leak
async def test_noise_after_a_row_changes_none_of_its_features(
    connection: Connection, exported: Exported
) -> None:
    await begin(connection, ["BTCUSDT", "ETHUSDT"], 2000)
    for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT"), start=1):
        await put(connection, symbol, seeded(2000, seed))
    asked = {"symbols": ["ETHUSDT", "BTCUSDT"], "labels": ["return:30"]}
    before = exported(**asked, start=text(1500), end=text(1601))
    await connection.execute("DELETE FROM candles_1m WHERE time >= $1", at(1600))
    for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT"), start=8):
        await put(connection, symbol, seeded(2000, seed)[1600:])
    after = exported(**asked, start=text(1500), end=text(1601))
    assert after.drop_columns("label_return_30").equals(before.drop_columns("label_return_30"))
    # The noise is real: what labels know of it differs.
    assert not after.equals(before)
