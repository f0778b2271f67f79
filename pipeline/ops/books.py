"""Reads the control topics into the books: live during a run, or all of history at once.

A plain consumer without a group: it takes part in nothing and can be run by anyone who may
read the topics. Memory is one small entry per event, not per reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from pipeline.core.balance import EventBooks, Line, ReadingBooks, SinkBooks
from pipeline.core.events import Action
from pipeline.core.routing import Route, sinks_for, sinks_of
from pipeline.settings import Settings
from pipeline.topology import (
    DEDUPLICATED,
    EVENTS,
    LAKE,
    QUARANTINE,
    READINGS,
    RESULTS,
    parked_topic,
    sink_topic,
)
from pipeline.wire import kafka
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import decode_batch, decode_deduplicated, decode_event

FANOUT_GROUP = "fieldline-fanout"
"""Consumer group of the worker that empties events.business."""
Offsets = Mapping[tuple[str, int], int]
"""Offset by (topic, partition)."""


def group_of(sink: str) -> str:
    """Consumer group of the worker that empties a sink's topic."""
    return "fieldline-archive" if sink == LAKE else f"fieldline-deliver-{sink}"


@dataclass(slots=True)
class Books:
    """All books of one pipeline, and the folds that fill them."""

    codec: Codec
    routes: Sequence[Route]
    readings: ReadingBooks = field(default_factory=ReadingBooks)
    events: EventBooks = field(default_factory=EventBooks)
    sinks: dict[str, SinkBooks] = field(default_factory=dict)
    confirmed_ms: dict[str, dict[str, int]] = field(default_factory=dict)
    """By sink: when each event was confirmed there, milliseconds since the Unix epoch."""
    sources: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """(device_id, session, sequence) of the sample that raised an event, by event id."""
    severities: dict[str, str] = field(default_factory=dict)
    changes: set[str] = field(default_factory=set)
    """Events that update or clear an earlier one: they make no record of their own."""
    unreadable: int = 0
    _parked: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for sink in sinks_of(self.routes):
            self.sinks.setdefault(sink, SinkBooks())
            self._parked[parked_topic(sink)] = sink

    def take(
        self,
        topic: str,
        partition: int,
        offset: int,
        value: bytes | None,
        *,
        key: bytes | None = None,
    ) -> None:
        """Fold one message in; one that cannot be read is counted, as its agent does."""
        try:
            self._take(topic, partition, offset, key or b"", value)
        except UnreadableError:
            self.unreadable += 1

    def _take(
        self, topic: str, partition: int, offset: int, key: bytes, value: bytes | None
    ) -> None:
        if topic == READINGS:
            self.readings.on_batch(partition, offset, decode_batch(self.codec, value).readings)
        elif topic == DEDUPLICATED:
            self.readings.on_deduplicated(decode_deduplicated(self.codec, value))
        elif topic == QUARANTINE:
            record = self.codec.decode("quarantined.v1", value)
            self.readings.on_quarantined(record["reason"], record["readings"])
        elif topic == EVENTS:
            event = decode_event(self.codec, value)
            self.events.on_event(event.id, sinks_for(event, self.routes), partition, offset)
            self.severities[event.id] = event.severity
            if event.action is not Action.RAISE:
                self.changes.add(event.id)
            source = event.source
            self.sources[event.id] = (event.device_id, source.session, source.sequence)
        elif topic == RESULTS:
            result = self.codec.decode("delivery_result.v2", value)
            self.sinks.setdefault(result["sink"], SinkBooks()).on_result(
                result["event_id"], result["outcome"]
            )
            if result["outcome"] == "delivered":
                confirmed = self.confirmed_ms.setdefault(result["sink"], {})
                confirmed.setdefault(result["event_id"], result["at_ms"])
        elif (parking := self._parked.get(topic)) is not None:
            event_id = None
            if value is not None:
                row = self.codec.decode("parked_event.v1", value)
                event_id = decode_event(self.codec, row["payload"]).id
            self.sinks[parking].on_parked(partition, key, event_id)
        else:
            sink = topic.removeprefix("sink.")
            event = decode_event(self.codec, value)
            self.sinks[sink].on_accepted(event.id, partition, offset)

    def lines(self, committed: Mapping[str, Offsets]) -> list[Line]:
        """The balance. `committed` has each worker group's committed offsets."""
        out = [self.readings.line()]
        fanned = _of_topic(committed.get(FANOUT_GROUP, {}), EVENTS)
        for sink, books in self.sinks.items():
            out.append(self.events.line(sink, books, fanned))
            done = _of_topic(committed.get(group_of(sink), {}), sink_topic(sink))
            if sink == LAKE:
                # The lake has no results: its worker commits after the upload, so what is
                # below the committed offset is delivered; the report checks the rows.
                for event_id, (partition, offset) in books.accepted.items():
                    if offset < done.get(partition, 0):
                        books.on_result(event_id, "delivered")
            out.append(books.line(sink, done))
        return out


