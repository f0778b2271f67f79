"""Archive agents: each of the lake's topics → Parquet.

An agent only buffers, asks the writer to flush when a range is due, and acknowledges what
the lake holds. Which range, which files and what to skip is the writer's (connectors/lake).
Flushes run beside the rounds, one for each partition: while one range is made into files the
next is read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog
from faust.types import TP

from connectors.lake.base import Flushed, Halt, Retry, Wait
from connectors.lake.writer import LakeWriter, Message
from pipeline.agents.app import Worker
from pipeline.agents.halt import guarded, halt
from pipeline.agents.rounds import Round
from pipeline.core.archive import Resume
from pipeline.wire.avro import UnreadableError
from pipeline.wire.cloudevents import REPLAY

log = structlog.get_logger(__name__)

ROUND_EVENTS = 256
STEP_EVENTS = 16
STEP_BYTES = 1_000_000
"""So much is taken, as it stands in Kafka, between two looks at the memory."""
TICK_S = 0.5
RETRY_S = 1.0
LONGEST_S = 5.0
_LOOK_S = 0.25
"""How soon a waiting round hears that it is lost."""
_WORTH = 8
"""Of a full memory so large a part must be able to go, or small ranges come of it."""


class Decode(Protocol):
    """Reads one message; UnreadableError where it cannot."""

    def __call__(self, topic: str, partition: int, offset: int, value: bytes | None, /) -> Message:
        """The message's content."""
        ...


