"""What a connector is: pure conversations with one system. The driver has the network.

A connector never sends, sleeps or retries. It *yields* each request it wants made as a
`Call` and is sent back a `Reply` (the response, or the transport's error as a value),
until it returns one outcome per event. So tests talk to it with no socket, and waiting,
retrying, order and the ledger live in one place (connectors/driver.py).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

import httpx

from pipeline.core.events import BusinessEvent
from pipeline.core.outcome import LookUp, Outcome
from pipeline.core.registry import DeviceRecord


class Effect(StrEnum):
    """What a request can do at the target: it decides what an ambiguous failure means."""

    READ = "read"
    """Nothing: may be repeated."""
    KEYED_WRITE = "keyed_write"
    """A write that the target itself keeps to once (upsert by key, unique key): may be repeated."""
    WRITE = "write"
    """A write that would happen twice if sent twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request a connector wants made. `step` names it in logs and dry runs."""

    step: str
    request: httpx.Request
    effect: Effect


Reply = httpx.Response | httpx.TransportError

T = TypeVar("T")
Conversation = Generator[Call, Reply, T]
"""Yields calls, is sent replies, returns T."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one sink. `key` is the idempotency key, known to the target.

    `record` is the device's row in the registry as it was when the event occurred: asset,
    owner, and what the target calls them. None where it is not registered.
    """

    event: BusinessEvent
    key: str
    record: DeviceRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One thing that `fieldline connectors check` looked at. `detail` is one sentence.

    `ok` None: it cannot be told without writing.
    """

    what: str
    ok: bool | None
    detail: str


class Connector(Protocol):
    """One system. The same four files in each: config, mapping, protocol and its tests."""

    name: str
    """Sink name: topic sink.<name>."""
    batch_size: int
    """Most events in one conversation; 1 where the target takes one record a request."""
    keyed: bool
    """Whether every write is kept to once by the target itself (upsert by key): what may have
    been sent is sent again then, at once, instead of being looked up."""

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """Bring the events to the target; one outcome per delivery, in order."""
        ...

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """Ask the target by business key; one answer per delivery, in order."""
        ...

    def check(self) -> Conversation[Sequence[Checked]]:
        """Whether credentials and rights are good for all that deliver does. Only reads."""
        ...