def _of_topic(offsets: Offsets, topic: str) -> dict[int, int]:
    return {partition: o for (name, partition), o in offsets.items() if name == topic}


def event_topics(routes: Sequence[Route]) -> tuple[str, ...]:
    """The topics that say what became of events."""
    sinks = sinks_of(routes)
    parked = (parked_topic(sink) for sink in sinks if sink != LAKE)
    return (EVENTS, *(sink_topic(sink) for sink in sinks), RESULTS, *parked)


def control_topics(routes: Sequence[Route]) -> tuple[str, ...]:
    """The topics that the books are made from."""
    return (READINGS, DEDUPLICATED, QUARANTINE, *event_topics(routes))


class BookKeeper:
    """Follows the control topics and keeps the books."""

    def __init__(self, settings: Settings, books: Books) -> None:
        self.books = books
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self, *, from_now: bool = False) -> None:
        """Begin at the start of every topic, or at their ends as they are now."""
        consumer = kafka.consumer(self._settings)
        self._consumer = consumer
        await consumer.start()
        partitions = await kafka.topic_partitions(consumer, control_topics(self.books.routes))
        consumer.assign(partitions)
        if not from_now:
            await consumer.seek_to_beginning(*partitions)
            return
        for tp, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(tp, end)

    async def stop(self) -> None:
        """Let go of the broker."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def poll(self, timeout_ms: int = 200) -> int:
        """Fold in what has come; returns how many messages."""
        consumer = self._running()
        taken = 0
        for tp, messages in (await consumer.getmany(timeout_ms=timeout_ms)).items():
            for message in messages:
                self.books.take(
                    tp.topic, tp.partition, message.offset, message.value, key=message.key
                )
            taken += len(messages)
        return taken

    async def catch_up(self) -> None:
        """Fold in everything up to the topics' ends as they are now."""
        consumer = self._running()
        partitions = list(consumer.assignment())
        ends = await consumer.end_offsets(partitions)
        while True:
            behind = [tp for tp in partitions if await consumer.position(tp) < ends[tp]]
            if not behind:
                return
            await self.poll()

    def _running(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError("BookKeeper.start has not been awaited")
        return self._consumer


async def committed_offsets(
    admin: AIOKafkaAdminClient, groups: Iterable[str]
) -> dict[str, dict[tuple[str, int], int]]:
    """Committed offsets by group; a group that has none yet has an empty mapping."""
    out: dict[str, dict[tuple[str, int], int]] = {}
    for group in groups:
        try:
            offsets: Mapping[Any, Any] = await admin.list_consumer_group_offsets(group)
        except GroupCoordinatorNotAvailableError:
            # A broker makes its offsets topic at the first such question: none committed yet.
            offsets = {}
        out[group] = {
            (tp.topic, tp.partition): entry.offset
            for tp, entry in offsets.items()
            if entry.offset >= 0
        }
    return out


def worker_groups(routes: Sequence[Route]) -> tuple[str, ...]:
    """Consumer groups of all workers, detect first."""
    return tuple(
        dict.fromkeys(("fieldline-detect", FANOUT_GROUP, *(group_of(s) for s in sinks_of(routes))))
    )
