"""A model of the lake's surroundings: a topic, its consumers and a conditional store.

Every request a writer makes waits until the script lets it through, so the script decides
the order of all requests of all writers, which of them fail (with and without having taken
effect), and where a writer dies. Kafka is the worst there could be: any writer's commit is
believed, even a zombie's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.lake import base
from connectors.lake.mapping import Dataset
from connectors.lake.writer import LakeWriter, Message
from pipeline.core import archive
from pipeline.core.events import BusinessEvent, Severity, Source
from pipeline.core.telemetry import DeduplicatedBatch, Sample, pack

DAY = 86_400_000
TOPIC = "telemetry.deduplicated"
LAST = 9
"""Name of the healthy writer that finishes."""


def batch(source_offset: int, days: tuple[int, ...] = (20_000,)) -> DeduplicatedBatch:
    """A batch with one reading a day, its value unique in the test."""
    samples = [
        Sample(
            device_id=f"acme/pump-{source_offset % 3}",
            session=1,
            sequence=source_offset * 10 + at,
            time_ms=day * DAY + source_offset,
            received_ms=day * DAY + source_offset + 5,
            readings=(("temperature", float(source_offset * 10 + at)),),
        )
        for at, day in enumerate(days)
    ]
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=3,
        source_offset=source_offset,
        batch=pack(samples),
        late=np.zeros(len(samples), dtype=np.bool_),
        duplicates=0,
    )


def event(source_offset: int, index: int = 0, event_id: str | None = None) -> BusinessEvent:
    return BusinessEvent(
        id=event_id or f"event-{source_offset}-{index}",
        type="fieldline.limit.exceeded",
        tenant="acme",
        device_id="acme/pump-1",
        asset_id=None,
        customer_id="C-1",
        severity=Severity.WARNING,
        confidence=0.9,
        summary="Too hot.",
        detector="limit",
        metric="temperature",
        rule="hot@1",
        correlation_id="c",
        occurred_at_ms=20_000 * DAY + source_offset * DAY // 3,
        observed_at_ms=20_000 * DAY,
        source=Source(
            topic="telemetry.readings",
            partition=3,
            offset=source_offset,
            index=index,
            session=1,
            sequence=source_offset,
        ),
        snapshot=(),
    )


class Fate(StrEnum):
    """What becomes of one request."""

    ANSWERED = "answered"
    LOST = "lost"
    ANSWER_LOST = "answer lost"


@dataclass(eq=False)
class Request:
    worker: int
    effect: Callable[[], Any]
    answer: asyncio.Future[Any]

    def meet(self, fate: Fate) -> None:
        result = self.effect() if fate is not Fate.LOST else None
        if not self.answer.done():
            away = base.Unavailable(reason="away")
            self.answer.set_result(result if fate is Fate.ANSWERED else away)


class Bucket:
    """A conditional store. `pending` are requests on their way, `moves` counts what happens."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.pending: list[Request] = []
        self.moves = 0
        self._tables: dict[str, pa.Table] = {}

    def table(self, key: str) -> pa.Table:
        """A file's rows; an object never changes, so it is parsed once."""
        if key not in self._tables:
            self._tables[key] = pq.read_table(pa.BufferReader(self.objects[key]), partitioning=None)
        return self._tables[key]

    def column(self, name: str) -> list[Any]:
        keys = [key for key in self.objects if key.endswith(".parquet")]
        return [value for key in keys for value in self.table(key)[name].to_pylist()]

    def put_new(self, key: str, data: bytes) -> base.Created | base.Exists:
        if key in self.objects:
            return base.Exists()
        self.objects[key] = data
        return base.Created()

    def get(self, key: str) -> base.Content | base.Missing:
        found = self.objects.get(key)
        return base.Missing() if found is None else base.Content(data=found)

    def list_after(self, prefix: str, after: str) -> base.Names:
        names = sorted(k for k in self.objects if k.startswith(prefix) and k > after)
        return base.Names(names=tuple(names[:2]), more=len(names) > 2)


class Line:
    """One writer's way to the bucket."""

    def __init__(self, bucket: Bucket, worker: int) -> None:
        self._bucket = bucket
        self._worker = worker

    async def _ask(self, effect: Callable[[], Any]) -> Any:  # noqa: ANN401 - one of base's answers
        request = Request(self._worker, effect, asyncio.get_running_loop().create_future())
        self._bucket.pending.append(request)
        self._bucket.moves += 1
        return await request.answer

    async def put_new(self, key: str, data: bytes) -> Any:  # noqa: ANN401 - as _ask
        return await self._ask(lambda: self._bucket.put_new(key, data))

    async def get(self, key: str) -> Any:  # noqa: ANN401 - as _ask
        return await self._ask(lambda: self._bucket.get(key))

    async def tail(self, key: str, size: int) -> Any:  # noqa: ANN401 - as _ask
        def effect() -> base.Content | base.Missing:
            whole = self._bucket.get(key)
            return (
                base.Content(data=whole.data[-size:]) if isinstance(whole, base.Content) else whole
            )

        return await self._ask(effect)

    async def list_after(self, prefix: str, after: str) -> Any:  # noqa: ANN401 - as _ask
        return await self._ask(lambda: self._bucket.list_after(prefix, after))


