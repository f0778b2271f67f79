"""Keeps operations.balance: a look each second, with what is missing."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaProducer

from pipeline.core.fates import StageLine
from pipeline.core.reconcile import Finding, Kind, not_closing
from pipeline.ops.reconcile_figures import Figures
from pipeline.ops.reconcile_fold import is_fanout
from pipeline.ops.reconcile_follow import Follower, Mark
from pipeline.ops.reconcile_lines import (
    Committed,
    Key,
    Off,
    Publisher,
    make_lines,
    off_lines,
    oldest_ms,
    shown,
)
from pipeline.ops.reconcile_reviews import Reviews
from pipeline.ops.reconcile_store import Store
from pipeline.ops.reconcile_upkeep import lake_delivered
from pipeline.topology import LAKE
from pipeline.wire.avro import Codec

LOOK_S = 1.0
"""How often lines are made."""
GRACE_S = 10.0
"""An event is missing when it has lain below the committed offset for so long."""
SHARE = 10
"""Where making the lines takes long, it is done less often: a tenth of the time at most."""


class Balance:
    """Makes the lines and writes them."""

    def __init__(
        self,
        store: Store,
        follower: Follower,
        producer: AIOKafkaProducer,
        codec: Codec,
        figures: Figures,
    ) -> None:
        self._store = store
        self._follower = follower
        self._producer = producer
        self._publisher = Publisher(codec)
        self._figures = figures
        self._marks: deque[Mark] = deque()

    async def run(self) -> None:
        """For ever; raises what Kafka does."""
        while True:
            took_s = await self.look()
            await asyncio.sleep(max(LOOK_S, SHARE * took_s))

    async def look(self) -> float:
        """One look; returns what it cost this process, seconds."""
        mark = await self._follower.mark()
        self._figures.behind = self._follower.behind(mark)
        await self._follower.reach(mark)
        self._figures.behind = 0
        await lake_delivered(self._store, mark.committed.get(LAKE, {}))
        began_s, now_ms = time.monotonic(), int(time.time() * 1000)
        stages = self._follower.stages
        off = off_lines(
            self._store,
            stages,
            self._committed(mark),
            stray_before_ms=now_ms - int(GRACE_S * 1000),
        )
        lines = make_lines(self._store.lines, stages, off)
        self._show(lines, stages)
        took_s = time.monotonic() - began_s
        await self._publisher.publish(self._producer, lines, clock_s=began_s, now_ms=now_ms)
        await report(self._follower.reviews, self._producer, lines, off, now_ms=now_ms)
        return took_s

    def _committed(self, mark: Mark) -> Committed:
        """What was committed a grace ago; nothing where that is not known yet."""
        self._marks.append(mark)
        before_s = mark.at_s - GRACE_S
        while len(self._marks) > 1 and self._marks[1].at_s <= before_s:
            self._marks.popleft()
        oldest = self._marks[0]
        return oldest.committed if oldest.at_s <= before_s else {}

    def _show(self, lines: Sequence[StageLine], stages: Sequence[str]) -> None:
        figures = self._figures
        figures.lines = lines
        figures.unreadable = self._follower.reader.unreadable
        figures.oldest_s = {
            stage: None if at_ms is None else at_ms / 1000
            for stage in stages
            if not is_fanout(stage)
            for at_ms in [oldest_ms(self._store, stage, self._follower.partitions[stage])]
        }
        figures.mismatches = self._follower.reviews.open()


async def report(
    reviews: Reviews,
    producer: AIOKafkaProducer,
    lines: Sequence[StageLine],
    off: Mapping[Key, Off],
    *,
    now_ms: int,
) -> list[Finding]:
    """Write one mismatch for each line of a tenant and partition that does not close.

    Returns those that stand; see Reviews.report.
    """
    findings = [
        not_closing(line, shown(line).name, found.examples)
        for line in lines
        if line.missing and (found := off.get((line.sink, line.tenant, line.partition)))
    ]
    return await reviews.report(
        producer, findings, looked=lambda f: f.kind is Kind.BALANCE, now_ms=now_ms
    )
