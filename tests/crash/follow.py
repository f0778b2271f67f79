"""Watches a run from outside: what has come out, and what was committed when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.settings import Settings
from pipeline.topology import DEDUPLICATED, READINGS
from pipeline.wire import kafka
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import decode_deduplicated
from tests.crash.tail import AWAY_S, tail
from tests.waiting import first

GROUP: Final = "fieldline-detect"
STABLE: Final = "Stable"
_LOOK_S: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """At one moment: the group's committed offset of a partition of telemetry.readings (the
    next to read), and where telemetry.deduplicated ended just after."""

    partition: int
    committed: int
    output_end: int


@dataclass(slots=True)
class Seen:
    """What came out so far, per partition of telemetry.deduplicated."""

    greatest: dict[int, int] = field(default_factory=dict)
    """Greatest source_offset."""
    fresh_ms: dict[int, list[int]] = field(default_factory=dict)
    """When each message with a new greatest source_offset was appended, broker's clock."""
    repeated: int = 0
    """Messages that the reader's rule skips."""

    def take(self, partition: int, source_offset: int, timestamp_ms: int) -> None:
        """One message of the output, in its order."""
        if source_offset <= self.greatest.get(partition, -1):
            self.repeated += 1
            return
        self.greatest[partition] = source_offset
        self.fresh_ms.setdefault(partition, []).append(timestamp_ms)

    def covers(self, ends: Mapping[int, int]) -> bool:
        """Whether everything up to these offsets has come out."""
        return all(self.greatest.get(p, -1) >= offset for p, offset in ends.items())


@dataclass(frozen=True, slots=True)
class Members:
    """The group as the broker told it at `asked_s` (monotonic): its state, how many belong."""

    asked_s: float
    state: str
    count: int


class Follower:
    """Reads the output and the committed offsets while the run goes on. Takes no part in it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._codec = Codec()
        self.seen = Seen()
        self.commits: list[Commit] = []
        self.last: dict[int, int] = {}
        """Committed offsets as last seen."""
        self.members = Members(0.0, "unknown", 0)

    async def run(self) -> None:
        """Follow until cancelled; a broker that is away is waited for."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                tail(self._settings, DEDUPLICATED, self._take, client_id="crash-follower")
            )
            tasks.create_task(self._offsets())

    async def until(self, ends: Mapping[int, int], deadline_s: float) -> bool:
        """Whether everything up to `ends` came out within `deadline_s` seconds."""
        return bool(await first(lambda: self.seen.covers(ends), within_s=deadline_s))

    async def until_stable(self, members: int, deadline_s: float) -> bool:
        """Whether the group, asked from now on, had so many members and no rebalance in time."""
        since = time.monotonic()

        def stable() -> bool:
            now = self.members
            return now.asked_s >= since and now.state == STABLE and now.count == members

        return bool(await first(stable, within_s=deadline_s))

    async def until_committed(self, ends: Mapping[int, int], deadline_s: float) -> bool:
        """Whether everything up to `ends` was committed within `deadline_s` seconds."""

        def committed() -> bool:
            return all(self.last.get(p, 0) > offset for p, offset in ends.items())

        return bool(await first(committed, within_s=deadline_s))

    def _take(self, message: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        try:
            output = decode_deduplicated(self._codec, message.value)
        except UnreadableError:
            return  # the checker will find it
        self.seen.take(message.partition, output.source_offset, message.timestamp)

    async def _offsets(self) -> None:
        while True:
            admin = kafka.admin(self._settings)
            reader = kafka.consumer(self._settings, client_id="crash-commits")
            try:
                async with asyncio.timeout(20):
                    await admin.start()
                    await reader.start()
                partitions = await kafka.topic_partitions(reader, [DEDUPLICATED])
                while True:
                    async with asyncio.timeout(10):
                        self.members = await members(admin, GROUP)
                        offsets = await admin.list_consumer_group_offsets(GROUP)
                        ends = await reader.end_offsets(partitions)
                    self._note(offsets, ends)
                    await asyncio.sleep(_LOOK_S)
            except (KafkaError, OSError, LookupError, TimeoutError):
                await asyncio.sleep(AWAY_S)
            finally:
                await reader.stop()
                await admin.close()

    def _note(self, offsets: Mapping[Any, Any], ends: Mapping[TopicPartition, int]) -> None:
        for tp, entry in offsets.items():
            if tp.topic != READINGS or entry.offset < 0:
                continue
            if self.last.get(tp.partition) != entry.offset:
                self.last[tp.partition] = entry.offset
                end = ends[TopicPartition(DEDUPLICATED, tp.partition)]
                commit = Commit(partition=tp.partition, committed=entry.offset, output_end=end)
                self.commits.append(commit)


async def members(admin: AIOKafkaAdminClient, group: str) -> Members:
    """How a consumer group stands now."""
    asked_s = time.monotonic()
    answers: list[Any] = await admin.describe_consumer_groups([group])
    # DescribeGroups answer, per group: error, id, state, protocol type, protocol, members, ...
    _, _, state, _, _, members, *_ = answers[0].groups[0]
    return Members(asked_s, state, len(members))
