"""Where each event is at each stage: the fold of the books that are always kept. Pure.

A *stage* is a topic that has to be emptied: a sink, or fan-out for one sink. What is known
of one event at one stage is its `Fate`, a small row. Topics are read in any order relative to
each other, and messages come again; the rules that make the counts the same all the same:

| what comes | what it does to the row |
|---|---|
| the event in the stage's topic | the first place holds; a repetition changes nothing |
| a result | the last one holds: results of one event lie in one partition, in order |
| a parked row, its end | counted by the row's key, so that each is there once or not |

An event counts from when it is seen in the stage's topic. A result that comes before is kept
and waits for it; one whose event never comes is a stray: more came out than went in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Protocol

UNSEEN = -1
"""Offset of an event that was not yet seen in the stage's topic."""
DAY_MS = 86_400_000
EARLY_KEPT_MS = 7 * DAY_MS
"""How long a result without its event counts as a stray. Results are kept longer than events,
so books that are made anew find many whose event is rightly gone."""
FATES_KEPT_MS = 90 * DAY_MS
"""How long the row of a finished event is kept: as long as delivery.results keep it."""


class End(StrEnum):
    """How an event's way to a sink ended: `outcome` of delivery.results."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    DEAD_LETTERED = "dead_lettered"
    DISCARDED = "discarded"


LASTING = frozenset({End.DEAD_LETTERED, End.DISCARDED})
"""Ends that a person may change at any time: their rows are kept for ever."""


class Index(StrEnum):
    """In which list a row stands, so that nothing need be searched for."""

    OPEN = "open"
    """Seen, not ended, not parked: in order of the offset."""
    PARKED = "parked"
    """Seen, not ended, in the worker's table: in order of the offset."""
    EARLY = "early"
    """Ended, and not yet seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A message of a stage's topic: its event, and where it lies. `at_ms` is the message's."""

    event_id: str
    tenant: str
    device_id: str
    partition: int
    offset: int
    at_ms: int
    action: str = "raise"
    entity_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An entry of delivery.results, or what stands for one."""

    event_id: str
    tenant: str
    device_id: str
    partition: int
    end: End
    at_ms: int
    target_id: str = ""
    action: str = "raise"
    entity_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What is known of one event at one stage.

    `offset` is UNSEEN until its message was read. `at_ms` is that message's time, `ended_ms`
    the result's; milliseconds since the Unix epoch, UTC. `parked` counts its rows in the
    worker's table. `action`, `entity_id` and `target_id` are what a look-up needs.
    """

    tenant: str
    device_id: str
    partition: int
    offset: int = UNSEEN
    at_ms: int = 0
    end: End | None = None
    ended_ms: int = 0
    parked: int = 0
    target_id: str = ""
    action: str = "raise"
    entity_id: str = ""

    @property
    def index(self) -> Index | None:
        """The list that it belongs in."""
        if self.end is not None:
            return Index.EARLY if self.offset == UNSEEN else None
        if self.offset == UNSEEN:
            return None
        return Index.PARKED if self.parked else Index.OPEN

    @property
    def weight(self) -> Weight:
        """What it adds to its line."""
        return NOTHING if self.offset == UNSEEN else self.whole

    @property
    def whole(self) -> Weight:
        """What it would add to its line were it seen."""
        if self.end is not None:
            return _ENDED[self.end]
        return _PARKED if self.parked else _OPEN

    def forgettable(self, now_ms: int) -> bool:
        """Whether nothing can come any more that its row is needed for."""
        if self.offset == UNSEEN:
            return self.end is not None and self.ended_ms < now_ms - EARLY_KEPT_MS
        return (
            self.end is not None
            and self.end not in LASTING
            and max(self.at_ms, self.ended_ms) < now_ms - FATES_KEPT_MS
        )


class Weight(NamedTuple):
    """Counts of one line. `parked` is part of `open`; the ends and `open` make `accepted`."""

    accepted: int = 0
    delivered: int = 0
    rejected: int = 0
    superseded: int = 0
    dead_lettered: int = 0
    discarded: int = 0
    open: int = 0
    parked: int = 0

    def plus(self, other: Weight, times: int = 1) -> Weight:
        """The sum with so many times the other."""
        return Weight(*(a + times * b for a, b in zip(self, other, strict=True)))


NOTHING = Weight()
_OPEN = Weight(accepted=1, open=1)
_PARKED = Weight(accepted=1, open=1, parked=1)
_ENDED = {
    End.DELIVERED: Weight(accepted=1, delivered=1),
    End.REJECTED: Weight(accepted=1, rejected=1),
    End.SUPERSEDED: Weight(accepted=1, superseded=1),
    End.DEAD_LETTERED: Weight(accepted=1, dead_lettered=1),
    End.DISCARDED: Weight(accepted=1, discarded=1),
}


