from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.detectors import MAX_VALUE, limit

NOTHING = np.zeros(limit.FIELDS)
NONE = np.array([limit.DEFAULTS[name] for name in limit.PARAMS])


@pytest.mark.parametrize(
    ("low", "high", "value", "score"),
    [
        (-math.inf, 1603.0, 1607.0, 1.0),
        (-math.inf, 1603.0, 1603.0, 0.0),
        (-math.inf, 1603.0, 1599.0, -1.0),
        (551.7, math.inf, 551.7, 0.0),
        (551.7, math.inf, 547.7, 1.0),
        (0.0, 100.0, 50.0, -12.5),
        (-math.inf, math.inf, 1e9, -math.inf),
    ],
)
def test_scores_count_hystereses_beyond_the_limit(
    low: float, high: float, value: float, score: float
) -> None:
    assert limit.step(NOTHING, np.array([low, high, 4.0]), value, 0.0) == score


@settings(deadline=None)  # the first call compiles
@given(st.floats(-MAX_VALUE, MAX_VALUE))
def test_a_metric_without_limits_never_scores(value: float) -> None:
    assert limit.step(NOTHING, NONE, value, 0.0) == -math.inf


def test_it_tells_which_limit_and_how_far_beyond() -> None:
    param = np.array([10.0, 90.0, 1.0])
    assert limit.explain(NOTHING, param, 95.0) == {
        "limit": 90.0,
        "direction": 1.0,
        "beyond": 5.0,
    }
    assert limit.explain(NOTHING, param, 8.0) == {"limit": 10.0, "direction": -1.0, "beyond": 2.0}


def test_confidence_is_that_of_the_sign_test() -> None:
    assert limit.confidence(0.0, 3) == 0.875
    assert limit.confidence(9.0, 1) == 0.5
