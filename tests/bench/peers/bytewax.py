"""Bytewax, a dataflow with one stateful step per device, as its manual teaches.

Start: python -m bytewax.recovery FOLDER 1
       python -m bytewax.run tests.bench.peers.bytewax:flow -r FOLDER -s 10 -b 0
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found] # the peers' own
import orjson
from bytewax.connectors.kafka import (  # type: ignore[import-not-found] # the peers' own
    KafkaSinkMessage,
    KafkaSourceMessage,
)
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found] # the peers' own

from tests.bench.peers.task import THRESHOLD, WARM_UP, WINDOW, Task


@dataclass
class Device:
    """State of one device: its last samples by slot, and (count, mean, squares) by metric."""

    seen: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)] * WINDOW)
    stats: dict[str, tuple[int, float, float]] = field(default_factory=dict)


def parsed(message: KafkaSourceMessage) -> tuple[str, dict[str, Any]]:
    """Keyed by device."""
    return message.key.decode(), orjson.loads(message.value)


def judged(
    device: Device | None, reading: dict[str, Any]
) -> tuple[Device, tuple[dict[str, Any], float] | None]:
    """The reading with its score; None where the device sent it before."""
    device = device or Device()
    slot, sample = reading["seq"] % WINDOW, (reading["session"], reading["seq"])
    if device.seen[slot] >= sample:
        return device, None
    device.seen[slot] = sample
    metric, value = reading["metric"], reading["value"]
    count, mean, squares = device.stats.get(metric, (0, 0.0, 0.0))
    deviation = math.sqrt(squares / count) if count else 0.0
    surprise = value - mean
    score = surprise / deviation if deviation and count >= WARM_UP else 0.0
    mean += surprise / (count + 1)
    device.stats[metric] = (count + 1, mean, squares + surprise * (value - mean))
    return device, (reading, score)


def accepted(item: tuple[dict[str, Any], float] | None) -> KafkaSinkMessage | None:
    """The reading to be written on."""
    if item is None:
        return None
    reading, _ = item
    return KafkaSinkMessage(key=reading["device"].encode(), value=orjson.dumps(reading))


def alarm(item: tuple[dict[str, Any], float] | None) -> KafkaSinkMessage | None:
    """The alarm, where there is one."""
    if item is None or abs(item[1]) <= THRESHOLD:
        return None
    reading, score = item
    value = orjson.dumps({**reading, "score": score})
    return KafkaSinkMessage(key=reading["device"].encode(), value=value)


def build(task: Task) -> Dataflow:
    """The dataflow."""
    flow = Dataflow(task.name)
    source = kop.input("source", flow, brokers=[task.bootstrap], topics=[task.source])
    readings = op.map("parse", source.oks, parsed)
    scored = op.stateful_map("judge", readings, judged)
    items = op.key_rm("items", scored)
    for name, make, topic in (
        ("accepted", accepted, task.output),
        ("alarm", alarm, task.alarms),
    ):
        messages = op.filter_map(name, items, make)
        kop.output(f"{name}-out", messages, brokers=[task.bootstrap], topic=topic)
    return flow


flow = build(Task.from_environment())
