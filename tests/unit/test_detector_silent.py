from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.detectors.silent import overdue


def found(last_ms: list[int], reported: list[bool], after_ms: int, now_ms: int) -> list[int]:
    given_last = np.array(last_ms, dtype=np.int64)
    given_reported = np.array(reported, dtype=np.bool_)
    return [int(n) for n in overdue(given_last, given_reported, after_ms, now_ms)]


def test_who_was_not_heard_for_longer_than_allowed_is_overdue_once() -> None:
    last = [1_000, 5_000, 4_999, 0, 1_000]
    assert found(last, [False, False, False, False, True], 5_000, 10_000) == [0, 2]


def test_a_clock_that_went_back_makes_nobody_overdue() -> None:
    assert found([9_000], [False], 0, 8_000) == []


def test_no_devices_are_no_news() -> None:
    assert found([], [], 1, 1) == []


@given(
    st.lists(st.tuples(st.integers(0, 10**13), st.booleans()), max_size=50),
    st.integers(0, 10**9),
    st.integers(0, 10**13),
)
def test_it_is_the_rule_device_by_device(
    devices: list[tuple[int, bool]], after_ms: int, now_ms: int
) -> None:
    expected = [
        n
        for n, (last, told) in enumerate(devices)
        if last > 0 and not told and now_ms - last > after_ms
    ]
    assert found([d[0] for d in devices], [d[1] for d in devices], after_ms, now_ms) == expected
