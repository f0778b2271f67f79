from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.dedup import (
    BUCKET_MS,
    BUCKETS,
    DUPLICATE,
    FRESH,
    MIN_HASHES,
    SESSIONS,
    TOO_LATE,
    Seen,
    content_hash,
    judge,
)


def numbered(seen: Seen, samples: list[tuple[int, int]], window: int) -> tuple[list[int], Seen]:
    sessions = [session for session, _ in samples]
    sequences = [sequence for _, sequence in samples]
    nothing = [0] * len(samples)
    verdicts, seen = judge(seen, sessions, sequences, nothing, nothing, window)
    return verdicts.tolist(), seen


def hashed(seen: Seen, samples: list[tuple[int, int]], window: int = 8) -> tuple[list[int], Seen]:
    nothing = [0] * len(samples)
    times, contents = [t for t, _ in samples], [c for _, c in samples]
    verdicts, seen = judge(seen, nothing, [-1] * len(samples), times, contents, window)
    return verdicts.tolist(), seen


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


@given(arrivals, st.integers(1, 40), st.lists(st.integers(0, 200), max_size=5))
def test_numbered_samples_are_judged_as_by_a_set_that_forgets_nothing(
    samples: list[tuple[int, int]], window: int, cuts: list[int]
) -> None:
    naive = Naive(window)
    expected = [naive.judge(*sample) for sample in samples]
    seen, found = Seen(), list[int]()
    edges = [0, *sorted(cuts), len(samples)]
    for begin, end in pairwise(edges):
        verdicts, seen = numbered(seen, samples[begin:end], window)
        found += verdicts
    assert found == expected


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=60),
    st.lists(st.integers(0, 59), max_size=40),
)
def test_reordering_and_replays_inside_the_window_lose_nothing(
    jitter: list[int], replays: list[int]
) -> None:
    order = sorted(range(len(jitter)), key=lambda i: (i + jitter[i], i))
    first, seen = numbered(Seen(), [(1, i) for i in order], 64)
    assert first == [FRESH] * len(order)
    again, _ = numbered(seen, [(1, i) for i in replays if i < len(order)], 64)
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
    found, _ = hashed(Seen(), [(bucket * BUCKET_MS, content) for bucket, content in samples])
    assert found == expected


def test_a_reboot_starts_a_new_window_and_late_samples_of_the_old_one_still_count() -> None:
    verdicts, _ = numbered(Seen(), [(5, 900), (6, 0), (5, 901), (6, 0), (5, 900)], 16)
    assert verdicts == [FRESH, FRESH, FRESH, DUPLICATE, DUPLICATE]


def test_a_session_older_than_all_kept_is_too_late_for_ever() -> None:
    samples = [(s, 0) for s in (1, 2, 3, 4, 5)]
    verdicts, seen = numbered(Seen(), [*samples, (1, 0), (1, 7), (0, 1)], 16)
    assert verdicts == [FRESH] * 5 + [TOO_LATE] * 3
    assert len(seen.sessions) == SESSIONS


def test_a_wider_window_does_not_pretend_to_know_what_the_narrow_one_forgot() -> None:
    _, seen = numbered(Seen(), [(1, n) for n in range(100)], 8)
    later = [(1, 50), (1, 95), (1, 120), (1, 93), (1, 110), (1, 60)]
    verdicts, seen = numbered(seen, later, 64)
    assert verdicts == [TOO_LATE, DUPLICATE, FRESH, DUPLICATE, FRESH, TOO_LATE]


def test_a_wild_sequence_number_costs_no_memory() -> None:
    verdicts, seen = numbered(Seen(), [(1, 1), (1, 1 << 62), (1, (1 << 62) - 1)], 128)
    assert verdicts == [FRESH, FRESH, FRESH]
    assert seen.sessions[0].bits.bit_length() <= 128


def test_a_wild_clock_costs_one_bucket_and_not_the_window() -> None:
    future = 1 << 50
    verdicts, _ = hashed(Seen(), [(future, 1), (0, 2), (BUCKET_MS, 3), (0, 2)])
    assert verdicts == [FRESH, FRESH, FRESH, DUPLICATE]


def test_hashes_are_bounded_and_what_no_longer_fits_is_too_late_never_fresh_twice() -> None:
    stuck_clock = [(0, n) for n in range(MIN_HASHES + 10)]
    verdicts, seen = hashed(Seen(), stuck_clock)
    assert verdicts == [FRESH] * MIN_HASHES + [TOO_LATE] * 10
    again, seen = hashed(seen, stuck_clock)
    assert again == [DUPLICATE] * MIN_HASHES + [TOO_LATE] * 10
    newer, seen = hashed(seen, [(BUCKET_MS, 0), (0, 0)])
    assert newer == [FRESH, TOO_LATE]
    assert sum(len(bucket.hashes) for bucket in seen.buckets) == 1


def test_a_content_hash_is_the_same_in_every_process() -> None:
    code = (
        "import numpy as np; from pipeline.core.dedup import content_hash as h;"
        "print(h(1700000000000, b'T24', np.array([642.5])))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert int(other) == content_hash(1_700_000_000_000, b"T24", np.array([642.5]))


def test_a_content_hash_depends_on_time_names_and_values_but_not_on_the_sign_of_zero() -> None:
    base = content_hash(1, b"a", np.array([0.0]))
    assert content_hash(1, b"a", np.array([-0.0])) == base
    others = {
        content_hash(2, b"a", np.array([0.0])),
        content_hash(1, b"b", np.array([0.0])),
        content_hash(1, b"a", np.array([1e-300])),
    }
    assert base not in others
    assert len(others) == 3
