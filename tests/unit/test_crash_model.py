from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.telemetry import NO_SEQUENCE, pack
from tests.crash.devices import BUSY, fleet
from tests.crash.load import Bridges
from tests.crash.model import BUCKET_MS, BUCKETS, Identity, Model, Verdict, samples

FRESH, DUPLICATE, TOO_LATE = Verdict
START_MS = 1_790_000_000_000
WAYS = ("reboots", "resets")


def numbered(sequence: int, *, session: int = 1, time_ms: int = 0) -> Identity:
    return Identity("acme/a", session, sequence, time_ms, (("x", 1.0),))


def unnumbered(time_ms: int, value: float = 1.0) -> Identity:
    return Identity("acme/a", 0, NO_SEQUENCE, time_ms, (("x", value),))


def verdicts(*given: Identity, width: int = 8) -> list[Verdict]:
    model = Model(width)
    return [model.judge(sample) for sample in given]


@given(st.permutations(range(8)))
def test_inside_the_window_order_does_not_matter(order: list[int]) -> None:
    there = [numbered(n) for n in order]
    assert verdicts(*there, *there) == [FRESH] * 8 + [DUPLICATE] * 8


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 7), st.integers(0, 99))))
def test_the_same_sample_is_never_fresh_twice(drawn: list[tuple[int, int, int]]) -> None:
    model, fresh = Model(8), Counter[Identity]()
    for sequence, session, time_ms in drawn:
        sample = numbered(sequence, session=session, time_ms=time_ms)
        fresh[sample] += model.judge(sample) is FRESH
    assert max(fresh.values(), default=0) <= 1


def test_a_number_below_the_window_is_too_late_seen_or_not() -> None:
    sent = [numbered(n, time_ms=10 * n) for n in (20, 28, 20, 13, 27)]
    assert verdicts(*sent) == [FRESH, FRESH, TOO_LATE, TOO_LATE, FRESH]


def test_a_new_session_has_a_window_of_its_own_and_the_old_one_stays() -> None:
    sent = [numbered(50), numbered(0, session=2), numbered(50), numbered(49)]
    assert verdicts(*sent) == [FRESH, FRESH, DUPLICATE, FRESH]


def test_the_fifth_session_puts_the_oldest_out() -> None:
    sent = [numbered(0, session=s) for s in (1, 2, 3, 4, 5, 1, 2, 0)]
    assert verdicts(*sent) == [FRESH] * 5 + [TOO_LATE, DUPLICATE, TOO_LATE]


def test_low_numbers_at_a_later_time_are_a_reset_within_the_session() -> None:
    sent = [
        numbered(99, time_ms=1_000),
        numbered(3, time_ms=2_000),
        numbered(99, time_ms=1_000),
        numbered(1, time_ms=1_500),  # the true beginning, on a slower way
        numbered(3, time_ms=2_000),
        numbered(4, time_ms=900),
    ]
    assert verdicts(*sent) == [FRESH, FRESH, DUPLICATE, FRESH, DUPLICATE, TOO_LATE]


def test_a_device_without_a_clock_of_its_own_is_not_taken_for_reset() -> None:
    low = Identity("acme/a", 1, 3, 2_000, (("x", 1.0),), received_ms=2_000)
    assert verdicts(numbered(99, time_ms=1_000), low) == [FRESH, TOO_LATE]


def test_contents_are_known_by_time_and_readings() -> None:
    sent = [unnumbered(5), unnumbered(5), unnumbered(5, 2.0), unnumbered(6)]
    assert verdicts(*sent) == [FRESH, DUPLICATE, FRESH, FRESH]


def test_contents_before_the_newest_stretches_of_time_are_too_late() -> None:
    model = Model(8)
    for n in range(BUCKETS + 1):
        assert model.judge(unnumbered(n * BUCKET_MS)) is FRESH
    assert model.judge(unnumbered(0)) is TOO_LATE
    assert model.judge(unnumbered(BUCKET_MS)) is DUPLICATE


def test_the_order_of_metrics_and_the_time_of_arrival_do_not_make_another_sample() -> None:
    sent = Bridges(1, 2, START_MS).next(0, START_MS)
    turned = [replace(s, readings=s.readings[::-1], received_ms=7) for s in sent]
    assert list(samples(pack(sent))) == list(samples(pack(turned)))


def test_the_load_brings_every_verdict_about_and_the_same_seed_the_same_samples() -> None:
    first, second = (Bridges(7, 2, START_MS) for _ in range(2))
    model, found = Model(64), Counter[tuple[bool, Verdict]]()
    for turn in range(3_000):
        sent = first.next(turn % 2, START_MS + turn)
        assert sent == second.next(turn % 2, START_MS + turn)
        for sample in samples(pack(sent)):
            found[sample.sequence >= 0, model.judge(sample)] += 1
    assert set(found) == {(kind, verdict) for kind in (True, False) for verdict in Verdict}


def test_every_partition_has_devices_that_reboot_reset_and_do_not_number() -> None:
    for devices in fleet(1, 2, START_MS):
        ways = set()
        for device in devices[:BUSY]:
            sent = [sample for _ in range(600) for sample in device.turn(START_MS)]
            by_time = sorted(sent, key=lambda s: s.time_ms)
            again = [
                (a.session < b.session, a.session == b.session and a.sequence > b.sequence)
                for a, b in pairwise(by_time)
            ]
            ways |= {"no numbers"} if sent[0].sequence == NO_SEQUENCE else set()
            ways |= {name for pair in again for name, true in zip(WAYS, pair, strict=True) if true}
        assert ways == {"no numbers", *WAYS}
