"""One comparison from nothing: books made from the topics, then each target. For a person."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaProducer

from pipeline.core.fates import StageLine
from pipeline.core.reconcile import Finding
from pipeline.ops.reconcile_balance import report
from pipeline.ops.reconcile_follow import Follower
from pipeline.ops.reconcile_lines import make_lines, off_lines
from pipeline.ops.reconcile_pass import compare
from pipeline.ops.reconcile_store import Store
from pipeline.ops.reconcile_target import Look
from pipeline.ops.reconcile_upkeep import lake_delivered
from pipeline.ops.reconciler import following, together
from pipeline.settings import Settings
from pipeline.topology import LAKE
from pipeline.wire import kafka

_LOOK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one comparison saw."""

    lines: Sequence[StageLine]
    looks: Sequence[Look]
    findings: Sequence[Finding]


async def once(
    settings: Settings,
    folder: Path,
    *,
    sinks: Sequence[str],
    sample: int | None,
    on_progress: Callable[[int, int], None],
) -> Outcome:
    """Make the books in an empty folder, compare, and write to operations.review.

    Raises SettingsError, and what Kafka does; a target that is away is a trouble of its look.
    """
    async with following(settings, folder) as (store, follower):
        producer = kafka.producer(settings)
        try:
            await producer.start()
            ended: list[Outcome] = []

            async def work() -> None:
                ended.append(
                    await _compare(settings, store, follower, producer, sinks, sample, on_progress)
                )

            await together(work(), follower.poll_for_ever())
            return ended[0]
        finally:
            await producer.stop()


async def _compare(
    settings: Settings,
    store: Store,
    follower: Follower,
    producer: AIOKafkaProducer,
    sinks: Sequence[str],
    sample: int | None,
    on_progress: Callable[[int, int], None],
) -> Outcome:
    mark = await follower.mark()
    total = follower.behind(mark)
    while behind := follower.behind(mark):
        on_progress(total - behind, total)
        await asyncio.sleep(_LOOK_S)
    on_progress(total, total)
    await lake_delivered(store, mark.committed.get(LAKE, {}))
    now_ms = int(time.time() * 1000)
    # What was committed before the topics' ends were asked has its results below those ends.
    off = off_lines(store, follower.stages, mark.committed, stray_before_ms=now_ms)
    lines = make_lines(store.lines, follower.stages, off)
    findings = await report(follower.reviews, producer, lines, off, now_ms=now_ms)
    looks = [
        await compare(settings, store, follower, producer, sink=sink, sample=sample)
        for sink in sinks
    ]
    return Outcome(
        lines=lines,
        looks=looks,
        findings=[*findings, *(f for look in looks for f in look.findings)],
    )
