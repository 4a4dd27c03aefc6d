"""The order of minutes: heads, holes, late and repeated candles."""

from hypothesis import given
from hypothesis import strategies as st

from data_feeder.sequence import LATE_AFTER_MS, Hole, Sequence
from marketdata.models import MINUTE_MS, Candle, KlineEvent

T0 = 1679616000000


def event(minute: int, *, final: bool = True, after_ms: int = 60_020) -> KlineEvent:
    time = T0 + minute * MINUTE_MS
    return KlineEvent(time + after_ms, final, Candle("B", time, 1, 1, 1, 1, 0, 0, 0, 0, 0))


def hole(start: int, end: int, cause: str = "jump") -> Hole:
    return Hole("B", T0 + start * MINUTE_MS, T0 + end * MINUTE_MS, cause)


def sequence() -> Sequence:
    """Everything before minute 0 is accounted for."""
    return Sequence("B", T0 - MINUTE_MS)


def test_consecutive_minutes_are_heads_without_holes() -> None:
    order = sequence()
    for minute in range(5):
        assert order.observe(event(minute)) == (True, None)


def test_a_jump_is_a_hole_and_still_the_head() -> None:
    order = sequence()
    order.observe(event(0))
    assert order.observe(event(4)) == (True, hole(1, 4))


def test_the_first_candle_after_a_start_may_reveal_a_hole() -> None:
    assert sequence().observe(event(3)) == (True, hole(0, 3))


def test_repeated_and_older_candles_are_not_heads() -> None:
    order = sequence()
    order.observe(event(0))
    order.observe(event(1))
    assert order.observe(event(1)) == (False, None)
    assert order.observe(event(0)) == (False, None)


def test_an_overdue_final_frame_is_a_hole_once() -> None:
    order = sequence()
    order.observe(event(0))
    assert order.observe(event(2, final=False, after_ms=LATE_AFTER_MS - 1)).hole is None
    assert order.observe(event(2, final=False, after_ms=LATE_AFTER_MS)).hole == hole(1, 2, "late")
    assert order.observe(event(2, final=False, after_ms=LATE_AFTER_MS + 2000)).hole is None


def test_a_candle_that_comes_after_its_hole_was_reported_is_a_repair() -> None:
    order = sequence()
    order.observe(event(0))
    order.observe(event(2, final=False, after_ms=LATE_AFTER_MS))
    assert order.observe(event(1, after_ms=70_000)) == (False, None)
    assert order.observe(event(2)) == (True, None)


def test_the_next_final_does_not_report_an_overdue_one_again() -> None:
    order = sequence()
    order.observe(event(0))
    order.observe(event(2, final=False, after_ms=LATE_AFTER_MS))
    assert order.observe(event(2)) == (True, None)


def test_silence_owes_whole_minutes_once() -> None:
    order = sequence()
    order.observe(event(0))
    now = T0 + 3 * MINUTE_MS + 5_000
    assert order.overdue(now, "silence") == hole(1, 3, "silence")
    assert order.overdue(now, "silence") is None
    assert order.observe(event(5)).hole == hole(3, 5)


@given(st.lists(st.integers(0, 40), max_size=60), st.lists(st.booleans(), min_size=60, max_size=60))
def test_every_minute_up_to_the_head_is_seen_or_reported_exactly_once(
    minutes: list[int], finals: list[bool]
) -> None:
    order = sequence()
    seen: set[int] = set()
    reported: list[int] = []
    for minute, final in zip(minutes, finals, strict=False):
        step = order.observe(event(minute, final=final, after_ms=60_020 if final else LATE_AFTER_MS))
        if final:
            seen.add(minute)
        if step.hole:
            reported += range((step.hole.start - T0) // MINUTE_MS, (step.hole.end - T0) // MINUTE_MS)
    assert len(reported) == len(set(reported))
    head = (order.head - T0) // MINUTE_MS
    assert set(range(head + 1)) <= seen | set(reported)
