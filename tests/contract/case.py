"""What the contract suite must know of one system: tests/contract/cases/<system>.py has a CASE.

The suite (suite/) is the same for all. A trait that a system does not have is named in
`lacks` with the reason; everything else must hold. Every code of `System.answers` (but
transport trouble) must be caused by an entry of `codes` or `faults`, or stand in `unseen`
with the reason why no far end can be made to say it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pipeline.core.outcome import Delivered, Outcome, Rejected, Scope, Unknown
from pipeline.core.registry import DeviceRecord
from tests.sandboxes.box import FarEnd, Start

RECORD = DeviceRecord(
    device_id="acme/truck-1",
    asset_id="TRK-1",
    asset_name="Reefer truck 1",
    customer_id="C-1",
    customer_name="Acme Cold Chain",
    customer_tax_id="BE0403019261",
    active=True,
    device_class="reefer",
    site="Ghent",
    region="eu",
)


class Means(StrEnum):
    """What an answer has to come out as."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    ITEM = "retryable, this event's trouble"
    SYSTEM = "retryable, the system's trouble"
    UNKNOWN = "unknown"


def means(outcome: Outcome) -> Means:
    """An outcome in the words of a case."""
    if isinstance(outcome, Delivered):
        return Means.DELIVERED
    if isinstance(outcome, Rejected):
        return Means.REJECTED
    if isinstance(outcome, Unknown):
        return Means.UNKNOWN
    return Means.ITEM if outcome.scope is Scope.ITEM else Means.SYSTEM


class Trait(StrEnum):
    """What a system may lack."""

    UPDATE = "an update changes the record"
    CLOSE = "a clear closes the record"
    REOPEN = "an update after a clear opens it again"
    EXPIRY = "sessions or tokens that end"
    LIMIT = "limits on the rate of requests"
    LOOK_UP = "a key can be looked up"
    PERSONAL = "personal data is sent"
    LOGIN = "wrong credentials are refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A fault (fields of knobs.Fault) on the writing request, the outcome, and our code for it."""

    fault: Mapping[str, Any]
    means: Means
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One system.

    `start` gives its far end; `values(url)` the connector's settings for it; `bad_values` the
    same with wrong credentials. `kind` is the journal's name of the record that an event
    becomes; `write` fits (regex on method, regex on path) the request that writes it, create
    or upsert, single or batched. `ids` are the identity map's for RECORD. `codes` are the
    system's own error codes for a record, injected by knobs.ItemError, with what each has to
    come out as and our code for it.
    """

    name: str
    start: Start
    values: Callable[[FarEnd], Mapping[str, Any]]
    bad_values: Callable[[FarEnd], Mapping[str, Any]]
    kind: str
    write: tuple[str, str]
    codes: Mapping[str, tuple[Means, str]]
    faults: Sequence[Cause] = ()
    ids: Mapping[str, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)
    lacks: Mapping[Trait, str] = field(default_factory=dict)
    drop_fields: Sequence[str] = ()
    """Members of the write's answer without which nobody can tell what happened."""
    far_key: Callable[[str], str] = str
    """The journal's key of an event's record, given the event's id; as it is by default."""
    parts: bool = False
    """The far end is a real server, which takes long to start."""
    request_s: float = 0.8
    """How long a request may take, seconds: more where the far end is slow by nature."""
    lanes: int = 4
    """Conversations at once of one worker, as infra/config/sinks.yaml has it for the system."""
    prepare: Callable[[FarEnd], None] | None = None
    """Master data that the system has before the first event."""

    @property
    def record(self) -> DeviceRecord:
        """The registry's row of the device that events come from."""
        return replace(RECORD, ids=self.ids)

    def on_write(self, **fault: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of knobs.Fault
        """A fault on the request that writes the record."""
        method, path = self.write
        return {"method": method, "path": path, **fault}
