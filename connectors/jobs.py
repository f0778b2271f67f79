"""What goes into the driver, what comes out, and what it keeps in between."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from connectors.base import Delivery
from pipeline.core.outcome import Outcome
from pipeline.core.retry import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One delivery to bring to its end.

    `payload_hash` is SHA-256 of the event, hex; `replay` marks an operator's replay of a
    finished one.
    """

    delivery: Delivery
    payload_hash: str
    replay: bool = False


class Final(StrEnum):
    """How a job ended: the `outcome` of delivery.results."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    DEAD_LETTERED = "dead_lettered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A job at its end.

    `attempts` counts sends in all, those before a crash included. `cause` is the dead
    letter's cause class, None where there is none. `repeated`: the ledger knew this end
    before; a dead letter is stored already then (emit none), a result may not be (emit it
    again). `fence` is for settle; 0 where there is nothing to settle.
    """

    job: Job
    final: Final
    outcome: Outcome
    attempts: int
    cause: Cause | None = None
    repeated: bool = False
    fence: int = 0


@dataclass(slots=True, kw_only=True)
class Run:
    """A job under way. Lives in one deliver call; what must outlive it is in the ledger.

    `looking`: it may be at the target, so look-ups come next. `alone`: its last batch broke
    the connector, so it goes by itself. `lost`: our last send of it ended Unknown, `bug`: by
    a fault of the connector. `own` and `outages` count failures of its own and of the
    system; `waited_s` is the time waited for its own. `seen`: how many deliveries the target
    had taken when it was last sent.
    """

    job: Job
    looking: bool = False
    alone: bool = False
    lost: bool = False
    bug: bool = False
    last: Outcome | None = None
    fence: int = 0
    attempt: int = 0
    looks: int = 0
    own: int = 0
    outages: int = 0
    taken_over: int = 0
    seen: int = 0
    waited_s: float = 0.0

    @property
    def key(self) -> str:
        """The idempotency key."""
        return self.job.delivery.key

    @property
    def device(self) -> str:
        """The ordering key."""
        return self.job.delivery.event.device_id
