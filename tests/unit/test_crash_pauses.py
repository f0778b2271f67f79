from __future__ import annotations

import pytest

from tests.crash.pauses import Round, pauses_s
from tests.crash.plan import make_plan

FAULT = make_plan(1, 1).faults[0]


def round_(struck_ms: int, until_ms: int) -> Round:
    return Round(fault=FAULT, begun_ms=struck_ms - 500, struck_ms=struck_ms, until_ms=until_ms)


def test_a_pause_is_the_longest_wait_between_outputs_after_the_fault() -> None:
    steady = list(range(0, 10_000, 100))
    stopped = [t for t in steady if not 2_000 < t < 5_000]
    found = pauses_s(round_(1_950, 9_000), {0: steady, 1: stopped})
    assert found == pytest.approx({0: 0.1, 1: 3.0})


def test_a_wait_that_the_fault_cut_into_counts_from_the_fault() -> None:
    assert pauses_s(round_(1_000, 4_000), {0: [0, 3_000, 3_900]}) == {0: 2.0}


def test_what_came_after_the_round_is_not_its_own() -> None:
    times = [1_000, 1_100, 1_200, 9_000]
    assert pauses_s(round_(1_000, 1_300), {0: times}) == {0: 0.1}


def test_a_partition_that_never_came_back_waited_to_the_end() -> None:
    assert pauses_s(round_(1_000, 61_000), {0: [900], 1: []}) == {0: 60.0, 1: 60.0}