def seen(fate: Fate | None, message: Seen) -> Fate:
    """The row once the event's message was read."""
    if fate is not None and fate.offset != UNSEEN:
        return fate
    return replace(
        fate or _blank(message),
        tenant=message.tenant,
        device_id=message.device_id,
        partition=message.partition,
        offset=message.offset,
        at_ms=message.at_ms,
        action=message.action,
        entity_id=message.entity_id,
    )


def ended(fate: Fate | None, result: Result) -> Fate:
    """The row once a result was read."""
    fate = fate or _blank(result)
    return replace(
        fate,
        end=result.end,
        ended_ms=result.at_ms,
        target_id=result.target_id or fate.target_id,
    )


def parked(fate: Fate | None, message: Seen) -> Fate:
    """The row once its event has one more row in the worker's table."""
    fate = fate or _blank(message)
    return replace(fate, parked=fate.parked + 1)


def _blank(message: Seen | Result) -> Fate:
    return Fate(
        tenant=message.tenant,
        device_id=message.device_id,
        partition=message.partition,
        action=message.action,
        entity_id=message.entity_id,
    )


class Rows(Protocol):
    """Where the rows are kept. `put` also keeps the counts and the lists, from old and new."""

    def fate(self, stage: str, event_id: str) -> Fate | None:
        """The row of an event."""
        ...

    def put(self, stage: str, event_id: str, old: Fate | None, new: Fate) -> None:
        """Store the row of an event."""
        ...

    def parked_event(self, stage: str, partition: int, key: bytes) -> str | None:
        """The event of a parked row; None where no such row is known."""
        ...

    def put_parked(self, stage: str, partition: int, key: bytes, event_id: str | None) -> None:
        """Store, or with None delete, which event a parked row is of."""
        ...


class Fold:
    """Takes messages into the rows."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def seen(self, stage: str, message: Seen) -> None:
        """A message of the stage's topic."""
        old = self._rows.fate(stage, message.event_id)
        self._put(stage, message.event_id, old, seen(old, message))

    def ended(self, stage: str, result: Result) -> None:
        """A result."""
        old = self._rows.fate(stage, result.event_id)
        self._put(stage, result.event_id, old, ended(old, result))

    def parked(self, stage: str, key: bytes, message: Seen) -> None:
        """A row of the worker's table was written."""
        partition = message.partition
        if self._rows.parked_event(stage, partition, key) is not None:
            return
        self._rows.put_parked(stage, partition, key, message.event_id)
        old = self._rows.fate(stage, message.event_id)
        self._put(stage, message.event_id, old, parked(old, message))

    def unparked(self, stage: str, partition: int, key: bytes) -> None:
        """A row of the worker's table was deleted."""
        event_id = self._rows.parked_event(stage, partition, key)
        if event_id is None:
            return
        self._rows.put_parked(stage, partition, key, None)
        old = self._rows.fate(stage, event_id)
        if old is not None:
            self._put(stage, event_id, old, replace(old, parked=max(0, old.parked - 1)))

    def _put(self, stage: str, event_id: str, old: Fate | None, new: Fate) -> None:
        if new != old:
            self._rows.put(stage, event_id, old, new)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLine:
    """One line of the balance: schemas/avro/balance_line. `sink` is the stage's name."""

    sink: str
    tenant: str
    partition: int
    accepted: int
    delivered: int
    rejected: int
    superseded: int
    waiting: int
    parked: int
    dead_lettered: int
    discarded: int
    missing: int

    @property
    def key(self) -> str:
        """Same line, same key."""
        return f"{self.sink}/{self.tenant}/{self.partition}"


ALL = "*"
EVERY_PARTITION = -1


def stage_line(
    stage: str,
    tenant: str,
    partition: int,
    *,
    counted: Weight,
    lost: int = 0,
    strays: Weight = NOTHING,
) -> StageLine:
    """A line from its counts.

    `lost` of the open ones lie below the worker's committed offset and are not parked;
    `strays` have a result and were never seen. accepted = all places + missing, so that
    missing = lost - strays.
    """
    ends = counted.plus(strays._replace(accepted=0))
    return StageLine(
        sink=stage,
        tenant=tenant,
        partition=partition,
        accepted=counted.accepted,
        delivered=ends.delivered,
        rejected=ends.rejected,
        superseded=ends.superseded,
        waiting=counted.open - lost,
        parked=counted.parked,
        dead_lettered=ends.dead_lettered,
        discarded=ends.discarded,
        missing=lost - strays.accepted,
    )
