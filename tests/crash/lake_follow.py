"""How far the archive group is: what the topics hold, what is committed, who belongs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.settings import Settings
from pipeline.wire import kafka
from tests.crash.follow import STABLE, Members, members
from tests.crash.lake_load import TOPICS
from tests.crash.tail import AWAY_S
from tests.waiting import first

GROUP: Final = "fieldline-archive"
_LOOK_S: Final = 0.25

Ends = Mapping[TopicPartition, int]


class LakeFollower:
    """Asks the broker on and on. Takes no part in anything."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.committed: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        """Next offset of each partition, at `asked_s` or later."""
        self.asked_s = 0.0
        self.members = Members(0.0, "unknown", 0)

    async def run(self) -> None:
        """Until cancelled; a broker that is away is waited for."""
        while True:
            admin = kafka.admin(self._settings)
            reader = kafka.consumer(self._settings, client_id="crash-lake-follower")
            try:
                async with asyncio.timeout(20):
                    await admin.start()
                    await reader.start()
                    partitions = await kafka.topic_partitions(reader, TOPICS)
                while True:
                    asked_s = time.monotonic()
                    async with asyncio.timeout(10):
                        self.members = await members(admin, GROUP)
                        offsets = await admin.list_consumer_group_offsets(GROUP)
                        self.ends = dict(await reader.end_offsets(partitions))
                    for tp, entry in offsets.items():
                        at = TopicPartition(tp.topic, tp.partition)
                        self.committed[at] = max(entry.offset, self.committed.get(at, 0))
                    self.asked_s = asked_s
                    await asyncio.sleep(_LOOK_S)
            except (KafkaError, OSError, LookupError, TimeoutError):
                await asyncio.sleep(AWAY_S)
            finally:
                await reader.stop()
                await admin.close()

    async def now(self, deadline_s: float) -> Ends | None:
        """Where the topics end, asked from now on; None where nobody answers in time."""
        since = time.monotonic()
        asked = await first(lambda: self.asked_s >= since, within_s=deadline_s)
        return dict(self.ends) if asked else None

    async def until_stable(self, count: int, deadline_s: float) -> bool:
        """Whether the group, asked from now on, had so many members and no rebalance in time."""
        since = time.monotonic()

        def stable() -> bool:
            now = self.members
            return now.asked_s >= since and now.state == STABLE and now.count == count

        return bool(await first(stable, within_s=deadline_s))

    async def until_committed(self, ends: Ends, deadline_s: float) -> bool:
        """Whether everything before `ends` was committed in time: then the lake has it."""
        return bool(await first(lambda: not self.behind(ends), within_s=deadline_s))

    def behind(self, ends: Ends) -> list[str]:
        """Partitions that are not committed up to there."""
        return [
            f"{tp.topic}/{tp.partition} ({self.committed.get(tp, 0)} of {end})"
            for tp, end in ends.items()
            if self.committed.get(tp, 0) < end
        ]
