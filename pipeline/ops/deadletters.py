"""Dead letters: read them, and send one again.

A replay puts the very bytes back into the sink's own topic, on the partition they came from
and with a mark in the headers. The ledger then allows another attempt, after a look-up: so
replaying twice, or replaying what was delivered meanwhile, has one effect.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from pipeline.settings import Settings, SettingsError
from pipeline.topology import RESULTS, dlq_topic, sink_topic
from pipeline.wire import kafka
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.cloudevents import REPLAY, headers
from pipeline.wire.records import decode_event


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One dead letter: its offset in the DLQ and the record (schemas/avro/dead_letter)."""

    offset: int
    record: dict[str, Any]

    @property
    def event_id(self) -> str:
        """Event id; empty where the payload could not be read."""
        return str(self.record["event_id"])


async def read(settings: Settings, codec: Codec, sink: str) -> list[Entry]:
    """All entries of a sink's DLQ, oldest first; the last entry of an event stands for it."""
    out: dict[str, Entry] = {}
    for message in await kafka.read_all(settings, dlq_topic(sink)):
        record = codec.decode("dead_letter.v1", message.value)
        name = record["event_id"] or f"offset {message.offset}"
        out.pop(name, None)
        out[name] = Entry(offset=message.offset, record=record)
    return list(out.values())


def find(entries: Sequence[Entry], wanted: str) -> Entry:
    """The entry whose event id starts with `wanted`, or whose offset it is."""
    hits = [e for e in entries if (e.event_id and e.event_id.startswith(wanted))]
    hits = hits or [e for e in entries if str(e.offset) == wanted]
    if not hits:
        raise SettingsError(f"No dead letter {wanted!r}: `fieldline dlq list` shows them.")
    if len(hits) > 1:
        raise SettingsError(f"{wanted!r} fits {len(hits)} dead letters: give more of the id.")
    return hits[0]


async def replay(
    settings: Settings, codec: Codec, sink: str, entries: Sequence[Entry], *, replay_id: str
) -> int:
    """Send entries again, in their order; returns how many. Refuses an unreadable payload."""
    events = []
    for entry in entries:
        try:
            events.append((entry, decode_event(codec, entry.record["payload"])))
        except UnreadableError as error:
            raise SettingsError(
                f"Dead letter {entry.offset} cannot be replayed, {error}: "
                "it would come back; send a corrected event instead."
            ) from error
    producer = kafka.producer(settings)
    try:
        await producer.start()
        for entry, event in events:
            await producer.send_and_wait(
                sink_topic(sink),
                key=entry.record["key"].encode(),
                value=entry.record["payload"],
                partition=entry.record["source_partition"],
                headers=[*headers(event).items(), (REPLAY, replay_id.encode())],
            )
    finally:
        await producer.stop()
    return len(events)


class Results:
    """What becomes of replays: follows delivery.results from the moment it is entered."""

    def __init__(self, settings: Settings, codec: Codec, sink: str) -> None:
        self._codec = codec
        self._sink = sink
        self._consumer = kafka.consumer(settings)

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            partitions = await kafka.topic_partitions(self._consumer, [RESULTS])
            self._consumer.assign(partitions)
            for tp, end in (await self._consumer.end_offsets(partitions)).items():
                self._consumer.seek(tp, end)
        except BaseException:  # also a cancellation must not leave the client open
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def of(self, event_ids: Sequence[str], *, seconds: float) -> dict[str, str]:
        """Outcome and cause by event id, in order; '' where none came within `seconds`."""
        ends = dict.fromkeys(event_ids, "")
        deadline = time.monotonic() + seconds
        while not all(ends.values()) and time.monotonic() < deadline:
            for messages in (await self._consumer.getmany(timeout_ms=500)).values():
                for message in messages:
                    result = self._codec.decode("delivery_result.v1", message.value)
                    if result["sink"] == self._sink and result["event_id"] in ends:
                        cause = f": {result['message']}" if result["message"] else ""
                        ends[result["event_id"]] = result["outcome"] + cause
        return ends
