"""The breaker: opens after failures in a row, lets one probe out at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.breaker import Breaker, BreakerPolicy, Go, Hold, Phase, Shared

POLICY = BreakerPolicy(failures=3, open_s=2, cap_s=10)


def opened(now_s: float = 0.0, *, at_least_s: float = 0.0) -> Breaker:
    breaker = Breaker(policy=POLICY)
    for _ in range(POLICY.failures):
        breaker = breaker.bad(now_s, probe=False, at_least_s=at_least_s)
    return breaker


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(policy=POLICY)
    breaker = breaker.bad(0, probe=False).bad(0, probe=False).good(probe=False)
    breaker = breaker.bad(0, probe=False).bad(0, probe=False)
    assert breaker.admit(0)[1] == Go(probe=False)
    assert breaker.bad(0, probe=False).admit(0.5)[1] == Hold(delay_s=1.5)


def test_when_its_time_is_over_one_probe_goes_and_the_others_hold_for_it() -> None:
    breaker, verdict = opened().admit(2)
    assert verdict == Go(probe=True)
    assert breaker.admit(2)[1] == Hold(delay_s=None)
    assert breaker.good(probe=True).phase is Phase.CLOSED


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_the_cap() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(5):
        _, verdict = breaker.admit(now)
        assert isinstance(verdict, Hold)
        assert verdict.delay_s is not None
        waits.append(verdict.delay_s)
        now += verdict.delay_s
        breaker = breaker.admit(now)[0].bad(now, probe=True)
    assert waits == [2, 4, 8, 10, 10]


def test_the_systems_own_wish_to_be_left_alone_is_a_minimum() -> None:
    assert opened(at_least_s=7).admit(0)[1] == Hold(delay_s=7)


def test_a_probe_without_evidence_lets_the_next_one_probe_at_once() -> None:
    breaker = opened().admit(2)[0].nothing(probe=True)
    assert breaker.admit(2)[1] == Go(probe=True)


@given(st.lists(st.tuples(st.sampled_from(["ask", "good", "bad", "nothing"]), st.floats(0, 5))))
def test_while_it_is_not_closed_at_most_one_is_out_as_probe(
    script: list[tuple[str, float]],
) -> None:
    breaker, now, probes, others = Breaker(policy=POLICY), 0.0, 0, 0
    for what, passed in script:
        now += passed
        if what == "ask":
            was = breaker
            breaker, verdict = breaker.admit(now)
            if isinstance(verdict, Go):
                assert verdict.probe == (was.phase is not Phase.CLOSED)
                assert not verdict.probe or now >= was.until_s
                probes += verdict.probe
                others += not verdict.probe
        elif probes or others:
            probe = others == 0
            probes -= probe
            others -= not probe
            if what == "good":
                breaker = breaker.good(probe=probe)
            elif what == "bad":
                breaker = breaker.bad(now, probe=probe)
            else:
                breaker = breaker.nothing(probe=probe)
        assert probes in {0, 1}
        assert (breaker.phase is Phase.HALF_OPEN) == (probes == 1)


def told(serial: int, for_s: float = 5, *, is_open: bool = True, openings: int = 1) -> Shared:
    return Shared(serial=serial, is_open=is_open, for_s=for_s, openings=openings)


def test_another_workers_opening_holds_this_one_too_until_its_time_is_over() -> None:
    breaker = Breaker(policy=POLICY).adopt(told(1), 100)
    assert breaker.admit(100)[1] == Hold(delay_s=5)
    assert breaker.adopt(told(1, for_s=9), 101).admit(101)[1] == Hold(delay_s=4)
    assert breaker.admit(105)[1] == Go(probe=True)


def test_an_adopted_opening_goes_on_doubling_where_the_other_left_off() -> None:
    breaker = Breaker(policy=POLICY).adopt(told(1, for_s=0, openings=2), 0).admit(0)[0]
    assert breaker.bad(0, probe=True).admit(0)[1] == Hold(delay_s=8)


def test_another_workers_good_probe_closes_it() -> None:
    breaker = Breaker(policy=POLICY).adopt(told(1), 0).adopt(told(1, is_open=False), 1)
    assert breaker.admit(1)[1] == Go(probe=False)
    ours = opened().posted(3).adopt(told(3, is_open=False), 1)
    assert ours.phase is Phase.CLOSED


def test_an_old_end_does_not_close_an_opening_that_is_only_ours() -> None:
    known = Breaker(policy=POLICY).adopt(told(7, is_open=False), 0)
    for _ in range(POLICY.failures):
        known = known.bad(0, probe=False)
    assert known.adopt(told(7, is_open=False), 1).phase is Phase.OPEN
    assert known.adopt(told(8, is_open=False), 1).phase is Phase.CLOSED


def test_what_was_closed_does_not_open_again_by_an_older_opening() -> None:
    breaker = Breaker(policy=POLICY).adopt(told(4, for_s=0), 0).admit(0)[0].good(probe=True)
    assert breaker.adopt(told(4, for_s=0), 1).phase is Phase.CLOSED
    assert breaker.adopt(told(3), 1).phase is Phase.CLOSED
    assert breaker.adopt(told(5), 1).phase is Phase.OPEN


def test_an_emptied_or_missing_board_changes_nothing() -> None:
    breaker = Breaker(policy=POLICY).adopt(told(4), 0)
    assert breaker.adopt(Shared(), 1) == breaker
    assert breaker.adopt(None, 1) == breaker


def test_a_worker_whose_probe_may_not_go_waits_for_the_one_that_is_out() -> None:
    breaker = opened().admit(2)[0]
    assert breaker.adopt(told(9), 2) == breaker
    waits = breaker.beaten(2, 1)
    assert waits.admit(2)[1] == Hold(delay_s=1)
    assert waits.openings == breaker.openings
    assert waits.beaten(2, 50) == waits


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.booleans(), st.floats(0, 50), st.sampled_from(["ask", "bad", ""])
        ),
        max_size=30,
    )
)
def test_whatever_the_board_says_it_never_holds_for_ever(
    script: list[tuple[int, bool, float, str]],
) -> None:
    breaker, now, probe = Breaker(policy=POLICY), 0.0, False
    for serial, is_open, for_s, what in script:
        breaker = breaker.adopt(told(serial, for_s, is_open=is_open), now)
        if what == "ask" and not probe:
            breaker, verdict = breaker.admit(now)
            probe = isinstance(verdict, Go) and verdict.probe
        elif what == "bad":
            breaker, probe = breaker.bad(now, probe=probe), False
        now += 1
    if probe:
        breaker = breaker.nothing(probe=True)
    assert isinstance(breaker.admit(now + 51)[1], Go)
