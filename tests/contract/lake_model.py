"""A model of the lake's surroundings: a topic, its consumers, a conditional store and a table.

Every request a writer makes waits until the script lets it through, so the script decides
the order of all requests of all writers, which of them fail (with and without having taken
effect), and where a writer dies. Kafka is the worst there could be: any writer's commit is
believed, even a zombie's.

The table is what its protocol promises (connectors.lake.base.Table): one range is added in one
step, or not; the answer may be lost all the same, and a dead writer's request may come late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.lake import base, mapping
from connectors.lake.writer import LakeWriter, Message
from pipeline.core import archive
from pipeline.core.archive import Claim
from pipeline.core.lake_columns import Column, Dataset
from pipeline.core.lake_evolve import plan
from pipeline.core.lake_records import Shape
from pipeline.core.lake_sum import row_sum
from pipeline.wire.lake import columns_of

TOPIC = "telemetry.deduplicated"
LAST = 9
"""Name of the healthy writer that finishes."""


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
    away: base.Unavailable | base.Retry

    def meet(self, fate: Fate) -> None:
        result = self.effect() if fate is not Fate.LOST else None
        if not self.answer.done():
            self.answer.set_result(result if fate is Fate.ANSWERED else self.away)


class Bucket:
    """A conditional store. `pending` are requests on their way, `moves` counts what happens."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.pending: list[Request] = []
        self.moves = 0
        self._tables: dict[str, pa.Table] = {}
        self._claims: dict[str, Claim] = {}
        self._sums: dict[str, tuple[int, int]] = {}

    def table(self, key: str) -> pa.Table:
        """A file's rows; an object never changes, so it is parsed once."""
        if key not in self._tables:
            self._tables[key] = pq.read_table(pa.BufferReader(self.objects[key]), partitioning=None)
        return self._tables[key]

    def column(self, name: str) -> list[Any]:
        keys = [key for key in self.objects if key.endswith(".parquet")]
        return [value for key in keys for value in self.table(key)[name].to_pylist()]

    async def ask(
        self, worker: int, effect: Callable[[], Any], away: base.Unavailable | base.Retry
    ) -> Any:  # noqa: ANN401 - one of base's answers
        """What the script lets the effect answer, or `away`."""
        answer = asyncio.get_running_loop().create_future()
        self.pending.append(Request(worker, effect, answer, away))
        self.moves += 1
        return await answer

    def claims(self) -> list[Claim]:
        """Every claim, in the order of the topic."""
        for key in [key for key in self.objects if key.endswith(".json")]:
            if key not in self._claims:
                claim = mapping.decode_claim(self.objects[key])
                assert claim is not None, key
                self._claims[key] = claim
        return sorted(self._claims.values(), key=lambda claim: claim.first)

    def counted(self, dataset: Dataset, key: str) -> tuple[int, int]:
        """Rows of a file, and their sum."""
        if key not in self._sums:
            table = self.table(key)
            self._sums[key] = (table.num_rows, row_sum(dataset, table))
        return self._sums[key]

    def put_new(self, key: str, data: bytes) -> base.Created | base.Exists:
        if key in self.objects:
            return base.Exists()
        self.objects[key] = data
        return base.Created()

    def get(self, key: str) -> base.Content | base.Missing:
        found = self.objects.get(key)
        return base.Missing() if found is None else base.Content(data=found, size=len(found))

    def list_after(self, prefix: str, after: str) -> base.Names:
        names = sorted(k for k in self.objects if k.startswith(prefix) and k > after)
        return base.Names(names=tuple(names[:2]), more=len(names) > 2)


class Line:
    """One writer's way to the bucket."""

    def __init__(self, bucket: Bucket, worker: int) -> None:
        self._bucket = bucket
        self._worker = worker

    async def _ask(self, effect: Callable[[], Any]) -> Any:  # noqa: ANN401 - one of base's answers
        return await self._bucket.ask(self._worker, effect, base.Unavailable(reason="away"))

    async def put_new(self, key: str, data: bytes) -> Any:  # noqa: ANN401 - as _ask
        return await self._ask(lambda: self._bucket.put_new(key, data))

    async def get(self, key: str) -> Any:  # noqa: ANN401 - as _ask
        return await self._ask(lambda: self._bucket.get(key))

    async def tail(self, key: str, size: int) -> Any:  # noqa: ANN401 - as _ask
        def effect() -> base.Content | base.Missing:
            whole = self._bucket.get(key)
            if isinstance(whole, base.Missing):
                return whole
            return base.Content(data=whole.data[-size:], size=whole.size)

        return await self._ask(effect)

    async def list_after(self, prefix: str, after: str) -> Any:  # noqa: ANN401 - as _ask
        return await self._ask(lambda: self._bucket.list_after(prefix, after))


