"""Archive agents: telemetry.deduplicated and sink.lake → Parquet in the lake.

An agent only buffers, asks the writer to flush when a range is due, and acknowledges what
the lake holds. Which range, which files and what to skip is the writer's (connectors/lake).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import structlog
from faust.types import TP

from connectors.lake.base import Flushed, Halt, Retry, Wait
from connectors.lake.writer import LakeWriter
from pipeline.agents.app import TAKE_EVENTS, TAKE_WITHIN_S, Worker, ack_in_order, guarded, halt
from pipeline.core.archive import MAX_OFFSET, Resume
from pipeline.wire.avro import UnreadableError
from pipeline.wire.cloudevents import REPLAY

log = structlog.get_logger(__name__)

TICK_S = 0.5
RETRY_S = 1.0
_HELD_EVENTS = 20_000
"""Most messages in hand per partition while S3 is away; then Kafka keeps the rest."""


class Archiver:
    """One topic on its way into one dataset."""

    def __init__(
        self,
        worker: Worker,
        *,
        topic: str,
        writer: LakeWriter,
        decode: Callable[[bytes | None], Any],
        refuse: Callable[[Any, UnreadableError], Awaitable[Any]],
    ) -> None:
        self.topic = topic
        self._worker = worker
        self.channel = worker.source(topic)
        self._writer = writer
        self._decode = decode
        self._refuse = refuse
        self._held: dict[int, list[tuple[Any, bool]]] = defaultdict(list)
        self._open: set[int] = set()
        # The agent and the timer both flush; one at a time.
        self._lock = asyncio.Lock()

    def forget(self) -> None:
        """Drop what is buffered: after a rebalance it comes again, to us or to another."""
        for partition in self._open:
            self._writer.drop(partition)
        self._held.clear()
        self._open.clear()

    async def round(self, events: list[Any]) -> int:
        """Buffer messages, flush what is due; returns how many were taken."""
        async with self._lock:
            for event in events:
                await self._take(event)
            for partition in {event.message.partition for event in events}:
                while not await self._flush_if_due(partition):
                    if len(self._held[partition]) < _HELD_EVENTS:
                        break
        return len(events)

    async def tick(self) -> int:
        """Flush what has become due by its age; returns how many partitions were looked at."""
        async with self._lock:
            for partition in list(self._open):
                await self._flush_if_due(partition)
            return len(self._open)

    async def _take(self, event: Any) -> None:  # noqa: ANN401 - Faust has no types
        message = event.message
        partition = message.partition
        await self._ensure_open(partition)
        offered = True
        try:
            decoded = self._decode(message.value)
        except UnreadableError as error:
            await (await self._refuse(message, error))
            offered = False
        else:
            replay = REPLAY in dict(message.headers or {})
            self._writer.offer(partition, message.offset, decoded, replay=replay)
        self._held[partition].append((event, offered))

    async def _ensure_open(self, partition: int) -> None:
        while partition not in self._open:
            end = self._end_offset(partition)
            opened = await self._writer.open(self.topic, partition, end_offset=end)
            if isinstance(opened, Resume):
                self._open.add(partition)
                log.info(
                    "lake resumes",
                    topic=self.topic,
                    partition=partition,
                    next_offset=opened.next_offset,
                )
            else:
                await self._wait(partition, opened)

    async def _flush_if_due(self, partition: int) -> bool:
        """True unless something is due and S3 is away."""
        while self._writer.due(partition, time.monotonic()):
            outcome = await self._writer.flush(partition)
            if isinstance(outcome, Wait):
                return True
            if not isinstance(outcome, Flushed):
                await self._wait(partition, outcome)
                return False
            self._ack(partition, outcome.last_offset)
        if not any(offered for _, offered in self._held[partition]):
            # Only unreadable ones are in hand, and those are dealt with.
            self._ack(partition, MAX_OFFSET)
        return True

    def _ack(self, partition: int, last_offset: int) -> None:
        held = self._held[partition]
        ack_in_order([e for e, _ in held if e.message.offset <= last_offset])
        self._held[partition] = [h for h in held if h[0].message.offset > last_offset]

    async def _wait(self, partition: int, outcome: Retry | Halt) -> None:
        log.warning("lake waits", topic=self.topic, partition=partition, reason=outcome.reason)
        if isinstance(outcome, Halt):
            halt()
        await asyncio.sleep(RETRY_S)

    def _end_offset(self, partition: int) -> int | None:
        end: int | None = self._worker.app.consumer.highwater(TP(self.topic, partition))
        return end


def register(worker: Worker, archiver: Archiver) -> None:
    """Put one topic's agent into the app."""
    name = f"archive-{archiver.topic}"

    @worker.app.agent(archiver.channel, name=name, concurrency=1)
    async def archive(stream: Any) -> AsyncIterator[int]:  # noqa: ANN401
        async for events in stream.noack_take(TAKE_EVENTS, within=TAKE_WITHIN_S):
            yield await guarded(archiver.round, events)

    @worker.app.timer(interval=TICK_S, name=f"{name}-tick")  # type: ignore[untyped-decorator]  # Faust has no types
    async def tick() -> None:
        await guarded(archiver.tick)

    @worker.app.on_partitions_revoked.connect
    async def revoked(*_: object, **__: object) -> None:
        archiver.forget()
