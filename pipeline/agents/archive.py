"""Archive agents: telemetry.deduplicated and sink.lake → Parquet in the lake.

An agent only buffers, asks the writer to flush when a range is due, and acknowledges what
the lake holds. Which range, which files and what to skip is the writer's (connectors/lake).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from faust.types import TP

from connectors.lake.base import Flushed, Halt, Retry, Wait
from connectors.lake.writer import LakeWriter
from pipeline.agents.app import Worker
from pipeline.agents.halt import guarded, halt
from pipeline.agents.rounds import Round
from pipeline.core.archive import MAX_OFFSET, Resume
from pipeline.wire.avro import UnreadableError
from pipeline.wire.cloudevents import REPLAY

log = structlog.get_logger(__name__)

ROUND_EVENTS = 256
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

    async def round(self, hand: Round) -> None:
        """Buffer messages and flush what is due."""
        async with self._lock:
            for event in hand.events:
                if not await self._take(hand, event):
                    return
            for partition in {event.message.partition for event in hand.events}:
                while not (hand.lost or await self._flush_if_due(partition)):
                    if len(self._held[partition]) < _HELD_EVENTS:
                        break

    async def tick(self, _: object = None) -> None:
        """Flush what has become due by its age."""
        async with self._lock:
            for partition in list(self._open):
                await self._flush_if_due(partition)

    async def _take(self, hand: Round, event: Any) -> bool:  # noqa: ANN401 - Faust has no types
        """Buffer one message; False where a rebalance took it away meanwhile.

        Nothing lost may be offered: it would stand in the lake's range before the earlier
        messages that come again, and those would then be taken for old ones.
        """
        message = event.message
        partition = message.partition
        await self._ensure_open(hand, partition)
        if hand.lost:
            return False
        try:
            decoded = self._decode(message.value)
        except UnreadableError as error:
            await (await self._refuse(message, error))
            if hand.lost:
                return False
            self._held[partition].append((event, False))
        else:
            replay = REPLAY in dict(message.headers or {})
            self._writer.offer(partition, message.offset, decoded, replay=replay)
            self._held[partition].append((event, True))
        return True

    async def _ensure_open(self, hand: Round, partition: int) -> None:
        while partition not in self._open and not hand.lost:
            end = self._end_offset(partition)
            opened = await self._writer.open(self.topic, partition, end_offset=end)
            if not isinstance(opened, Resume):
                await self._wait(partition, opened)
            elif hand.lost:
                self._writer.drop(partition)
            else:
                self._open.add(partition)
                log.info(
                    "lake resumes",
                    topic=self.topic,
                    partition=partition,
                    next_offset=opened.next_offset,
                )

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
        # After a rebalance nothing is held any more, so nothing lost is acknowledged.
        held = self._held[partition]
        for event, _ in held:
            if event.message.offset <= last_offset:
                self._worker.holdings.acks.finish(event.message.tp, event.message.offset)
        self._held[partition] = [h for h in held if h[0].message.offset > last_offset]

    async def _wait(self, partition: int, outcome: Retry | Halt) -> None:
        said = {"topic": self.topic, "partition": partition, "reason": outcome.reason}
        if isinstance(outcome, Halt):
            log.critical("lake and topic contradict each other", **said)
            halt()
        log.warning("lake waits", **said)
        await asyncio.sleep(RETRY_S)

    def _end_offset(self, partition: int) -> int | None:
        end: int | None = self._worker.app.consumer.highwater(TP(self.topic, partition))
        return end


def register(worker: Worker, archiver: Archiver) -> None:
    """Put one topic's agent into the app."""
    name = f"archive-{archiver.topic}"
    worker.agent(archiver.channel, archiver.round, name=name, limit=ROUND_EVENTS)
    worker.holdings.on_loss(archiver.forget)

    @worker.app.timer(interval=TICK_S, name=f"{name}-tick")  # type: ignore[untyped-decorator]  # Faust has no types
    async def tick() -> None:
        await guarded(archiver.tick, None)