@dataclass
class Shown:
    """What the readers of a table see: ranges in the order in which they were added."""

    columns: tuple[Column, ...]
    ranges: list[tuple[Claim, tuple[base.Written, ...]]] = field(default_factory=list)

    def standing(self) -> base.Standing | None:
        if not self.ranges:
            return None
        claim, _ = self.ranges[-1]
        return base.Standing(first=claim.first, last=claim.last)

    def register(self, claim: Claim, files: Sequence[base.Written]) -> base.Halt | None:
        standing = self.standing()
        last = -1 if standing is None else standing.last
        if claim.last <= last:
            return None
        if claim.first != last + 1:
            return base.Halt(reason=f"offset {claim.first} after {last}")
        self.ranges.append((claim, tuple(files)))
        return None

    def evolve(self, wanted: Sequence[Column]) -> Shape:
        self.columns = plan(self.columns, wanted).columns
        return Shape(columns=self.columns)

    def keys(self) -> list[str]:
        return [file.key for _, files in self.ranges for file in files]


class TableLine:
    """One writer's way to the table: every step of it may be lost, with or without its effect."""

    def __init__(self, bucket: Bucket, worker: int, shown: Shown) -> None:
        self._bucket = bucket
        self._worker = worker
        self._shown = shown

    async def _ask(self, effect: Callable[[], Any]) -> Any:  # noqa: ANN401 - one of base's answers
        return await self._bucket.ask(self._worker, effect, base.Retry(reason="away"))

    async def open(self) -> Any:  # noqa: ANN401 - as _ask
        return await self._ask(lambda: Shape(columns=self._shown.columns))

    async def evolve(self, wanted: Sequence[Column]) -> Any:  # noqa: ANN401 - as _ask
        return await self._ask(lambda: self._shown.evolve(wanted))

    async def standing(self, _topic: str, _partition: int) -> Any:  # noqa: ANN401 - as _ask
        return await self._ask(self._shown.standing)

    async def register(self, claim: Claim, files: Sequence[base.Written]) -> Any:  # noqa: ANN401 - as _ask
        return await self._ask(lambda: self._shown.register(claim, files))


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
    """A topic-partition, its consumers, the bucket and, where there is one, the table."""

    topic: list[tuple[int, Message]]
    dataset: Dataset
    shown: Shown | None = None
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
        table = None if self.shown is None else TableLine(self.bucket, name, self.shown)
        writer = LakeWriter(
            Line(self.bucket, name), dataset=self.dataset, flush_rows=5, flush_s=1.0, table=table
        )
        position = max(0, sum(offset < self.committed for offset, _ in self.topic) - back)
        floor = min([self.committed, *(offset for offset, _ in self.topic[position:])])
        worker = self.workers[name] = Worker(writer=writer, position=position, floor=floor)
        worker.task = asyncio.ensure_future(writer.open(TOPIC, 3))
        await self.answer(name, 1000, None)

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
            await self.flush(LAST, 1000, None)
            if not self.topic or self.committed > self.topic[-1][0]:
                break
        else:
            pytest.fail("the last writer does not get to the end of the topic")
        while self.bucket.pending:
            await self.late(0)

    def balance(self) -> None:
        """Claims, files and table agree: what the claims say is what the files hold."""
        claims = self.bucket.claims()
        assert [c.first for c in claims[:1]] in ([], [0])
        for before, after in pairwise(claims):
            assert after.first == before.last + 1, "the chain of ranges has a gap, or overlaps"
        names = {
            mapping.file_key(self.dataset, claim, part.date): part
            for claim in claims
            for part in claim.files
        }
        files = {key for key in self.bucket.objects if key.endswith(".parquet")}
        assert files <= set(names), "a file that no claim names"
        for key in files:
            assert self.bucket.counted(self.dataset, key) == names[key][1:], key
        # A range is claimed only after all before it are there whole.
        done = [mapping.file_key(self.dataset, c, p.date) for c in claims[:-1] for p in c.files]
        assert set(done) <= files, "a range was claimed after one that is not there"
        if self.shown is not None:
            keys = self.shown.keys()
            assert len(set(keys)) == len(keys), "the table has a file twice"
            assert set(keys) <= files, "the table shows a file that is not there"
            shown = [claim for claim, _ in self.shown.ranges]
            assert shown == claims[: len(shown)], "the table skips a range"
            assert len(claims) - len(shown) <= 1
            assert sorted(keys) == sorted(
                mapping.file_key(self.dataset, c, p.date) for c in shown for p in c.files
            ), "the table shows a range in part"

    def visible(self, name: str) -> list[Any]:
        """A column as the lake's readers see it: through the table where there is one."""
        if self.shown is None:
            return self.bucket.column(name)
        keys = self.shown.keys()
        return [value for key in keys for value in self.bucket.table(key)[name].to_pylist()]


def world(topic: Sequence[tuple[int, Message]], dataset: Dataset, *, table: bool) -> World:
    """A world before anything has happened."""
    shown = Shown(columns=columns_of(dataset)) if table else None
    return World(topic=list(topic), dataset=dataset, shown=shown)


async def play(world: World, script: list[tuple[Any, ...]], check: Callable[[], None]) -> None:
    for name, *arguments in script:
        if name == "crash":
            await world.crash(arguments[0], arrives=arguments[1])
        else:
            await getattr(world, name)(*arguments)
        world.balance()
        check()
    await world.finish()
    world.balance()
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
