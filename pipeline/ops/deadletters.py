"""Dead letters: read them, send them again, see what becomes of them.

A replay puts the very bytes back into the sink's own topic, on the partition they came from
and with a mark in the headers. The ledger then allows another attempt, after a look-up: so
replaying twice, or replaying what was delivered meanwhile, has one effect.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Self

from pipeline.ops import audit
from pipeline.ops.dlq_acts import Desk, event_of
from pipeline.ops.dlq_entries import Entry, find, read
from pipeline.settings import Settings
from pipeline.topology import RESULTS
from pipeline.wire import kafka
from pipeline.wire.avro import Codec, UnreadableError

__all__ = ["RATE", "Entry", "Results", "find", "in_order", "paced", "read", "replay"]

RATE: Final = 10.0
"""Replays a second unless told otherwise: people mend causes one by one."""


def in_order(codec: Codec, entries: Sequence[Entry]) -> list[Entry]:
    """By the place of their events among those of their device, the earlier first.

    That place does not change when an event is sent again and comes back; its offset in the
    sink's topic does. What cannot be read goes last, by that offset.
    """

    def place(entry: Entry) -> tuple[bool, str, int, str, int]:
        offset = entry.record["source_offset"]
        try:
            event = entry.event(codec)
        except UnreadableError:
            return True, entry.record["source_topic"], entry.record["source_partition"], "", offset
        return False, event.source.topic, event.source.partition, event.version, offset

    return sorted(entries, key=place)


async def paced(entries: Sequence[Entry], rate: float) -> AsyncIterator[Entry]:
    """The entries, `rate` a second at most."""
    start = time.monotonic()
    for number, entry in enumerate(entries):
        await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
        yield entry


async def replay(
    settings: Settings,
    codec: Codec,
    entries: Sequence[Entry],
    *,
    replay_id: str,
    why: str = "",
    rate: float = RATE,
    sent: Callable[[Entry], None] | None = None,
) -> int:
    """Send entries again, in their order, `rate` a second; returns how many.

    Refuses all of them where one has an unreadable payload. `sent` is called after each.
    """
    for entry in entries:
        event_of(codec, entry, wish="replayed")
    ordered = in_order(codec, entries)
    async with Desk(settings, codec, who=audit.operator(settings)) as desk:
        async for entry in paced(ordered, rate):
            await desk.replay(entry, replay_id=replay_id, why=why)
            if sent is not None:
                sent(entry)
    return len(ordered)


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

    async def of(
        self,
        event_ids: Sequence[str],
        *,
        seconds: float,
        replay_id: str | None = None,
        came: Callable[[str, str], None] | None = None,
    ) -> dict[str, str]:
        """Outcome and cause by event id, in order; '' where nothing more came for `seconds`.

        Of this replay only, where its id is given. `came` is called with each as it comes.
        """
        ends = dict.fromkeys(event_ids, "")
        deadline = time.monotonic() + seconds
        while not all(ends.values()) and time.monotonic() < deadline:
            for messages in (await self._consumer.getmany(timeout_ms=500)).values():
                for message in messages:
                    try:
                        result = self._codec.decode("delivery_result.v2", message.value)
                    except UnreadableError:
                        continue
                    event_id = result["event_id"]
                    if result["sink"] != self._sink or event_id not in ends:
                        continue
                    if replay_id is not None and result["replay"] != replay_id:
                        continue
                    cause = f": {result['message']}" if result["message"] else ""
                    ends[event_id] = result["outcome"] + cause
                    deadline = time.monotonic() + seconds
                    if came is not None:
                        came(event_id, ends[event_id])
        return ends
