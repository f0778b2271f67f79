"""What goes into the driver, what comes out, and what it keeps in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from connectors.base import Delivery
from pipeline.core.ledger import Mode
from pipeline.core.outcome import Outcome
from pipeline.core.retry import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What is known of an event that waits, so that it can leave memory and come back.

    `looks`: None where it is to be sent; else it may be at the target, and so many look-ups
    have not found it. `own` and `outages` count failures of its own and of the system;
    `waited_s` is the time waited for on its own account, seconds; `sent_s` when it was sent
    last with its end unknown, seconds since the Unix epoch, 0 where it was not; `code` is the
    last cause.
    """

    looks: int | None = None
    own: int = 0
    outages: int = 0
    waited_s: float = 0.0
    sent_s: float = 0.0
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One delivery to bring to its end.

    `payload_hash` is SHA-256 of the event, hex. `mode` is FIRST, or what an operator asked
    for. `partition` and `offset` say where it lies in the sink's topic. `ticket` is whatever
    the caller wants to find again at the end; `waiting` what is known from before it was
    parked.
    """

    delivery: Delivery
    payload_hash: str
    mode: Mode = Mode.FIRST
    partition: int = 0
    offset: int = 0
    ticket: Any = None
    waiting: Waiting = field(default_factory=Waiting)

    @property
    def device(self) -> str:
        """The ordering key."""
        return self.delivery.event.device_id


class Final(StrEnum):
    """How a job ended: the `outcome` of delivery.results."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    DEAD_LETTERED = "dead_lettered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A job at its end.

    `attempts` counts sends in all, those before a crash included. `cause` is the dead
    letter's cause class, None where there is none. `repeated`: the ledger knew this end
    before; a dead letter is stored already then (emit none), a result may not be (emit it
    again). `fence` and `token` are for settle; fence 0 where there is nothing to settle.
    `request_hash` is SHA-256, hex, of the last request of ours that could have an effect.
    """

    job: Job
    final: Final
    outcome: Outcome
    attempts: int
    cause: Cause | None = None
    repeated: bool = False
    fence: int = 0
    token: int = 0
    request_hash: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponed:
    """A job that waits longer than the driver keeps it: the caller does, and submits it again.

    `delay_s` is not before when, from now; 0 where it only waits for an earlier one of its
    device.
    """

    job: Job
    delay_s: float
    waiting: Waiting


End = Finished | Postponed


@dataclass(slots=True, kw_only=True)
class Run:
    """A job under way, in one worker's memory.

    `looking`: it may be at the target, so look-ups come next. `alone`: its last batch broke
    the connector, so it goes by itself. `lost`: our last send of it ended Unknown, `bug`: by
    a fault of the connector. `own` and `outages` count failures of its own and of the
    system; `waited_s` is the time waited for its own. `sent_s`: when it was last sent.
    """

    job: Job
    epoch: int = 0
    looking: bool = False
    alone: bool = False
    lost: bool = False
    bug: bool = False
    last: Outcome | None = None
    fence: int = 0
    token: int = 0
    attempt: int = 0
    looks: int = 0
    own: int = 0
    outages: int = 0
    taken_over: int = 0
    sent_s: float = 0.0
    waited_s: float = 0.0
    code: str = ""
    request_hash: str | None = None

    @classmethod
    def of(cls, job: Job, epoch: int) -> Run:
        """A job's run: goes on where it was parked."""
        before = job.waiting
        return cls(
            job=job,
            epoch=epoch,
            lost=before.sent_s > 0,
            looks=before.looks or 0,
            own=before.own,
            outages=before.outages,
            waited_s=before.waited_s,
            sent_s=before.sent_s,
            code=before.code,
        )

    @property
    def key(self) -> str:
        """The idempotency key."""
        return self.job.delivery.key

    @property
    def device(self) -> str:
        """The ordering key."""
        return self.job.device

    @property
    def tenant(self) -> str:
        """Tenant."""
        return self.job.delivery.event.tenant

    def waiting(self) -> Waiting:
        """What must be known to go on later."""
        return Waiting(
            looks=self.looks if self.looking else None,
            own=self.own,
            outages=self.outages,
            waited_s=self.waited_s,
            sent_s=self.sent_s if self.lost else 0.0,
            code=self.code,
        )
