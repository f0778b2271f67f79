"""What to do after an attempt: one policy for every sink, as pure functions.

| after a send         | step                                                              |
|----------------------|-------------------------------------------------------------------|
| Delivered            | Finish                                                            |
| Rejected, final      | Reject: policy says that nobody needs to decide                   |
| Rejected             | DeadLetter("rejected")                                            |
| Retryable, SYSTEM    | RetryAfter, for ever: an outage is never a reason for the DLQ     |
| Retryable, ITEM      | RetryAfter; DeadLetter("exhausted") once the budget is used up    |
| Unknown              | LookUpAfter(settle_s): past the target's own time-out             |

| after a look-up      | step                                                              |
|----------------------|-------------------------------------------------------------------|
| Found                | Finish                                                            |
| NotFound, first look | LookUpAfter(settle_s): look twice, the target may still be at it  |
| NotFound, second     | RetryAfter; DeadLetter("exhausted") once the budget is used up    |
| Undecidable          | DeadLetter("unresolved"): never sent again on a guess             |
| Retryable            | as after a send, but the next thing is another look               |

Waits are full jitter: uniform in [0, min(cap, base · 2^(n-1))], from "Exponential Backoff
And Jitter" (Marc Brooker, AWS Architecture Blog, 2015). A target's Retry-After comes on top
as a minimum, so those told the same time do not all return at that instant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

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

LOOKS = 2
"""NotFound is believed at this look, not before."""
_MAX_DOUBLINGS = 32
"""2^32 times any base is past any cap; keeps the power finite after days of outage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """All times in seconds. ValueError where the figures contradict each other.

    `max_attempts` and `max_elapsed_s` are the budget of one event for failures of its own.
    `request_s` bounds one request; `settle_s` is the wait before a look-up and must be
    longer, so that a request still on its way has ended by the second look. It should also
    be longer than the target's own request time-out.
    """

    base_s: float = 0.5
    cap_s: float = 60.0
    max_attempts: int = 8
    max_elapsed_s: float = 3_600.0
    retry_after_cap_s: float = 3_600.0
    request_s: float = 20.0
    settle_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.base_s <= self.cap_s:
            raise ValueError("The retry policy needs 0 < base_s <= cap_s: correct the sink.")
        if self.max_attempts < 1:
            raise ValueError("The retry policy needs max_attempts of 1 or more: correct the sink.")
        if not 0 < self.request_s < self.settle_s:
            raise ValueError("The retry policy needs request_s < settle_s: correct the sink.")


class Cause(StrEnum):
    """Why a person has to decide: `cause_class` of the dead letter."""

    REJECTED = "rejected"
    EXHAUSTED = "exhausted"
    KEY_CONFLICT = "key_conflict"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The target has it."""

    target_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Final, and nobody needs to decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Final, and a person decides."""

    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAfter:
    """It is certainly not there: send again after `delay_s`."""

    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpAfter:
    """It may be there: look after `delay_s`."""

    delay_s: float


Step = Finish | Reject | DeadLetter | RetryAfter | LookUpAfter


def backoff(attempt: int, *, policy: RetryPolicy, jitter: float) -> float:
    """Full-jitter wait after failure number `attempt` (from 1), seconds; jitter in [0, 1]."""
    doublings = min(max(attempt - 1, 0), _MAX_DOUBLINGS)
    return jitter * min(policy.cap_s, policy.base_s * float(2**doublings))


def wished(retry_after_s: float | None, *, policy: RetryPolicy) -> float:
    """The target's Retry-After as a finite wait within the policy's cap, seconds."""
    if retry_after_s is None or math.isnan(retry_after_s):
        return 0.0
    return min(max(retry_after_s, 0.0), policy.retry_after_cap_s)


def _exhausted(*, attempt: int, elapsed_s: float, policy: RetryPolicy) -> bool:
    return attempt >= policy.max_attempts or elapsed_s >= policy.max_elapsed_s


def next_step(
    outcome: Outcome, *, attempt: int, elapsed_s: float, policy: RetryPolicy, jitter: float
) -> Step:
    """The step after a send.

    `attempt` numbers the failures of this outcome's scope, this one included (so an outage
    uses up nothing of an event's own budget); `elapsed_s` is how long this event has been
    waited for on its own account, outages not counted.
    """
    match outcome:
        case Delivered():
            return Finish(target_id=outcome.target_id)
        case Rejected():
            return Reject() if outcome.final else DeadLetter(cause=Cause.REJECTED)
        case Retryable():
            spent = _exhausted(attempt=attempt, elapsed_s=elapsed_s, policy=policy)
            if outcome.scope is Scope.ITEM and spent:
                return DeadLetter(cause=Cause.EXHAUSTED)
            return RetryAfter(delay_s=_delay(outcome, attempt, policy, jitter))
        case Unknown():
            return LookUpAfter(delay_s=policy.settle_s)
        case _:
            assert_never(outcome)


def after_look_up(
    answer: LookUp,
    *,
    looks: int,
    attempt: int,
    elapsed_s: float,
    policy: RetryPolicy,
    jitter: float,
) -> Step:
    """The step after a look-up.

    `looks` counts the looks that the target answered, this one included; `attempt` and
    `elapsed_s` as in `next_step`.
    """
    spent = _exhausted(attempt=attempt, elapsed_s=elapsed_s, policy=policy)
    match answer:
        case Found():
            return Finish(target_id=answer.target_id)
        case NotFound():
            if looks < LOOKS:
                return LookUpAfter(delay_s=policy.settle_s)
            again = RetryAfter(delay_s=backoff(attempt, policy=policy, jitter=jitter))
            return DeadLetter(cause=Cause.EXHAUSTED) if spent else again
        case Undecidable():
            return DeadLetter(cause=Cause.UNRESOLVED)
        case Retryable():
            if answer.scope is Scope.ITEM and spent:
                return DeadLetter(cause=Cause.EXHAUSTED)
            return LookUpAfter(delay_s=_delay(answer, attempt, policy, jitter))
        case _:
            assert_never(answer)


def _delay(trouble: Retryable, attempt: int, policy: RetryPolicy, jitter: float) -> float:
    least = wished(trouble.retry_after_s, policy=policy)
    return least + backoff(attempt, policy=policy, jitter=jitter)
