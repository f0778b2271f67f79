"""What a person does to dead letters: replay, edit, discard. The audit comes before the deed."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, Self

from pipeline.core.dlq import DISCARD, EDIT, REPLAY
from pipeline.core.events import Action, BusinessEvent, fingerprint
from pipeline.ops import audit
from pipeline.ops.audit import Act
from pipeline.ops.dlq_entries import SCHEMA, Entry
from pipeline.settings import Settings, SettingsError
from pipeline.topology import LAKE, RESULTS, dlq_topic, sink_topic
from pipeline.wire import cloudevents, kafka
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import decode_event

_TRACE: Final = "traceparent"


def new_id() -> str:
    """An id for an action."""
    return secrets.token_hex(8)


def event_of(codec: Codec, entry: Entry, *, wish: str) -> BusinessEvent:
    """The entry's event; SettingsError where it has none, so that the wish cannot be met."""
    try:
        return entry.event(codec)
    except UnreadableError as error:
        raise SettingsError(
            f"Dead letter {entry.offset} cannot be {wish}, {error}: "
            "discard it, and send a corrected event instead."
        ) from error


def replay_headers(entry: Entry, event: BusinessEvent, replay_id: str) -> dict[str, bytes]:
    """Headers of an entry sent again: as they came, those of the event anew, and the marks."""
    given: Mapping[str, bytes] = entry.record["headers"]
    out = {**given, **cloudevents.headers(event), cloudevents.REPLAY: replay_id.encode()}
    if _TRACE in given:
        out[_TRACE] = given[_TRACE]
    return out


class Desk:
    """Where a person acts. Everything is in Kafka (acks=all) when a method returns.

    `who` is for the audit. Enter it before use; KafkaError as the client raises it.
    """

    def __init__(self, settings: Settings, codec: Codec, *, who: str) -> None:
        self._codec = codec
        self._who = who
        self._producer: Any = kafka.producer(settings)

    async def __aenter__(self) -> Self:
        try:
            await self._producer.start()
        except BaseException:  # also a cancellation must not leave the client open
            await self._producer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def replay(self, entry: Entry, *, replay_id: str, why: str = "") -> None:
        """Send the payload again, on the partition it came from and with the replay's id."""
        event = event_of(self._codec, entry, wish="replayed")
        topic = sink_topic(entry.sink)
        partition = await self._partition(entry, topic)
        await self._write(entry, REPLAY, why, action_id=replay_id)
        await self._producer.send_and_wait(
            topic,
            key=event.device_id.encode(),
            value=entry.record["payload"],
            partition=partition,
            headers=list(replay_headers(entry, event, replay_id).items()),
        )

    async def edit(
        self, entry: Entry, payload: bytes, changes: Mapping[str, str], *, why: str
    ) -> Entry:
        """Put the edited payload into the DLQ as the entry that stands for the event from now on.

        The payload must be an event of the same id. Returns the new entry.
        """
        event = decode_event(self._codec, payload)
        if event.id != entry.event_id:
            raise ValueError("an edit keeps the event's id")
        headers = {**entry.record["headers"], cloudevents.EDITED: b"1"}
        record = {**entry.record, "payload": payload, "headers": headers}
        await self._write(
            entry,
            EDIT,
            why,
            before_hash=hashlib.sha256(entry.record["payload"]).hexdigest(),
            after_hash=hashlib.sha256(payload).hexdigest(),
            changes=changes,
        )
        sent = await self._producer.send_and_wait(
            dlq_topic(entry.sink),
            key=entry.record["key"].encode(),
            value=self._codec.encode(SCHEMA, record),
        )
        return Entry(offset=sent.offset, record=record, sink=entry.sink)

    async def discard(self, entry: Entry, *, why: str) -> None:
        """Say that it is not to be delivered: in the audit and, for an event, in the results.

        What is no event, and what was for the lake, is in no balance of results: for these
        the audit says it alone.
        """
        try:
            event = None if entry.sink == LAKE else entry.event(self._codec)
        except UnreadableError:
            event = None
        partition = await self._partition(entry, RESULTS) if event is not None else 0
        act = await self._write(entry, DISCARD, why)
        if event is None:
            return
        await self._producer.send_and_wait(
            RESULTS,
            key=event.device_id.encode(),
            value=self._codec.encode("delivery_result.v2", discarded(entry, event, act)),
            partition=partition,
        )

    async def _partition(self, entry: Entry, topic: str) -> int:
        partition: int = entry.record["source_partition"]
        count = await kafka.partitions_of(self._producer, topic)
        if not 0 <= partition < count:
            raise SettingsError(
                f"Dead letter {entry.name} came from partition {partition}, which {topic} does "
                f"not have ({count} partitions): create the topic as it was."
            )
        return partition

    async def _write(
        self,
        entry: Entry,
        action: str,
        why: str,
        *,
        action_id: str = "",
        before_hash: str | None = None,
        after_hash: str | None = None,
        changes: Mapping[str, str] | None = None,
    ) -> Act:
        act = Act(
            id=action_id or new_id(),
            at_ms=time.time_ns() // 1_000_000,
            who=self._who,
            why=why,
            action=action,
            sink=entry.sink,
            event_id=entry.event_id,
            dlq_offset=entry.offset,
            before_hash=before_hash,
            after_hash=after_hash,
            changes=changes or {},
        )
        await audit.write(self._producer, self._codec, act)
        return act


def discarded(entry: Entry, event: BusinessEvent, act: Act) -> dict[str, Any]:
    """The delivery_result.v2 of an entry that a person discarded."""
    record = entry.record
    return {
        "event_id": event.id,
        "sink": entry.sink,
        "tenant": event.tenant,
        "device_id": event.device_id,
        "outcome": "discarded",
        "action": event.action.value,
        "entity_id": "" if event.action is Action.RAISE else event.entity,
        "code": record["code"],
        "message": f"Discarded by {act.who}: {act.why}",
        "target_id": None,
        "cause_class": record["cause_class"],
        "attempts": record["attempts"],
        "latency_ms": max(0, act.at_ms - event.observed_at_ms),
        "at_ms": act.at_ms,
        "payload_hash": fingerprint(event),
        "request_hash": None,
        "replay": None,
    }
