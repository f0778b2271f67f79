"""What follows an attempt: every outcome has a row, outages never end, budgets do."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Scope,
    Undecidable,
    Unknown,
)
from pipeline.core.retry import (
    LOOKS,
    Cause,
    DeadLetter,
    Finish,
    LookUpAfter,
    Reject,
    RetryAfter,
    RetryPolicy,
    Step,
    after_look_up,
    backoff,
    next_step,
)

POLICY = RetryPolicy(base_s=1, cap_s=60, max_attempts=4, settle_s=30)


def trouble(scope: Scope, retry_after_s: float | None = None) -> Retryable:
    return Retryable(code="x", message="x", scope=scope, retry_after_s=retry_after_s)


OUTCOMES: dict[type, tuple[tuple[Outcome, type[Step]], ...]] = {
    Delivered: ((Delivered(target_id="1", created=True), Finish),),
    Rejected: (
        (Rejected(code="x", message="x"), DeadLetter),
        (Rejected(code="x", message="x", final=True), Reject),
    ),
    Retryable: ((trouble(Scope.SYSTEM), RetryAfter), (trouble(Scope.ITEM), RetryAfter)),
    Unknown: ((Unknown(code="x", message="x"), LookUpAfter),),
}
ANSWERS: dict[type, tuple[tuple[LookUp, type[Step]], ...]] = {
    Found: ((Found(target_id="1"), Finish),),
    NotFound: ((NotFound(), LookUpAfter),),
    Undecidable: ((Undecidable(code="x", message="x"), DeadLetter),),
    Retryable: ((trouble(Scope.SYSTEM), LookUpAfter), (trouble(Scope.ITEM), LookUpAfter)),
}


def step_of(outcome: Outcome, *, attempt: int = 1, elapsed_s: float = 0, jitter: float = 1) -> Step:
    return next_step(outcome, attempt=attempt, elapsed_s=elapsed_s, policy=POLICY, jitter=jitter)


def step_after(answer: LookUp, *, looks: int = 1, attempt: int = 1, jitter: float = 1) -> Step:
    return after_look_up(
        answer, looks=looks, attempt=attempt, elapsed_s=0, policy=POLICY, jitter=jitter
    )


def test_every_outcome_has_a_row() -> None:
    assert set(OUTCOMES) == set(get_args(Outcome))
    for rows in OUTCOMES.values():
        for outcome, expected in rows:
            assert type(step_of(outcome)) is expected


def test_every_answer_to_a_look_up_has_a_row() -> None:
    assert set(ANSWERS) == set(get_args(LookUp))
    for rows in ANSWERS.values():
        for answer, expected in rows:
            assert type(step_after(answer)) is expected


@given(st.integers(1, 10**9), st.floats(0, 10**12), st.floats(0, 1), st.floats())
def test_an_outage_is_never_a_reason_for_the_dlq(
    attempt: int, elapsed_s: float, jitter: float, retry_after_s: float
) -> None:
    outage = trouble(Scope.SYSTEM, retry_after_s)
    longest = POLICY.cap_s + POLICY.retry_after_cap_s
    sent = next_step(outage, attempt=attempt, elapsed_s=elapsed_s, policy=POLICY, jitter=jitter)
    assert isinstance(sent, RetryAfter)
    assert 0 <= sent.delay_s <= longest
    looked = after_look_up(
        outage, looks=0, attempt=attempt, elapsed_s=elapsed_s, policy=POLICY, jitter=jitter
    )
    assert isinstance(looked, LookUpAfter)
    assert 0 <= looked.delay_s <= longest


@given(st.integers(1, 100), st.floats(0, 1))
def test_an_event_with_trouble_of_its_own_ends_when_its_budget_is_used_up(
    attempt: int, jitter: float
) -> None:
    step = step_of(trouble(Scope.ITEM), attempt=attempt, jitter=jitter)
    if attempt >= POLICY.max_attempts:
        assert step == DeadLetter(cause=Cause.EXHAUSTED)
    else:
        assert isinstance(step, RetryAfter)
    absent = step_after(NotFound(), looks=LOOKS, attempt=attempt, jitter=jitter)
    assert isinstance(absent, DeadLetter) == (attempt >= POLICY.max_attempts)


def test_the_budget_of_time_ends_it_too() -> None:
    step = step_of(trouble(Scope.ITEM), elapsed_s=POLICY.max_elapsed_s)
    assert step == DeadLetter(cause=Cause.EXHAUSTED)


def test_not_found_is_believed_at_the_second_look_only() -> None:
    assert step_after(NotFound(), looks=1) == LookUpAfter(delay_s=30)
    assert isinstance(step_after(NotFound(), looks=2), RetryAfter)


def test_what_cannot_be_looked_up_goes_to_a_person_and_is_not_sent_again() -> None:
    for looks, attempt in ((1, 1), (2, 4), (9, 1_000)):
        step = step_after(Undecidable(code="x", message="x"), looks=looks, attempt=attempt)
        assert step == DeadLetter(cause=Cause.UNRESOLVED)


def test_unknown_is_never_sent_again_before_a_look() -> None:
    for attempt in (1, 4, 1_000):
        assert step_of(Unknown(code="x", message="x"), attempt=attempt) == LookUpAfter(delay_s=30)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_full_jitter_stays_under_a_ceiling_that_doubles_up_to_the_cap(
    attempt: int, jitter: float
) -> None:
    ceiling = backoff(attempt, policy=POLICY, jitter=1)
    assert ceiling == min(60, 2 ** min(attempt - 1, 10))
    assert 0 <= backoff(attempt, policy=POLICY, jitter=jitter) <= ceiling


@given(st.floats(0, 3_600), st.floats(0, 1))
def test_retry_after_is_a_minimum(retry_after_s: float, jitter: float) -> None:
    step = step_of(trouble(Scope.ITEM, retry_after_s), jitter=jitter)
    assert isinstance(step, RetryAfter)
    assert retry_after_s <= step.delay_s <= retry_after_s + 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"base_s": 0}, "base_s"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"request_s": 30, "settle_s": 30}, "settle_s"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(wrong: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RetryPolicy(**wrong)