@dataclass
class Worker:
    """A process: its writer, how far it has read the topic, what it is waiting for."""

    writer: LakeWriter
    position: int
    floor: int
    is_open: bool = False
    task: asyncio.Task[Any] | None = None


@dataclass
class World:
    """A topic-partition, its consumers and the bucket."""

    topic: list[tuple[int, Message]]
    dataset: Dataset
    bucket: Bucket = field(default_factory=Bucket)
    workers: dict[int, Worker] = field(default_factory=dict)
    committed: int = 0

    async def quiet(self) -> None:
        """Let every task run until all that can happen needs a request answered."""
        still = 0
        while still < 6:
            before = self.bucket.moves
            await asyncio.sleep(0)
            still = still + 1 if before == self.bucket.moves else 0
        for worker in self.workers.values():
            if worker.task is not None and worker.task.done():
                result, worker.task = worker.task.result(), None
                assert not isinstance(result, base.Halt), result.reason
                if isinstance(result, archive.Resume):
                    worker.is_open = True
                if isinstance(result, base.Flushed):
                    # A consumer never commits below where it began to read.
                    self.committed = max(worker.floor, result.last_offset + 1)

    async def start(self, name: int, back: int) -> None:
        """A process (anew): it reads the topic from `back` messages before what is committed."""
        await self.crash(name, arrives=False)
        writer = LakeWriter(
            Line(self.bucket, name), dataset=self.dataset, flush_rows=5, flush_s=1.0
        )
        position = max(0, sum(offset < self.committed for offset, _ in self.topic) - back)
        floor = min([self.committed, *(offset for offset, _ in self.topic[position:])])
        worker = self.workers[name] = Worker(writer=writer, position=position, floor=floor)
        worker.task = asyncio.ensure_future(writer.open(TOPIC, 3))
        await self.answer(name, 100, None)

    async def crash(self, name: int, *, arrives: bool) -> None:
        """It dies; what it has on its way arrives now, or perhaps much later."""
        if arrives:
            for request in [r for r in self.bucket.pending if r.worker == name]:
                self.bucket.pending.remove(request)
                request.meet(Fate.ANSWER_LOST)
        worker = self.workers.pop(name, None)
        if worker is not None and worker.task is not None:
            worker.task.cancel()

    async def offer(self, name: int, count: int) -> None:
        """It reads on, also while a flush is under way."""
        worker = await self._opened(name)
        for offset, message in self.topic[worker.position : worker.position + count]:
            worker.writer.offer(3, offset, message)
            worker.position += 1

    async def bring(self, name: int, count: int, answers: int, last: Fate | None) -> None:
        """It reads on and flushes."""
        await self.offer(name, count)
        await self.flush(name, answers, last)

    async def flush(self, name: int, answers: int, last: Fate | None) -> None:
        """It flushes, or goes on flushing; see `answer`."""
        worker = await self._opened(name)
        if worker.task is None:
            worker.task = asyncio.ensure_future(worker.writer.flush(3))
        await self.answer(name, answers, last)

    async def answer(self, name: int, count: int, last: Fate | None) -> None:
        """Answer so many of its requests; the one after them, if any, meets its fate."""
        for fate in [Fate.ANSWERED] * count + [last] * (last is not None):
            await self.quiet()
            own = [request for request in self.bucket.pending if request.worker == name]
            if own and fate is not None:
                self.bucket.pending.remove(own[0])
                own[0].meet(fate)
            elif not own:
                break
        await self.quiet()

    async def late(self, which: int) -> None:
        """Any request on its way, a dead writer's too, arrives."""
        if self.bucket.pending:
            self.bucket.pending.pop(which % len(self.bucket.pending)).meet(Fate.ANSWERED)
            await self.quiet()

    async def _opened(self, name: int) -> Worker:
        if name not in self.workers:
            await self.start(name, back=0)
        assert self.workers[name].is_open
        return self.workers[name]

    async def finish(self) -> None:
        """A healthy last writer brings the rest; then whatever zombies sent arrives."""
        for name in list(self.workers):
            await self.crash(name, arrives=False)
        for _ in range(100):
            await self.offer(LAST, 1000)
            await self.flush(LAST, 100, None)
            if not self.topic or self.committed > self.topic[-1][0]:
                break
        else:
            pytest.fail("the last writer does not get to the end of the topic")
        while self.bucket.pending:
            await self.late(0)


async def play(world: World, script: list[tuple[Any, ...]], check: Callable[[], None]) -> None:
    for name, *arguments in script:
        if name == "crash":
            await world.crash(arguments[0], arrives=arguments[1])
        else:
            await getattr(world, name)(*arguments)
        check()
    await world.finish()
    check()


class Plain:
    """The bucket answering at once, for the examples below."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.away = False

    async def put_new(self, key: str, data: bytes) -> Any:  # noqa: ANN401 - one of base's answers
        return base.Unavailable(reason="away") if self.away else self.bucket.put_new(key, data)

    async def get(self, key: str) -> Any:  # noqa: ANN401 - as put_new
        return base.Unavailable(reason="away") if self.away else self.bucket.get(key)

    async def tail(self, key: str, size: int) -> Any:  # noqa: ANN401, ARG002 - as put_new
        return await self.get(key)

    async def list_after(self, prefix: str, after: str) -> Any:  # noqa: ANN401 - as put_new
        if self.away:
            return base.Unavailable(reason="away")
        return self.bucket.list_after(prefix, after)
