from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.core.partition import partition_for
from pipeline.core.telemetry import TelemetryBatch
from pipeline.topology import PARTITIONS
from pipeline.wire.avro import Codec
from pipeline.wire.records import decode_batch, encode_batch
from tests.bench.load import Loaded, Packer, homes, singles
from tests.bench.shapes import BATCH_READINGS, Shape
from tests.bench.signals import FLEET, SESSION, device_name, join, play


def small(per_sample: int) -> Shape:
    return Shape(name="small", devices=37, per_sample=per_sample, says="")


def packed(shape: Shape, readings: int, *, later: int = 0) -> list[TelemetryBatch]:
    packer = Packer(shape, later)
    out = [batch for block in play(shape, readings) for batch in packer.add(block)]
    return out + packer.rest()


def rows(batches: list[TelemetryBatch]) -> list[tuple[str, int, str, float]]:
    out = []
    for batch in batches:
        reading = 0
        for sample in range(batch.samples):
            for _ in range(int(batch.sample_readings[sample])):
                out.append(
                    (
                        batch.devices[batch.sample_device[sample]],
                        int(batch.sample_seq[sample]),
                        batch.metrics[batch.reading_metric[reading]],
                        float(batch.reading_value[reading]),
                    )
                )
                reading += 1
    return out


@pytest.mark.parametrize("per_sample", [1, 10])
def test_messages_hold_a_thousand_readings_in_the_order_of_arrival(per_sample: int) -> None:
    shape = small(per_sample)
    batches = packed(shape, 25_500)
    assert {batch.readings for batch in batches[:-1]} == {BATCH_READINGS}
    block = join(list(play(shape, 25_500)))
    wanted = [
        (device_name(device), tick + 1, FLEET[metric + n].name, value)
        for device, tick, metric, values in zip(
            block.device.tolist(),
            block.tick.tolist(),
            block.metric.tolist(),
            block.value.tolist(),
            strict=True,
        )
        for n, value in enumerate(values)
    ]
    assert rows(batches) == wanted


def test_messages_are_what_the_worker_reads() -> None:
    codec = Codec()
    for batch in packed(small(10), 5_000):
        back = decode_batch(codec, encode_batch(codec, batch))
        assert back.devices == batch.devices
        assert np.array_equal(back.reading_value, batch.reading_value)


def test_single_messages_are_the_same_readings() -> None:
    shape = small(1)
    block = join(list(play(shape, 6_000)))
    wanted = rows(packed(shape, 6_000))
    found = []
    for key, value in singles(shape, block):
        reading = json.loads(value)
        assert key.decode() == reading["device"]
        assert reading["session"] == SESSION
        found.append((reading["device"], reading["seq"], reading["metric"], reading["value"]))
    assert found == wanted


def test_readings_that_follow_others_have_later_sequence_numbers() -> None:
    first = packed(small(10), 4_000)
    ticks = small(10).ticks(4_000)
    then = packed(small(10), 400, later=ticks)
    assert max(int(b.sample_seq.max()) for b in first) == ticks
    assert min(int(b.sample_seq.min()) for b in then) == ticks + 1


def test_devices_are_where_kafkas_partitioner_puts_them() -> None:
    shape = small(1)
    found = homes(shape).tolist()
    assert found == [
        partition_for(device_name(d).encode(), PARTITIONS) for d in range(shape.devices)
    ]


def test_readings_are_counted_by_partition_and_message() -> None:
    loaded = Loaded(shape=small(1), readings=4_500, first=4_000)
    loaded.edges = {0: [0, 1_000, 2_000], 1: [0, 1_000, 1_500], 2: [0, 1_000], 3: [0]}
    assert loaded.messages == 5
    assert loaded.ends == {0: 2, 1: 2, 2: 1, 3: 0}
    assert loaded.upto({0: 1, 1: 2, 2: 0, 3: 0}) == 2_500
    assert loaded.upto({0: 9, 1: 9, 2: 9, 3: 9}) == 4_500
    later = Loaded(shape=small(1), readings=300, first=300)
    later.edges = {0: [0], 1: [0, 100, 300], 2: [0], 3: [0]}
    loaded.follow(later)
    assert loaded.readings == 4_800
    assert loaded.edges[1] == [0, 1_000, 1_500, 1_600, 1_800]
