"""The detect worker under test: the real process, fresh state, and a check of what it wrote."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.topology import DEDUPLICATED, EVENTS, QUARANTINE, READINGS
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import decode_deduplicated
from tests.bench.broker import BenchError, Broker
from tests.bench.load import Loaded
from tests.bench.measure import LOOK_S, Run, Watched, watch_output
from tests.bench.process import Process

NAME = "fieldline"
GROUP = "fieldline-detect"
_COMMITTED_S = 30.0
"""Longest from the last output to the last commit."""


async def fresh(broker: Broker) -> None:
    """As if no worker had ever run; telemetry.readings stays."""
    await broker.rewind(GROUP, READINGS)
    await broker.make_ours(keep_readings=True)
    shutil.rmtree(broker.root / "state", ignore_errors=True)


def worker(broker: Broker, instance: int = 0) -> Process:
    """`fieldline worker detect`, started."""
    command = str(Path(sys.executable).with_name("fieldline"))
    argv = (command, "worker", "detect", "--instance", str(instance))
    return Process(broker.root, f"detect-{instance}", argv, broker.env)


async def run(
    broker: Broker, loaded: Loaded, *, on_progress: Callable[[float], None] = lambda _: None
) -> Run:
    """One run over everything in telemetry.readings, checked."""
    await fresh(broker)
    async with broker.watch(DEDUPLICATED) as ends:
        began = time.monotonic()
        with worker(broker) as process:
            seen = await watch_output(
                process,
                ends,
                began=began,
                done=loaded.upto,
                total=loaded.readings,
                on_progress=on_progress,
            )
            await committed(broker, loaded, process)
            total_s = time.monotonic() - began
            seen.peak_rss_mb = process.peak_rss_mb()
    await check(broker, loaded)
    return result(loaded, seen, total_s, await count(broker, EVENTS))


def result(loaded: Loaded, seen: Watched, total_s: float, events: int) -> Run:
    """The figures of one run."""
    return Run(
        engine=NAME,
        shape=loaded.shape.name,
        readings=loaded.readings,
        readings_per_s=seen.rate,
        seconds_steady=seen.seconds,
        seconds_first=seen.seconds_first,
        seconds_total=total_s,
        peak_rss_mb=seen.peak_rss_mb,
        cpu_cores=seen.cores,
        others_cores=seen.others,
        events=events,
    )


async def committed(broker: Broker, loaded: Loaded, process: Process) -> None:
    """Wait until the group has no lag on telemetry.readings."""
    deadline = time.monotonic() + _COMMITTED_S
    while lag := await broker.lag(GROUP, loaded.ends, READINGS):
        process.check()
        if time.monotonic() > deadline:
            raise process.stuck(f"has not committed {lag} messages that it has put out")
        await asyncio.sleep(LOOK_S)


async def count(broker: Broker, topic: str) -> int:
    """Messages in a topic that was never cut."""
    async with broker.watch(topic) as ends:
        return sum((await ends.now()).values())


async def check(broker: Broker, loaded: Loaded) -> None:
    """Every reading accepted once, every repetition counted as one, nothing quarantined.

    A message that was put out twice (a rebalance may) counts once, as every reader of the
    topic must do by source_offset.
    """
    if bad := await count(broker, QUARANTINE):
        raise BenchError(
            f"The worker quarantined {bad} of the bench's sound messages: see its log."
        )
    codec = Codec()
    seen: set[tuple[int, int]] = set()
    accepted = repeated = late = 0
    client = kafka.consumer(broker.settings, client_id="bench-check")
    await client.start()
    try:
        partitions = await kafka.topic_partitions(client, [DEDUPLICATED])
        client.assign(partitions)
        await client.seek_to_beginning(*partitions)
        ends = await client.end_offsets(partitions)
        while any([await client.position(tp) < ends[tp] for tp in partitions]):
            for messages in (await client.getmany(timeout_ms=200)).values():
                for message in messages:
                    found = decode_deduplicated(codec, message.value)
                    place = (found.source_partition, found.source_offset)
                    if place not in seen:
                        seen.add(place)
                        accepted += found.accepted_readings
                        late += found.late_readings
                        repeated += found.duplicates
    finally:
        await client.stop()
    found_all = (len(seen), accepted, repeated, late)
    wanted = (loaded.messages, loaded.first, loaded.readings - loaded.first, 0)
    if found_all != wanted:
        raise BenchError(
            "The worker's output is wrong: messages, accepted, repeated and late readings are "
            f"{found_all} and must be {wanted}; its speed counts for nothing."
        )
