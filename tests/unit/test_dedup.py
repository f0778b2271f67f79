from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.dedup import (
    BUCKET_MS,
    BUCKETS,
    DUPLICATE,
    FRESH,
    MIN_HASHES,
    TOO_LATE,
    Hashes,
    content_hashes,
    name_hash,
)
from pipeline.core.fleet import C_SESSIONS, SESSIONS
from tests.unit.one_device import Device


def hashed(seen: Hashes, samples: list[tuple[int, int]]) -> list[int]:
    return [seen.judge(time_ms, content, MIN_HASHES) for time_ms, content in samples]


class Naive:
    """Remembers everything; says by the definition what lies before the window."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.seen: dict[int, set[int]] = {}

    def judge(self, session: int, sequence: int) -> int:
        kept = sorted(self.seen)[-SESSIONS:]
        if session not in kept and len(kept) == SESSIONS and session < kept[0]:
            return TOO_LATE
        numbers = self.seen.setdefault(session, set())
        if numbers and sequence <= max(numbers) - self.window:
            return TOO_LATE
        if sequence in numbers:
            return DUPLICATE
        numbers.add(sequence)
        return FRESH


arrivals = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 60)), max_size=200)


@given(arrivals, st.integers(1, 150))
def test_numbered_samples_are_judged_as_by_a_set_that_forgets_nothing(
    samples: list[tuple[int, int]], window: int
) -> None:
    naive = Naive(window)
    expected = [naive.judge(*sample) for sample in samples]
    assert Device(window).all(samples) == expected


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=60),
    st.lists(st.integers(0, 59), max_size=40),
)
def test_reordering_and_replays_inside_the_window_lose_nothing(
    jitter: list[int], replays: list[int]
) -> None:
    order = sorted(range(len(jitter)), key=lambda i: (i + jitter[i], i))
    device = Device(64)
    assert device.all([(1, i) for i in order]) == [FRESH] * len(order)
    again = device.all([(1, i) for i in replays if i < len(order)])
    assert set(again) <= {DUPLICATE}


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=150))
def test_hashed_samples_are_judged_as_by_a_set_inside_the_bucket_window(
    samples: list[tuple[int, int]],
) -> None:
    everything: dict[int, set[int]] = {}
    expected = []
    for bucket, content in samples:
        kept = sorted(everything)[-BUCKETS:]
        if bucket not in kept and len(kept) == BUCKETS and bucket < kept[0]:
            expected.append(TOO_LATE)
        elif content in everything.setdefault(bucket, set()):
            expected.append(DUPLICATE)
        else:
            everything[bucket].add(content)
            expected.append(FRESH)
    found = hashed(Hashes(), [(bucket * BUCKET_MS, content) for bucket, content in samples])
    assert found == expected


def test_a_reboot_starts_a_new_window_and_late_samples_of_the_old_one_still_count() -> None:
    verdicts = Device(16).all([(5, 900), (6, 0), (5, 901), (6, 0), (5, 900)])
    assert verdicts == [FRESH, FRESH, FRESH, DUPLICATE, DUPLICATE]


def test_a_session_older_than_all_kept_is_too_late_for_ever() -> None:
    device = Device(16)
    samples = [(s, 0) for s in (1, 2, 3, 4, 5)]
    verdicts = device.all([*samples, (1, 0), (1, 7), (0, 1)])
    assert verdicts == [FRESH] * 5 + [TOO_LATE] * 3
    assert device.fleet.arrays.columns[0, C_SESSIONS] == SESSIONS


def test_a_wild_sequence_number_is_fresh_once_and_takes_no_time() -> None:
    wild = 1 << 62
    verdicts = Device(128).all([(1, 1), (1, wild), (1, wild - 1), (1, wild)])
    assert verdicts == [FRESH, FRESH, FRESH, DUPLICATE]


class NaiveResets:
    """A device that counts from 0 again with newer times, by the definition, with sets."""

    def __init__(self) -> None:
        self.seen: dict[int, set[int]] = {}

    def judge(self, life: int, sequence: int) -> int:
        numbers = self.seen.setdefault(life, set())
        if sequence in numbers:
            return DUPLICATE
        numbers.add(sequence)
        return FRESH


@given(
    st.lists(st.integers(40, 90), min_size=2, max_size=3),
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 6)), max_size=40),
)
def test_a_reset_without_a_new_session_loses_nothing_and_repeats_nothing(
    lives: list[int], replays: list[tuple[int, int]]
) -> None:
    """Each life of the device counts from 0; repetitions of up to 6 samples back are mixed in."""
    window = 32
    samples: list[tuple[int, int, int]] = []
    clock = 1_000
    for life, length in enumerate(lives):
        for sequence in range(length):
            clock += 10
            samples.append((life, sequence, clock))
    order = list(samples)
    for place, back in sorted(replays, reverse=True):
        at = place % len(samples)
        order.insert(at + 1, samples[max(0, at - back)])
    device, naive = Device(window), NaiveResets()
    for life, sequence, time_ms in order:
        assert device.judge(7, sequence, time_ms) == naive.judge(life, sequence)


def test_first_samples_after_a_reset_may_arrive_in_any_order() -> None:
    device = Device(16)
    assert [device.judge(1, n, 100 + n) for n in range(50, 60)] == [FRESH] * 10
    order = [2, 0, 1, 3, 0, 2]
    found = [device.judge(1, n, 1_000 + n) for n in order]
    assert found == [FRESH, FRESH, FRESH, FRESH, DUPLICATE, DUPLICATE]
    assert device.judge(1, 59, 159) == DUPLICATE, "the old life is still known"


def test_a_clock_set_back_after_boot_does_not_make_a_repetition_look_like_a_reset() -> None:
    device = Device(8)
    samples = [(8, 0), (1, 5), (16, 3), (1, 5)]
    found = [device.judge(1, number, time_ms) for number, time_ms in samples]
    assert found == [FRESH, FRESH, FRESH, TOO_LATE]


def test_without_a_clock_of_its_own_a_reset_device_is_too_late_not_doubled() -> None:
    device = Device(16)
    for n in range(100, 140):
        device.judge(1, n, 1_000 + n, received_ms=1_000 + n)
    assert device.judge(1, 3, 9_000, received_ms=9_000) == TOO_LATE
    assert device.judge(1, 120, 9_001, received_ms=9_001) == TOO_LATE


def test_a_wild_clock_costs_one_bucket_and_not_the_window() -> None:
    future = 1 << 50
    verdicts = hashed(Hashes(), [(future, 1), (0, 2), (BUCKET_MS, 3), (0, 2)])
    assert verdicts == [FRESH, FRESH, FRESH, DUPLICATE]


def test_hashes_are_bounded_and_what_no_longer_fits_is_too_late_never_fresh_twice() -> None:
    stuck_clock = [(0, n) for n in range(MIN_HASHES + 10)]
    seen = Hashes()
    assert hashed(seen, stuck_clock) == [FRESH] * MIN_HASHES + [TOO_LATE] * 10
    assert hashed(seen, stuck_clock) == [DUPLICATE] * MIN_HASHES + [TOO_LATE] * 10
    assert hashed(seen, [(BUCKET_MS, 0), (0, 0)]) == [FRESH, TOO_LATE]
    assert sum(map(len, seen.buckets.values())) == 1


def content(time_ms: int, readings: list[tuple[str, float]]) -> int:
    out = np.empty(1, dtype=np.uint64)
    names = [name for name, _ in readings]
    values = np.array([value for _, value in readings]) + 0.0
    content_hashes(
        np.array([time_ms]),
        np.array([len(readings)]),
        np.arange(len(readings)),
        np.array([name_hash(name) for name in names], dtype=np.uint64),
        values.view(np.uint64),
        out,
    )
    return int(out[0])


def test_a_content_hash_is_the_same_in_every_process() -> None:
    code = (
        "from tests.unit.test_dedup import content;"
        "print(content(1700000000000, [('T24', 642.5), ('P2', 14.6)]))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert int(other) == content(1_700_000_000_000, [("T24", 642.5), ("P2", 14.6)])


def test_a_content_hash_depends_on_time_names_and_values_but_not_on_order_or_signed_zero() -> None:
    base = content(1, [("a", 0.0), ("b", 2.0)])
    assert content(1, [("b", 2.0), ("a", -0.0)]) == base
    others = {
        content(2, [("a", 0.0), ("b", 2.0)]),
        content(1, [("a", 2.0), ("b", 0.0)]),
        content(1, [("a", 0.0), ("c", 2.0)]),
        content(1, [("a", 1e-300), ("b", 2.0)]),
        content(1, [("a", 0.0)]),
    }
    assert base not in others
    assert len(others) == 5
