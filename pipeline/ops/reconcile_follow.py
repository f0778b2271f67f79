"""Follows the topics that the books are made from: a plain consumer, and how far it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.core.routing import Route, sinks_of
from pipeline.ops.books import FANOUT_GROUP, committed_offsets, event_topics, group_of
from pipeline.ops.reconcile_fold import Reader, is_fanout, sink_of, stages
from pipeline.ops.reconcile_reviews import Reviews
from pipeline.ops.reconcile_store import Store
from pipeline.settings import Settings
from pipeline.topology import AUDIT, EVENTS, REVIEW, sink_topic
from pipeline.wire import kafka
from pipeline.wire.avro import Codec

POLL_RECORDS = 1_000
POLL_MS = 250
_CLUSTER = "cluster"
_SINKS = "sinks"


class StaleError(Exception):
    """The store is of other topics than these, or they have lost what it did not read yet."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment: what workers had committed, and then where the topics ended."""

    at_s: float
    committed: Mapping[str, Mapping[int, int]]
    ends: Mapping[TopicPartition, int]


class Follower:
    """Reads `books.event_topics` into a store, and reviews beside them."""

    def __init__(
        self, settings: Settings, store: Store, codec: Codec, routes: Sequence[Route]
    ) -> None:
        self.reader = Reader(store, codec, routes)
        self.reviews = Reviews(codec)
        self.stages = stages(routes)
        self.partitions: dict[str, list[int]] = {}
        """Partitions of each stage's topic."""
        self._routes = routes
        self._store = store
        self._consumer: AIOKafkaConsumer = kafka.consumer(settings)
        self._admin: AIOKafkaAdminClient = kafka.admin(settings)
        self._at: dict[TopicPartition, int] = {}
        self._moved = asyncio.Condition()

    async def start(self) -> None:
        """Go on where the store is; StaleError where that cannot be."""
        await self._consumer.start()
        await self._admin.start()
        topics = (*event_topics(self._routes), REVIEW, AUDIT)
        found = await kafka.topic_partitions(self._consumer, topics)
        self._consumer.assign(found)
        await self._check_whose()
        begins = await self._consumer.beginning_offsets(found)
        ends = await self._consumer.end_offsets(found)
        for tp in found:
            read = self._store.offsets.get((tp.topic, tp.partition), begins[tp])
            if read > ends[tp]:
                raise StaleError(f"{tp.topic}/{tp.partition} is shorter than what was read of it")
            if read < begins[tp]:
                raise StaleError(f"{tp.topic}/{tp.partition} was cut before it was read")
            self._at[tp] = read
            self._consumer.seek(tp, read)
        for stage in self.stages:
            topic = stage_topic(stage)
            self.partitions[stage] = [tp.partition for tp in found if tp.topic == topic]

    async def _check_whose(self) -> None:
        cluster = str((await self._admin.describe_cluster())["cluster_id"]).encode()
        known = self._store.note(_CLUSTER)
        if known is not None and known != cluster:
            raise StaleError("the books are of another Kafka cluster")
        sinks = ",".join(sorted(sinks_of(self._routes))).encode()
        if self._store.note(_SINKS) not in {None, sinks}:
            raise StaleError("the routing table has other sinks than when they were begun")
        self._store.put_note(_CLUSTER, cluster)
        self._store.put_note(_SINKS, sinks)
        self._store.commit()

    async def stop(self) -> None:
        """Let go of Kafka."""
        for close in (self._consumer.stop, self._admin.close):
            try:
                await close()
            except asyncio.CancelledError:
                # The consumer cancels its own tasks, and lets that out where one just slept.
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise

    async def poll(self) -> None:
        """Fold in what has come, durably."""
        found = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
        for tp, messages in found.items():
            for message in messages:
                if tp.topic in {REVIEW, AUDIT}:
                    self.reviews.take(tp.topic, message.value)
                else:
                    self.reader.take(
                        tp.topic,
                        tp.partition,
                        message.offset,
                        at_ms=message.timestamp,
                        key=message.key,
                        value=message.value,
                    )
        if found:
            self._store.commit()
        for tp in self._at:
            self._at[tp] = await self._consumer.position(tp)
        async with self._moved:
            self._moved.notify_all()

    async def poll_for_ever(self) -> None:
        """What `poll` does, again and again; raises what Kafka does."""
        while True:
            await self.poll()
            await asyncio.sleep(0)

    async def mark(self) -> Mark:
        """Now: what is committed, then the ends.

        Books that have reached it know the fate of all that was committed, as workers write
        results before they commit.
        """
        at_s = time.monotonic()
        groups = {stage: group_of_stage(stage) for stage in self.stages}
        offsets = await committed_offsets(self._admin, dict.fromkeys(groups.values()))
        committed: dict[str, dict[int, int]] = {}
        for stage, group in groups.items():
            topic = stage_topic(stage)
            committed[stage] = {p: o for (name, p), o in offsets[group].items() if name == topic}
        return Mark(at_s, committed, await self._consumer.end_offsets(list(self._at)))

    async def reach(self, mark: Mark) -> None:
        """Wait until what was there at that moment is in the books; somebody else polls."""
        async with self._moved:
            await self._moved.wait_for(lambda: not self.behind(mark))

    def behind(self, mark: Mark) -> int:
        """How many messages there were at that moment that are not in the books yet, about."""
        return sum(max(0, end - self._at[tp]) for tp, end in mark.ends.items())


def stage_topic(stage: str) -> str:
    """The topic that has to be emptied."""
    return EVENTS if is_fanout(stage) else sink_topic(stage)


def group_of_stage(stage: str) -> str:
    """The consumer group that empties it."""
    return FANOUT_GROUP if is_fanout(stage) else group_of(sink_of(stage))
