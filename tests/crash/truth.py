"""What the pure core makes of the log of readings in one go: what must have come out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pipeline.core.detect import At, Detection
from pipeline.settings import Settings
from pipeline.state import rules_file
from pipeline.state.registry import load_registry
from pipeline.topology import READINGS
from pipeline.wire.avro import Codec
from pipeline.wire.records import decode_batch


def events_by_the_log(settings: Settings, messages: Sequence[Any]) -> dict[str, tuple[int, int]]:
    """Ids of the events of these messages, with the (partition, offset) that raises each.

    `messages` are Kafka's, all of telemetry.readings, in order within a partition. They are
    applied one by one: how workers cut them into rounds must not matter.
    """
    rules, registry = rules_file.load(settings.rules_file), load_registry(settings.devices_file)
    codec = Codec()
    detections: dict[int, Detection] = defaultdict(
        lambda: Detection(rules, registry, window=settings.dedup_window)
    )
    found: dict[str, tuple[int, int]] = {}
    for message in messages:
        at = At(topic=READINGS, partition=message.partition, offset=message.offset)
        batch = decode_batch(codec, message.value)
        (decision,) = detections[message.partition].apply([(at, batch)])
        for event in decision.events:
            found.setdefault(event.id, (message.partition, message.offset))
    return found
