"""A Kafka of the bench's own, its topics, and what can be seen of them from outside."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from infra.local.stack import Stack, clean
from pipeline.ops import topics
from pipeline.ops.books import committed_offsets
from pipeline.settings import Settings
from pipeline.topology import PARTITIONS, READINGS, Topic
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka

ROOT = Path(".local/bench")
"""Everything the bench keeps: results, the peers' environment, and the stack's folder."""
WAIT_S = 90.0
"""Longest wait for the broker to do what it was told."""
_LOOK_S = 0.1
_OUTSIDE = ("KAFKA_", "MQTT_URL", "SCHEMA_REGISTRY_URL")


class BenchError(Exception):
    """The bench cannot go on; the text is one sentence: what is wrong and how to mend it."""


class Broker:
    """The stack's parts in .local/bench/stack, fresh each time.

    Topics are deleted here, so it never uses a cluster of the user's, whatever the
    environment says.
    """

    def __init__(self, say: Callable[[str], None], *, parts: Sequence[str] = ("kafka",)) -> None:
        self.root = (ROOT / "stack").absolute()
        self._say = say
        self._parts = tuple(parts)
        self._stack: Stack
        self.env: dict[str, str] = {}
        self.settings: Settings

    def __enter__(self) -> Self:
        for name in [n for n in os.environ if n.startswith(_OUTSIDE)]:
            del os.environ[name]
        clean(self.root)
        self._stack = Stack(self.root, say=self._say, only=self._parts)
        self.env = self._stack.start() | {"FIELDLINE_PARTITIONS": str(PARTITIONS)}
        self.settings = Settings(
            kafka_bootstrap=self.env["KAFKA_BOOTSTRAP"],
            mqtt_url=self.env.get("MQTT_URL", "mqtt://127.0.0.1:1883"),
            partitions=PARTITIONS,
            data_dir=self.root / "state",
            log_dir=self.root / "log",
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.stop()
        if error is None:  # gigabytes; after a failure they may be wanted
            for name in ("parts", "state", "peer-state"):
                shutil.rmtree(self.root / name, ignore_errors=True)

    @property
    def pids(self) -> tuple[int, ...]:
        """Processes of the stack's parts."""
        return tuple(self._stack.pids.values())

    def renew(self, part: str) -> None:
        """Stop a part, forget its data, and start it again on the same port."""
        self._stack.stop_part(part)
        shutil.rmtree(self.root / "parts" / part / "data", ignore_errors=True)
        self._stack.start_part(part)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """An admin client."""
        client = kafka.admin(self.settings)
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    async def make_ours(self, *, keep_readings: bool = False) -> None:
        """The pipeline's topics, empty; telemetry.readings too unless it is to be kept."""
        wanted = all_topics(())
        doomed = [t.name for t in wanted if not (keep_readings and t.name == READINGS)]
        await self.drop(doomed)
        await self._create_ours(wanted)

    async def _create_ours(self, wanted: tuple[Topic, ...]) -> None:
        async with self.admin() as admin:
            await topics.create(admin, wanted, self.settings)

    async def make(self, name: str) -> None:
        """A topic for a peer, with the same number of partitions."""
        async with self.admin() as admin:
            answer = await admin.create_topics(
                [NewTopic(name=name, num_partitions=PARTITIONS, replication_factor=1)]
            )
        for topic, code, *_ in answer.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise BenchError(f"Topic {topic} could not be created: see {self.root}/log.")
        async with self.watch(name):
            return

    async def drop(self, names: Iterable[str]) -> None:
        """Delete topics, and wait until they are gone; committed offsets on them go too."""
        async with self.admin() as admin:
            doomed = sorted(set(names) & set(await admin.list_topics()))
            if not doomed:
                return
            await admin.delete_topics(doomed)
            deadline = time.monotonic() + WAIT_S
            while set(doomed) & set(await admin.list_topics()):
                _in_time(deadline, f"deleting {', '.join(doomed)}")
                await asyncio.sleep(_LOOK_S)

    async def rewind(self, group: str, topic: str) -> None:
        """Make `group` begin `topic` again. Waits until it has no member: static ones stay on
        for their session time-out.
        """
        deadline = time.monotonic() + WAIT_S
        async with self.admin() as admin:
            while await _members(admin, group):
                _in_time(deadline, f"letting group {group} go")
                await asyncio.sleep(_LOOK_S)
            if not (await committed_offsets(admin, [group]))[group]:
                return
        client = kafka.consumer(self.settings, group=group)
        await client.start()
        try:
            partitions = [TopicPartition(topic, p) for p in range(PARTITIONS)]
            client.assign(partitions)
            await client.commit(dict.fromkeys(partitions, 0))
        finally:
            await client.stop()

    async def members(self, group: str) -> int:
        """How many members the group has now."""
        async with self.admin() as admin:
            return await _members(admin, group)

    async def lag(self, group: str, ends: Mapping[int, int], topic: str) -> int:
        """Messages of `topic` that the group has not committed."""
        async with self.admin() as admin:
            done = (await committed_offsets(admin, [group]))[group]
        return sum(end - done.get((topic, p), 0) for p, end in ends.items())

    @asynccontextmanager
    async def watch(self, topic: str) -> AsyncIterator[Ends]:
        """Something to ask for a topic's end offsets, cheaply."""
        client = kafka.consumer(self.settings, client_id="bench")
        await client.start()
        try:
            partitions = await kafka.topic_partitions(client, [topic])
            yield Ends(client, partitions, self.pids)
        finally:
            await client.stop()


class Ends:
    """End offsets of one topic."""

    def __init__(
        self, client: AIOKafkaConsumer, partitions: list[TopicPartition], pids: tuple[int, ...]
    ) -> None:
        self._client = client
        self._partitions = partitions
        self.pids = pids
        """Processes of the stack, whose work belongs to the bench."""

    async def now(self) -> dict[int, int]:
        """End offset by partition: one request."""
        ends = await self._client.end_offsets(self._partitions)
        return {tp.partition: end for tp, end in ends.items()}


async def _members(admin: AIOKafkaAdminClient, group: str) -> int:
    try:
        answers = await admin.describe_consumer_groups([group])
    except KafkaError:
        return 0  # a broker that has not yet made its offsets topic has no groups
    return sum(len(found[5]) for answer in answers for found in answer.groups)


def _in_time(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise BenchError(f"Kafka took more than {WAIT_S:.0f} s for {what}: see .local/bench/stack.")
