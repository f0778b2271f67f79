from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.detectors import MAX_VALUE, usage

Floats = npt.NDArray[np.float64]
PARAM = np.array([250.0, 0.0, 0.5])


def run(values: list[float], param: Floats = PARAM) -> tuple[Floats, list[float]]:
    state = np.zeros(usage.FIELDS)
    return state, [usage.step(state, param, value, 0.0) for value in values]


@pytest.mark.parametrize(
    ("values", "scores"),
    [
        ([0, 249, 250, 251, 499.9, 500], [0, 0, 1, 0, 0, 1]),
        ([900, 999, 1000], [0, 0, 1]),  # what lies behind the first sample raises nothing
        ([250, 251], [0, 0]),
        ([249, 251, 249, 251], [0, 1, 0, 0]),  # jitter at the mark
        ([100, 1100, 1101], [0, 1, 0]),  # four marks at once
        ([600, 10, 249, 250], [0, 0, 0, 1]),  # reset
        ([600, 0, 601, 749, 750], [0, 0, 0, 0, 1]),  # one bad reading
        ([600, 0, 0, 601], [0, 0, 0, 1]),  # two of them are a reset and a jump
        ([700, 0, 760], [0, 0, 1]),  # a bad reading just before the mark
        ([-600, -240, 0, 250], [0, 0, 0, 1]),
    ],
)
def test_a_mark_raises_once_when_it_is_passed(values: list[float], scores: list[float]) -> None:
    assert run(values)[1] == scores


def test_the_first_mark_may_be_another() -> None:
    param = np.array([250.0, 100.0, 0.5])
    assert run([0, 100, 250, 349, 350, 600], param)[1] == [0, 1, 0, 0, 1, 1]
    once = np.array([math.inf, 100.0, 0.5])
    state, scores = run([0, 100, 1e9], once)
    assert scores == [0, 1, 0]
    assert usage.explain(state, once, 1e9)["milestone"] == 100.0


def test_a_jump_names_the_last_mark_and_a_reset_is_told() -> None:
    state, _ = run([100, 1100])
    assert usage.explain(state, PARAM, 1100.0) == {
        "milestone": 1000.0,
        "next": 1250.0,
        "skipped": 3.0,
        "resets": 0.0,
        "value": 1100.0,
    }
    state, _ = run([1100, 20, 30])
    told = usage.explain(state, PARAM, 30.0)
    assert (told["resets"], told["milestone"], told["next"]) == (1.0, 0.0, 250.0)
    assert usage.explain(run([600, 0, 601])[0], PARAM, 601.0)["resets"] == 0.0


def test_without_an_interval_nothing_is_a_mark() -> None:
    param = np.array([usage.DEFAULTS[name] for name in usage.PARAMS])
    assert set(run([0, 1e5, 1e150], param)[1]) == {0.0}


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=60))
def test_a_counter_that_only_rises_raises_once_per_mark_interval_it_enters(
    values: list[int],
) -> None:
    rising = [float(v) for v in sorted(values)]
    expected = [0.0] + [float(b // 250 > a // 250) for a, b in pairwise(rising)]
    assert run(rising)[1] == expected


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.floats(-MAX_VALUE, MAX_VALUE), max_size=60))
def test_any_readings_leave_a_finite_state(values: list[float]) -> None:
    state, scores = run(values)
    assert np.isfinite(state).all()
    assert set(scores) <= {0.0, 1.0}


def test_confidence_is_certain_at_a_mark() -> None:
    assert usage.confidence(1.0, 1) == 1.0
    assert usage.confidence(0.0, 1) == 0.0