class Memory:
    """What a worker's archivers may hold together, bytes.

    | held                              | then                                             |
    |-----------------------------------|--------------------------------------------------|
    | less than `most`                  | read on                                          |
    | `most`, and some of it can go     | nothing is read until the largest buffer is gone |
    | `most`, but all of it is claimed  | read on: such a range can only go once it is     |
    | by another worker and not read    | read whole                                       |

    So it is at most `most`, one step of reading for each archiver (STEP_EVENTS messages, or
    STEP_BYTES and one message), and what dead workers had claimed: each no more than it held.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._archivers: list[Archiver] = []

    def share(self, archiver: Archiver) -> None:
        """One more that counts."""
        self._archivers.append(archiver)

    @property
    def held(self) -> int:
        """Bytes that all hold now."""
        return sum(archiver.held for archiver in self._archivers)

    async def room(self, hand: Round) -> None:
        """Wait until there is room again, or the round is lost."""
        while not hand.lost and self.held >= self._most:
            ready = [(size, a, p) for a in self._archivers for p, size in a.ready()]
            leaving = {task for archiver in self._archivers for task in archiver.leaving}
            if sum(size for size, _, _ in ready) >= self._most // _WORTH:
                _, archiver, partition = max(ready, key=lambda one: one[0])
                task = archiver.flush(partition)
            elif leaving:
                task = leaving.pop()
            else:
                return
            while not task.done() and not hand.lost:
                await asyncio.wait({task}, timeout=_LOOK_S)


class Archiver:
    """One topic on its way into one dataset."""

    def __init__(
        self,
        worker: Worker,
        *,
        topic: str,
        writer: LakeWriter,
        memory: Memory,
        decode: Decode,
        refuse: Callable[[Any, UnreadableError], Awaitable[Any]],
    ) -> None:
        self.topic = topic
        self._worker = worker
        self.channel = worker.source(topic)
        self._writer = writer
        self._memory = memory
        self._decode = decode
        self._refuse = refuse
        self._open: set[int] = set()
        self._flushes: dict[int, asyncio.Task[None]] = {}
        # The event loop itself keeps no task alive.
        self._tasks: set[asyncio.Task[None]] = set()
        self._pauses: dict[int, float] = {}
        self._life = 0
        memory.share(self)

    @property
    def held(self) -> int:
        """Bytes that it holds."""
        return self._writer.held

    @property
    def leaving(self) -> set[asyncio.Task[None]]:
        """Flushes under way of partitions that were revoked."""
        return self._tasks - set(self._flushes.values())

    def ready(self) -> list[tuple[int, int]]:
        """(partition, bytes it holds) of those that can be flushed as they are."""
        found = (p for p in self._open if not self._writer.awaits(p))
        return [(partition, self._writer.size(partition)) for partition in found]

    def forget(self) -> None:
        """Drop what is buffered: after a rebalance it comes again, to us or to another.

        A flush under way does no harm: what it brings is in the lake, whoever asks for it next.
        """
        for partition in self._open:
            self._writer.drop(partition)
        self._open.clear()
        self._flushes.clear()
        self._pauses.clear()
        self._life += 1

    async def round(self, hand: Round) -> None:
        """Buffer messages; begin to flush what is due; go on once there is room for more."""
        events, size = 0, 0
        for event in hand.events:
            if not await self._take(hand, event):
                return
            events, size = events + 1, size + len(event.message.value or b"")
            if events >= STEP_EVENTS or size >= STEP_BYTES:
                events, size = 0, 0
                self._begin()
                await self._memory.room(hand)
        self._begin()
        await self._memory.room(hand)

    async def tick(self, _: object = None) -> None:
        """Begin to flush what has become due by its age: no message needs to come for that."""
        self._begin()

    def flush(self, partition: int) -> asyncio.Task[None]:
        """Begin to flush whatever a partition holds; the flush that runs, where one does."""
        return self._started(partition, whatever=True)

    def _begin(self) -> None:
        now_s = time.monotonic()
        for partition in self._open:
            if self._writer.due(partition, now_s):
                self._started(partition, whatever=False)

    def _started(self, partition: int, *, whatever: bool) -> asyncio.Task[None]:
        running = self._flushes.get(partition)
        if running is not None and not running.done():
            return running

        async def flush(own: int) -> None:
            await self._flush(own, whatever=whatever, life=life)

        life = self._life
        task = asyncio.create_task(guarded(flush, partition))
        self._flushes[partition] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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
            decoded = self._decode(self.topic, partition, message.offset, message.value)
        except UnreadableError as error:
            await (await self._refuse(message, error))
            hand.acknowledge((event,))
            return not hand.lost
        self._writer.offer(
            partition,
            message.offset,
            decoded,
            replay=REPLAY in dict(message.headers or {}),
        )
        return True

    async def _ensure_open(self, hand: Round, partition: int) -> None:
        while partition not in self._open and not hand.lost:
            end = self._end_offset(partition)
            opened = await self._writer.open(self.topic, partition, end_offset=end)
            if not isinstance(opened, Resume):
                await self._wait(partition, opened, lambda: hand.lost)
            elif hand.lost:
                self._writer.drop(partition)
            else:
                self._open.add(partition)
                self._pauses.pop(partition, None)
                log.info(
                    "lake resumes",
                    topic=self.topic,
                    partition=partition,
                    next_offset=opened.next_offset,
                )

    async def _flush(self, partition: int, *, whatever: bool, life: int) -> None:
        """Flush what is due, range by range; `life` is the one of the partitions it is for."""
        while life == self._life and (whatever or self._writer.due(partition, time.monotonic())):
            whatever = False
            outcome = await self._writer.flush(partition)
            if isinstance(outcome, Wait):
                return
            if not isinstance(outcome, Flushed):
                await self._wait(partition, outcome, lambda: life != self._life)
                return
            # After a rebalance nothing lost is in hand, and what is in the lake may be finished.
            tp = TP(self.topic, partition)
            self._worker.holdings.acks.finish_below(tp, outcome.last_offset + 1)
            if life == self._life:
                self._pauses.pop(partition, None)

    async def _wait(
        self, partition: int, outcome: Retry | Halt, given_up: Callable[[], bool]
    ) -> None:
        if given_up():
            # Another may have gone on since: what contradicts what we knew then is no fault,
            # and a pause that is kept would be the next owner's.
            return
        said = {"topic": self.topic, "partition": partition, "reason": outcome.reason}
        if isinstance(outcome, Halt):
            log.critical("lake and topic contradict each other", **said)
            halt()
        left = self._pauses.get(partition, RETRY_S)
        self._pauses[partition] = min(2 * left, LONGEST_S)
        log.warning("lake waits", **said)
        while left > 0 and not given_up():
            await asyncio.sleep(min(left, _LOOK_S))
            left -= _LOOK_S

    def _end_offset(self, partition: int) -> int | None:
        try:
            end: int | None = self._worker.app.consumer.highwater(TP(self.topic, partition))
        except AssertionError:
            return None  # aiokafka's word for a partition that was taken away just now
        return end


def register(worker: Worker, archiver: Archiver) -> None:
    """Put one topic's agent into the app."""
    name = f"archive-{archiver.topic}"
    worker.agent(archiver.channel, archiver.round, name=name, limit=ROUND_EVENTS)
    worker.holdings.on_loss(archiver.forget)

    @worker.app.timer(interval=TICK_S, name=f"{name}-tick")  # type: ignore[untyped-decorator]  # Faust has no types
    async def tick() -> None:
        await guarded(archiver.tick, None)
