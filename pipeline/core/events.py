"""Business events: what the pipeline promises to deliver once."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How soon a person should act."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Disposition(StrEnum):
    """What is to be done with an event."""

    DELIVER = "deliver"
    REVIEW = "review"
    """Too unsure to send on: a person decides."""
    SUPPRESSED = "suppressed"
    """Part of a storm that another event tells of."""


class Action(StrEnum):
    """What an event does to the record at a sink."""

    RAISE = "raise"
    """It is a trouble of its own, with a record of its own."""
    UPDATE = "update"
    """The trouble of `entity_id` has changed."""
    CLEAR = "clear"
    """The trouble of `entity_id` is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Coordinates of the message that caused an event.

    `index` is the place among the events that message can cause, the same in every replay;
    `session` and `sequence` name the device's sample (0 and -1 where it has none).
    """

    topic: str
    partition: int
    offset: int
    index: int
    session: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotEntry:
    """One reading of the sample that raised an event; None before warm-up where it says so."""

    metric: str
    value: float
    baseline: float | None
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BusinessEvent:
    """Something a business acts on; field meanings and units as in schemas/avro/business_event."""

    id: str
    type: str
    tenant: str
    device_id: str
    asset_id: str | None
    customer_id: str | None
    severity: Severity
    confidence: float
    summary: str
    detector: str
    metric: str
    rule: str
    correlation_id: str
    occurred_at_ms: int
    observed_at_ms: int
    source: Source
    snapshot: tuple[SnapshotEntry, ...]
    disposition: Disposition = Disposition.DELIVER
    action: Action = Action.RAISE
    entity_id: str = ""

    @property
    def entity(self) -> str:
        """Id of the event that raised what this one is about: its own for one that raises."""
        return self.entity_id or self.id

    @property
    def version(self) -> str:
        """Place among the events of its device: a later one is greater, as text.

        From the message that caused it, which is the same in every replay.
        """
        return f"{self.source.offset:019d}.{self.source.index:010d}"


def episode_id(
    *, device_id: str, session: int | str, metric: str, detector: str, sequence: int
) -> str:
    """Deterministic event id: 120 bits of SHA-256 over the episode, base32, 24 characters.

    Neither time nor offset goes in, so a replay of the same input makes the same id.
    `sequence` is the first sample's sequence number, or its event time in milliseconds
    for a device that does not number its samples. `session` may say more than the device's
    own number where that does not tell episodes apart.
    """
    episode = "\x1f".join((device_id, str(session), metric, detector, str(sequence)))
    digest = hashlib.sha256(episode.encode()).digest()
    return base64.b32encode(digest[:15]).decode().lower()


def fingerprint(event: BusinessEvent) -> str:
    """SHA-256, hex, of what happened: the ledger refuses a known id with another one.

    Only the facts that make the id go in. How the event is told (owner, wording, rule
    version) may rightly differ between a first emission and its repetition after a crash,
    where a person changed the registry or the rules in between.
    """
    source = event.source
    facts = (event.id, event.type, event.device_id, event.detector, event.metric)
    numbers = (event.occurred_at_ms, source.session, source.sequence)
    about = () if event.action is Action.RAISE else (event.action, event.entity)
    text = "\x1f".join((*facts, *map(str, numbers), *about))
    return hashlib.sha256(text.encode()).hexdigest()


def tenant_of(device_id: str) -> str:
    """Tenant part of a device id 'tenant/device'."""
    return device_id.partition("/")[0]
