"""How jobs end: what the caller is told, and what the ledger is. No I/O."""

from __future__ import annotations

from connectors.jobs import Final, Finished, Job
from connectors.verdicts import Turn
from pipeline.core.events import Action
from pipeline.core.ledger import (
    AlreadyDone,
    AlreadyFinished,
    Ending,
    KeyConflict,
    State,
    Superseded,
)
from pipeline.core.outcome import Delivered, Outcome, Rejected
from pipeline.core.retry import Cause

SETTLED = {Final.REJECTED: State.REJECTED, Final.DEAD_LETTERED: State.DEAD_LETTERED}
"""Ends that the ledger hears of once their result is stored."""
_FINALS = {
    State.REJECTED: Final.REJECTED,
    State.DEAD_LETTERED: Final.DEAD_LETTERED,
    State.SUPERSEDED: Final.SUPERSEDED,
}


def before_send(
    job: Job, begin: AlreadyDone | AlreadyFinished | KeyConflict | Superseded
) -> Finished:
    """The end of a job that need not, or must not, be sent."""
    if isinstance(begin, AlreadyDone):
        return Finished(
            job=job,
            final=Final.DELIVERED,
            outcome=Delivered(target_id=begin.target_id, created=False),
            attempts=begin.attempt,
            repeated=True,
        )
    if isinstance(begin, AlreadyFinished):
        final = _FINALS[begin.state]
        message = "It was settled before; an operator's replay sends it again."
        return Finished(
            job=job,
            final=final,
            outcome=Rejected(
                code=begin.code, message=message, final=final is not Final.DEAD_LETTERED
            ),
            attempts=begin.attempt,
            repeated=True,
        )
    if isinstance(begin, Superseded):
        message = "The target has a later state of the same record, so this one was dropped."
        return Finished(
            job=job,
            final=Final.SUPERSEDED,
            outcome=Rejected(code="delivery.superseded", message=message, final=True),
            attempts=0,
        )
    message = "Its idempotency key was used for another payload before, so nothing was sent."
    return Finished(
        job=job,
        final=Final.DEAD_LETTERED,
        outcome=Rejected(code="ledger.key_conflict", message=message),
        attempts=0,
        cause=Cause.KEY_CONFLICT,
    )


def finished(turn: Turn, final: Final) -> Finished:
    """The end of a job that was sent or looked up."""
    run = turn.run
    return Finished(
        job=run.job,
        final=final,
        outcome=turn.outcome,
        attempts=run.attempt,
        fence=run.fence,
        token=run.token,
        request_hash=run.request_hash,
    )


def settling(end: Finished) -> Ending:
    """What to write of an end in SETTLED.

    A clear that found nothing to clear is the last word all the same: what is older stays
    dropped. A refused update is not: its trouble lasts, and its raise may still be delivered.
    """
    job = end.job
    event = job.delivery.event
    of_record = end.final is Final.REJECTED and event.action is Action.CLEAR
    return Ending(
        key=job.delivery.key,
        fence=end.fence,
        state=SETTLED[end.final],
        code="" if isinstance(end.outcome, Delivered) else end.outcome.code,
        partition=job.partition,
        token=end.token,
        entity=event.entity if of_record else "",
        version=event.version if of_record else "",
    )


def target_of(outcome: Outcome) -> str | None:
    """The target's id, where it has taken it."""
    return outcome.target_id if isinstance(outcome, Delivered) else None
