"""operations.review: mismatches as they stand, written by reconciler and operator.

The last record with an id holds. Those that are open, and those that a person resolved, are
kept in memory; what is gone is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer

from pipeline.core.reconcile import Finding, Item, Kind, State, settle
from pipeline.ops import audit
from pipeline.settings import Settings, SettingsError
from pipeline.topology import AUDIT, REVIEW
from pipeline.wire import kafka
from pipeline.wire.avro import Codec, UnreadableError

log = structlog.get_logger(__name__)

RESOLVE = "resolve"
"""Action in operations.audit; its id is the item's."""
_SCHEMA = "review_item.v1"
_SAID_MS = 10_000
"""What went so lately is left alone: word that a person resolved it may be on its way."""


class Reviews:
    """What operations.review and operations.audit say, message by message."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._resolved: dict[str, int] = {}
        self.items: dict[str, Item] = {}
        """Items by id: those open, those resolved and not gone since, and what came lately."""

    def take(self, topic: str, value: bytes | None) -> None:
        """Fold one message of either topic in; what cannot be read is passed over."""
        try:
            if topic == AUDIT:
                act = self._codec.decode("operator_action.v1", value)
                if act["action"] == RESOLVE:
                    self._resolved[act["id"]] = act["at_ms"]
            else:
                item = decode_item(self._codec, value)
                self.items[item.finding.id] = item
        except UnreadableError as error:
            log.warning("a message was passed over", topic=topic, cause=str(error))

    def settle(
        self, found: Sequence[Finding], *, looked: Callable[[Finding], bool], now_ms: int
    ) -> list[Item]:
        """What is to be written after a look; see core.reconcile.settle."""
        # An item and the audit record of its resolution lie in two topics: either comes first.
        fresh = {
            key
            for key, item in self.items.items()
            if item.state is State.GONE and now_ms - item.at_ms < _SAID_MS
        }
        self.items = {
            key: item
            for key, item in self.items.items()
            if key in fresh or item.state is State.OPEN or self._resolved.get(key) == item.at_ms
        }
        return settle(
            self.items,
            [finding for finding in found if finding.id not in fresh],
            looked=lambda finding: finding.id not in fresh and looked(finding),
            resolved=self._resolved,
            now_ms=now_ms,
        )

    def standing(self, found: Sequence[Finding]) -> list[Finding]:
        """Those that are open: not those that a person resolved."""
        return [
            finding
            for finding in found
            if (item := self.items.get(finding.id)) and item.state is State.OPEN
        ]

    def open(self) -> dict[tuple[str, Kind], int]:
        """How many are open, by sink and kind."""
        out: dict[tuple[str, Kind], int] = {}
        for item in self.items.values():
            if item.state is State.OPEN:
                at = (item.finding.sink, item.finding.kind)
                out[at] = out.get(at, 0) + 1
        return out

    async def report(
        self,
        producer: AIOKafkaProducer,
        found: Sequence[Finding],
        *,
        looked: Callable[[Finding], bool],
        now_ms: int,
    ) -> list[Finding]:
        """Write what a look changed; returns those found that stand, as `standing` does."""
        await self.write(producer, self.settle(found, looked=looked, now_ms=now_ms))
        return self.standing(found)

    async def write(self, producer: AIOKafkaProducer, items: Sequence[Item]) -> None:
        """Put items into operations.review; they are in Kafka when this returns."""
        for future in [
            await producer.send(
                REVIEW, key=item.finding.id.encode(), value=encode_item(self._codec, item)
            )
            for item in items
        ]:
            await future
        for item in items:
            self.items[item.finding.id] = item
            log.warning(
                "mismatch" if item.state is State.OPEN else "mismatch is gone",
                id=item.finding.id,
                kind=item.finding.kind.value,
                sink=item.finding.sink,
                detail=item.finding.detail,
            )


def encode_item(codec: Codec, item: Item) -> bytes:
    """An item as review_item.v1."""
    finding = item.finding
    return codec.encode(
        _SCHEMA,
        {
            "id": finding.id,
            "kind": finding.kind.value,
            "sink": finding.sink,
            "subject": finding.subject,
            "event_id": finding.event_id,
            "target_id": finding.target_id,
            "detail": finding.detail,
            "at_ms": item.at_ms,
            "state": item.state.value,
        },
    )


def decode_item(codec: Codec, value: bytes | None) -> Item:
    """Bytes as an item; UnreadableError where they are none."""
    record = codec.decode(_SCHEMA, value)
    try:
        finding = Finding(
            kind=Kind(record["kind"]),
            sink=record["sink"],
            subject=record["subject"],
            event_id=record["event_id"],
            target_id=record["target_id"],
            detail=record["detail"],
        )
        return Item(finding=finding, state=State(record["state"]), at_ms=record["at_ms"])
    except ValueError as error:
        raise UnreadableError(f"it is no review item: {error}") from error


async def read(settings: Settings, codec: Codec) -> dict[str, Item]:
    """Every item there ever was, as it stands now, by id, in the order of the last change."""
    out: dict[str, Item] = {}
    for message in await kafka.read_all(settings, REVIEW):
        try:
            item = decode_item(codec, message.value)
        except UnreadableError:
            continue
        out.pop(item.finding.id, None)
        out[item.finding.id] = item
    return out


def find(items: dict[str, Item], wanted: str) -> Item:
    """The item whose id starts so; SettingsError where not exactly one does."""
    hits = [item for key, item in items.items() if wanted and key.startswith(wanted)]
    if not hits:
        raise SettingsError(f"No review {wanted!r}: `fieldline review list` shows them.")
    if len(hits) > 1:
        raise SettingsError(f"{wanted!r} fits {len(hits)} reviews: give more of the id.")
    return hits[0]


async def resolve(settings: Settings, codec: Codec, item: Item, *, why: str) -> Item:
    """Close an item: the audit record first, then the item as gone; returns it."""
    now_ms = int(time.time() * 1000)
    finding = item.finding
    act = audit.Act(
        id=finding.id,
        at_ms=now_ms,
        who=audit.operator(settings),
        why=audit.reason(why, needed=True),
        action=RESOLVE,
        sink=finding.sink,
        event_id=finding.event_id or "",
    )
    gone = Item(finding=finding, state=State.GONE, at_ms=now_ms)
    producer: Any = kafka.producer(settings)
    try:
        await producer.start()
        await audit.write(producer, codec, act)
        await producer.send_and_wait(
            REVIEW, key=finding.id.encode(), value=encode_item(codec, gone)
        )
    finally:
        await producer.stop()
    return gone
