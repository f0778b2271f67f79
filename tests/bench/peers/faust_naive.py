"""Faust, one event at a time with two RocksDB tables, as its manual teaches.

Start: python -m tests.bench.peers.faust_naive worker
"""

from __future__ import annotations

import math
from typing import Any

import faust

from tests.bench.peers.task import THRESHOLD, WARM_UP, WINDOW, Task

task = Task.from_environment()
app = faust.App(
    task.name,
    broker=f"kafka://{task.bootstrap}",
    store="rocksdb://",
    datadir=task.folder,
    topic_partitions=4,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    processing_guarantee="at_least_once",
    web_enabled=False,
)


class Reading(faust.Record, serializer="json"):
    """One reading of one device."""

    device: str
    session: int
    seq: int
    ts: int
    metric: str
    value: float


class Alarm(faust.Record, serializer="json"):
    """A reading far from its mean."""

    device: str
    metric: str
    seq: int
    value: float
    score: float


source = app.topic(task.source, key_type=str, key_serializer="raw", value_type=Reading)
output = app.topic(task.output, key_type=str, key_serializer="raw", value_type=Reading)
alarms = app.topic(task.alarms, key_type=str, key_serializer="raw", value_type=Alarm)
_STORE = {"driver": "rocksdict"}
seen = app.Table("seen", default=lambda: [0, 0], options=_STORE)
"""device:slot → [session, sequence number] that was there last."""
stats = app.Table("stats", default=lambda: [0, 0.0, 0.0], options=_STORE)
"""device:metric → [count, mean, sum of squared distances] (Welford)."""


@app.agent(source)
async def detect(readings: Any) -> None:  # noqa: ANN401 - Faust has no types
    """Drop repetitions, score, pass on."""
    async for reading in readings:
        slot = f"{reading.device}:{reading.seq % WINDOW}"
        sample = [reading.session, reading.seq]
        if seen[slot] >= sample:
            continue
        series = f"{reading.device}:{reading.metric}"
        count, mean, squares = stats[series]
        deviation = math.sqrt(squares / count) if count else 0.0
        score = (reading.value - mean) / deviation if deviation else 0.0
        await output.send(key=reading.device, value=reading)
        if count >= WARM_UP and abs(score) > THRESHOLD:
            await alarms.send(
                key=reading.device,
                value=Alarm(
                    device=reading.device,
                    metric=reading.metric,
                    seq=reading.seq,
                    value=reading.value,
                    score=score,
                ),
            )
        surprise = reading.value - mean
        mean += surprise / (count + 1)
        squares += surprise * (reading.value - mean)
        stats[series] = [count + 1, mean, squares]
        seen[slot] = sample


if __name__ == "__main__":
    app.main()
