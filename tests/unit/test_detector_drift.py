from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.drift import ADOPT, Drift, History, Side, at_least, at_most, observe
from pipeline.core.rules import DriftRule

RULE = DriftRule(block_readings=1_000, p=1e-4)


def blocks(history: History, counts: list[int]) -> tuple[History, list[Drift]]:
    found: list[Drift] = []
    for count in counts:
        history, drifts = observe(history, 1_000, range(count), RULE)
        found += drifts
    return history, found


def ordinary(number: int, rate: float, seed: int = 1) -> list[int]:
    return [int(n) for n in np.random.default_rng(seed).poisson(rate, number)]


def test_tails_are_those_of_the_negative_binomial() -> None:
    # r = 2.5, success probability 0.8: summed by hand from the formula.
    mass = [
        math.gamma(k + 2.5) / math.factorial(k) / math.gamma(2.5) * 0.8**2.5 * 0.2**k
        for k in range(100)
    ]
    for count in (2, 5, 9):
        assert at_least(count, 2.0, 4.0) == pytest.approx(sum(mass[count:]))
    assert at_most(0, 2.0, 4.0) == pytest.approx(mass[0])


@given(st.floats(0, 1e3), st.floats(5, 50), st.integers(0, 2_000))
def test_tails_are_probabilities_and_add_up(alarms: float, number: float, count: int) -> None:
    expected = (alarms + 0.5) / number
    more, fewer = at_least(count, alarms, number), at_most(count, alarms, number)
    assert 0.0 <= more <= 1.0
    assert 0.0 <= fewer <= 1.0
    if count > expected:
        assert more == pytest.approx(1.0 - _below(count - 1, alarms, number), abs=1e-6)


def _below(count: int, alarms: float, number: float) -> float:
    """P(at most count), summed upwards from 0 whatever is expected."""
    r, q = alarms + 0.5, 1.0 / (number + 1.0)
    term = math.exp(r * math.log1p(-q))
    total = term
    for k in range(count):
        term *= (k + r) / (k + 1.0) * q
        total += term
    return total


def test_a_rate_that_stays_raises_nothing() -> None:
    for seed in range(20):
        assert blocks(History(), ordinary(300, 4.0, seed))[1] == []


def test_a_rate_that_rises_is_told_once_and_becomes_the_new_normal() -> None:
    history, found = blocks(History(), ordinary(60, 4.0))
    assert found == []
    history, found = blocks(history, [40, 38, 41])
    assert [(d.side, d.alarms, d.at) for d in found] == [(Side.MORE, 40, 1_000)]
    assert found[0].tail < 1e-9
    assert found[0].confidence > 0.999
    assert 3.0 < found[0].expected < 5.0
    history, found = blocks(history, [40] * (ADOPT - 3) + [39, 42, 40])
    assert found == []
    history, found = blocks(history, [4])
    assert [d.side for d in found] == [Side.FEWER]


def test_a_detector_that_falls_silent_is_told_where_it_had_enough_to_say() -> None:
    often, _ = blocks(History(), [20] * 40)
    assert [d.side for d in blocks(often, [0])[1]] == [Side.FEWER]
    seldom, _ = blocks(History(), [0, 1] * 20)
    assert blocks(seldom, [0] * 30)[1] == []


def test_a_young_history_judges_nothing() -> None:
    assert blocks(History(), [0, 0, 0, 0, 500])[1] == []


def test_one_bad_block_does_not_become_the_norm() -> None:
    history, _ = blocks(History(), [4] * 40)
    after, found = blocks(history, [400])
    assert len(found) == 1
    assert after.expected_alarms == history.expected_alarms
    assert [d.alarms for d in blocks(after, [4, 300])[1]] == [300]


@given(
    st.lists(st.integers(0, 9_999), max_size=60),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_how_the_stream_is_cut_changes_nothing(alarms: list[int], cuts: list[int]) -> None:
    rule = DriftRule(block_readings=700, p=0.05)
    alarms.sort()
    whole = observe(History(), 10_000, alarms, rule)
    history = History()
    found: list[tuple[int, Side, int, float]] = []
    edges = [0, *sorted(cuts), 10_000]
    for start, end in pairwise(edges):
        part = [n - start for n in alarms if start <= n < end]
        history, drifts = observe(history, end - start, part, rule)
        found += [(start + d.at, d.side, d.alarms, d.tail) for d in drifts]
    assert history == whole[0]
    assert found == [(d.at, d.side, d.alarms, d.tail) for d in whole[1]]


@given(st.lists(st.integers(0, 40), max_size=60))
def test_a_state_that_was_written_and_read_is_the_same(counts: list[int]) -> None:
    history, _ = blocks(History(), counts)
    assert History.from_bytes(history.to_bytes()) == history


def test_damaged_state_is_refused() -> None:
    with pytest.raises(ValueError, match="damaged"):
        History.from_bytes(History().to_bytes()[:-1])
    with pytest.raises(ValueError, match="version 7"):
        History.from_bytes(b"\x07" + History().to_bytes()[1:])
