"""Where a delivery job came from, and the way of one that is parked into the table and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.jobs import Finished, Job, Postponed, Waiting
from pipeline.agents.rounds import Round
from pipeline.state.parking import NOT_LOOKING, Parked
from pipeline.topology import sink_topic
from pipeline.wire.cloudevents import REPLAY


@dataclass(frozen=True, slots=True)
class Ticket:
    """Where a job came from: a message in hand, or the table (`hand` None)."""

    payload: bytes
    headers: Mapping[str, bytes]
    hand: Round | None = None
    event: Any = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A job's message as DeadLetters wants it, also where it comes from the table."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]

    @classmethod
    def of(cls, sink: str, job: Job) -> Letter:
        """The message of a job."""
        key, ticket = job.device.encode(), job.ticket
        return cls(sink_topic(sink), job.partition, job.offset, key, ticket.payload, ticket.headers)


def replay_of(end: Finished) -> str | None:
    """Id of the operator's replay that asked for it; None where none did."""
    found = end.job.ticket.headers.get(REPLAY)
    return found.decode(errors="replace") if found is not None else None


def parked(wait: Postponed, now_ms: int) -> Parked:
    """The row of a job that waits."""
    job, waiting, ticket = wait.job, wait.waiting, wait.job.ticket
    return Parked(
        device=job.device,
        offset=job.offset,
        payload=ticket.payload,
        headers=ticket.headers,
        due_ms=now_ms + int(wait.delay_s * 1000),
        parked_ms=now_ms,
        sent_ms=int(waiting.sent_s * 1000),
        looks=NOT_LOOKING if waiting.looks is None else waiting.looks,
        own=waiting.own,
        outages=waiting.outages,
        waited_s=waiting.waited_s,
        code=waiting.code,
    )


def waiting_of(row: Parked) -> Waiting:
    """What was known of a job when it was parked."""
    return Waiting(
        looks=None if row.looks == NOT_LOOKING else row.looks,
        own=row.own,
        outages=row.outages,
        waited_s=row.waited_s,
        sent_s=row.sent_ms / 1000,
        code=row.code,
    )
