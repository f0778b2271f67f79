"""The lake's promise, on a model: any crash, any replay, two writers at once, each row once.

The real LakeWriter runs against a conditional store in memory. Every request it makes
waits until the script lets it through, so the script decides the order of all requests of
all writers, which of them fail (with and without having taken effect), and where a writer
dies. Kafka is the worst there could be: any writer's commit is believed, even a zombie's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.lake import base, mapping
from connectors.lake.mapping import Dataset
from connectors.lake.writer import LakeWriter, Message
from pipeline.core import archive
from pipeline.core.archive import Claim, Decision, Seen
from pipeline.core.events import BusinessEvent, Severity, Source
from pipeline.core.telemetry import DeduplicatedBatch, Sample, pack

DAY = 86_400_000
TOPIC = "telemetry.deduplicated"


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


LAST = 9
WORKER = st.integers(0, 1)
FATE = st.sampled_from([None, Fate.LOST, Fate.ANSWER_LOST])
ACTIONS = st.one_of(
    st.tuples(st.just("bring"), WORKER, st.integers(0, 4), st.sampled_from([0, 1, 1, 2, 3]), FATE),
    st.tuples(st.just("bring"), WORKER, st.integers(1, 4), st.just(100), st.none()),
    st.tuples(st.just("offer"), WORKER, st.integers(1, 5)),
    st.tuples(st.just("start"), WORKER, st.integers(0, 4)),
    st.tuples(st.just("crash"), WORKER, st.booleans()),
    st.tuples(st.just("late"), st.integers(0, 5)),
)
# A script is long even on average: short ones seldom have two ranges in the lake.
SCRIPTS = st.lists(ACTIONS, min_size=16, max_size=50)
STEPS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([1, 1, 1, 2, -2, -1, 0])), min_size=8, max_size=30
)


@st.composite
def topics(draw: st.DrawFn) -> list[tuple[int, int]]:
    """(topic offset, source offset): with gaps, and going back as after an upstream crash."""
    out: list[tuple[int, int]] = []
    offset, source = draw(st.integers(0, 3)), 0
    for ahead, onward in draw(STEPS):
        out.append((offset, source))
        offset += ahead
        source = max(0, source + onward)
    return out


async def play(world: World, script: list[tuple[Any, ...]], check: Callable[[], None]) -> None:
    for name, *arguments in script:
        if name == "crash":
            await world.crash(arguments[0], arrives=arguments[1])
        else:
            await getattr(world, name)(*arguments)
        check()
    await world.finish()
    check()


DAYS = ((20_000,), (20_000, 20_001), (19_999, 20_000, 20_002), ())


@settings(max_examples=300, deadline=None)
@given(topics(), SCRIPTS)
def test_telemetry_is_in_the_lake_once_whatever_happens(
    offsets: list[tuple[int, int]], script: list[tuple[Any, ...]]
) -> None:
    topic = [(at, batch(source, DAYS[source % 4])) for at, source in offsets]
    expected: dict[float, int] = {}  # value to the topic offset that must bring it
    greatest = -1
    for at, message in topic:
        if message.source_offset > greatest:
            greatest = message.source_offset
            expected |= dict.fromkeys(message.batch.reading_value.tolist(), at)

    async def run() -> None:
        world = World(topic=list(topic), dataset=Dataset.TELEMETRY)

        def check() -> None:
            have = Counter(world.bucket.column("value"))
            assert all(count == 1 for count in have.values()), "a row is there twice"
            safe = {value for value, at in expected.items() if at < world.committed}
            assert safe <= set(have), "an offset was called safe before its rows were there"

        await play(world, script, check)
        assert sorted(world.bucket.column("value")) == sorted(expected)

    asyncio.run(run())


@settings(max_examples=150, deadline=None)
@given(topics(), SCRIPTS)
def test_events_are_in_the_lake_once_whatever_happens(
    offsets: list[tuple[int, int]], script: list[tuple[Any, ...]]
) -> None:
    # Some ids come with two sources: within a range the first counts, across ranges each.
    topic = [(at, event(s // 2, s % 2, f"e{s - s % 5 // 4}")) for at, s in offsets]

    async def run() -> None:
        world = World(topic=list(topic), dataset=Dataset.EVENTS)

        def check() -> None:
            offsets_seen = world.bucket.column("source_offset")
            have = Counter(zip(offsets_seen, world.bucket.column("source_index"), strict=True))
            assert all(count == 1 for count in have.values()), "an event is there twice"
            greatest, safe = (-1, -1), set()
            for at, message in topic:
                position = (message.source.offset, message.source.index)
                if at < world.committed and position > greatest:
                    greatest = position
                    safe.add(message.id)
            assert safe <= set(world.bucket.column("id")), "safe, and not there"

        await play(world, script, check)

    asyncio.run(run())


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


def writer(store: Plain, dataset: Dataset = Dataset.TELEMETRY) -> LakeWriter:
    return LakeWriter(store, dataset=dataset, flush_rows=100, flush_s=5.0)


async def test_two_writers_that_cut_elsewhere_agree_on_the_first_claim() -> None:
    store = Plain(Bucket())
    first, second = writer(store), writer(store)
    assert await first.open(TOPIC, 3) == await second.open(TOPIC, 3)
    for at in range(4):
        first.offer(3, at, batch(at))
    for at in range(10):
        second.offer(3, at, batch(at))
    assert isinstance(await first.flush(3), base.Flushed)
    won = await second.flush(3)
    assert won == base.Flushed(last_offset=3, calls=4)  # claim, read it, file, verify it
    assert second.counters.claims_lost == 1
    rest = await second.flush(3)
    assert isinstance(rest, base.Flushed)
    assert (rest.last_offset, rest.rows, rest.files, rest.calls) == (9, 6, 1, 2)
    first.offer(3, 4, batch(4))
    assert await first.flush(3) == base.Wait(until=9)


async def test_a_store_that_is_away_is_a_value_and_the_range_stays_as_claimed() -> None:
    store = Plain(Bucket())
    lake = writer(store)
    store.away = True
    assert await lake.open(TOPIC, 3) == base.Retry(reason="away")
    store.away = False
    await lake.open(TOPIC, 3)
    lake.offer(3, 0, batch(0))
    store.away = True
    assert await lake.flush(3) == base.Retry(reason="away")
    assert lake.waiting_rows(3) == 1
    store.away = False
    assert isinstance(await lake.flush(3), base.Flushed)
    assert lake.waiting_rows(3) == 0
    assert lake.counters.retries == 2


async def test_a_range_is_due_at_its_rows_or_its_age() -> None:
    lake = writer(Plain(Bucket()))
    await lake.open(TOPIC, 3)
    assert not lake.due(3, 0.0)
    lake.offer(3, 0, batch(0))
    assert not lake.due(3, 1.0)
    assert not lake.due(3, 5.9)
    assert lake.due(3, 6.0)
    await lake.flush(3)
    assert not lake.due(3, 100.0)
    for at in range(1, 101):
        lake.offer(3, at, batch(at))
    assert lake.due(3, 100.0)


async def test_messages_already_in_the_lake_are_skipped_after_kafka_went_back() -> None:
    store = Plain(Bucket())
    lake = writer(store)
    await lake.open(TOPIC, 3)
    for at in range(3):
        lake.offer(3, at, batch(at))
    await lake.flush(3)
    again = writer(store)
    resumed = await again.open(TOPIC, 3)
    assert isinstance(resumed, archive.Resume)
    assert (resumed.next_offset, resumed.redo) == (3, None)
    decisions = [again.offer(3, at, batch(min(at, 2))) for at in range(4)]
    assert decisions == [Decision.SKIP_ALREADY_IN_LAKE] * 3 + [Decision.SKIP_REPEATED]
    assert again.due(3, 0.0) is False
    assert again.due(3, 5.0) is True
    # Nothing to write: no request, and the offsets are safe.
    assert await again.flush(3) == base.Flushed(last_offset=3)
    assert (again.counters.skipped_already_in_lake, again.counters.skipped_repeated) == (3, 1)


async def test_a_file_of_another_range_under_our_name_halts_instead_of_counting_as_done() -> None:
    store = Plain(Bucket())
    other = Claim(
        topic=TOPIC,
        partition=3,
        first=0,
        last=7,
        seen_before=Seen(),
        seen=Seen(),
        messages=1,
        files=(("2024-10-04", 1),),
    )
    name = mapping.file_key(Dataset.TELEMETRY, other, "2024-10-04")
    (_, table), *_ = Dataset.TELEMETRY.tables([batch(0)])
    store.bucket.objects[name] = mapping.parquet(table, other)
    lake = writer(store)
    await lake.open(TOPIC, 3)
    lake.offer(3, 0, batch(0))
    result = await lake.flush(3)
    assert isinstance(result, base.Halt)
    assert name in result.reason
    assert lake.counters.halts == 1


async def test_a_claimed_range_that_the_topic_no_longer_gives_halts() -> None:
    store = Plain(Bucket())
    lake = writer(store)
    await lake.open(TOPIC, 3)
    for at in range(3):
        lake.offer(3, at, batch(at))
    await lake.flush(3)
    files = [key for key in store.bucket.objects if key.endswith(".parquet")]
    del store.bucket.objects[files[0]]  # as if it had died after the claim
    again = writer(store)
    resumed = await again.open(TOPIC, 3)
    assert isinstance(resumed, archive.Resume)
    assert resumed.redo is not None
    again.offer(3, 1, batch(1))
    again.offer(3, 2, batch(2))
    result = await again.flush(3)
    assert isinstance(result, base.Halt)
    assert "reset the consumer group to offset 0" in result.reason


async def test_a_topic_that_was_made_anew_halts_at_open() -> None:
    store = Plain(Bucket())
    lake = writer(store)
    await lake.open(TOPIC, 3)
    lake.offer(3, 41, batch(0))
    await lake.flush(3)
    assert isinstance(await writer(store).open(TOPIC, 3, end_offset=42), archive.Resume)
    assert isinstance(await writer(store).open(TOPIC, 3, end_offset=41), base.Halt)


async def test_an_operators_replay_is_taken_once_though_its_source_is_old() -> None:
    store = Plain(Bucket())
    lake = writer(store, Dataset.EVENTS)
    await lake.open("sink.lake", 3)
    lake.offer(3, 0, event(5))
    assert lake.offer(3, 1, event(2), replay=True) is Decision.TAKE
    await lake.flush(3)
    again = writer(store, Dataset.EVENTS)
    await again.open("sink.lake", 3)
    assert again.offer(3, 2, event(2), replay=True) is Decision.SKIP_REPEATED
    assert again.offer(3, 3, event(4)) is Decision.SKIP_REPEATED
    assert again.offer(3, 4, event(6)) is Decision.TAKE


async def test_calls_for_a_partition_that_is_not_open_are_harmless() -> None:
    lake = writer(Plain(Bucket()))
    assert lake.offer(3, 0, batch(0)) is None
    assert not lake.due(3, 1.0)
    assert lake.waiting_rows(3) == 0
    assert isinstance(await lake.flush(3), base.Retry)
    lake.drop(3)


async def test_a_range_of_messages_without_rows_still_carries_what_was_seen() -> None:
    store = Plain(Bucket())
    lake = writer(store)
    await lake.open(TOPIC, 3)
    lake.offer(3, 0, batch(8, ()))
    assert await lake.flush(3) == base.Flushed(last_offset=0, calls=1)
    again = writer(store)
    await again.open(TOPIC, 3)
    assert again.offer(3, 1, batch(8, ())) is Decision.SKIP_REPEATED
