"""The breaker: opens after failures in a row, lets one probe out at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.breaker import Breaker, BreakerPolicy, Go, Hold, Phase

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
