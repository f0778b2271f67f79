"""What the lake's bench plays: readings of a fleet as `telemetry.deduplicated` carries them.

500 devices with five metrics each, all five in a sample, a sample a minute: a daily wave with
noise, rounded as sensors round. A message has 200 samples of one partition's devices, so 1,000
readings; the devices of a tick come in an order of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import orjson
import pyarrow as pa

from pipeline.core.lake_columns import TELEMETRY, TIME, arrow_schema
from pipeline.core.partition import partition_for
from pipeline.core.telemetry import DeduplicatedBatch, TelemetryBatch
from pipeline.settings import Settings
from pipeline.topology import DEDUPLICATED, PARTITIONS, READINGS
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_deduplicated
from tests.bench.signals import FLEET, SESSION

DEVICES = 500
METRICS = FLEET[:5]
SAMPLES = 200
MESSAGE_READINGS = SAMPLES * len(METRICS)
STEP_MS = 60_000
BEGIN_MS = (SESSION - 30 * 86_400) * 1_000
"""Dates that are over, so that compaction takes them on."""
_JITTER_MS = 900
_UPLINK_MS = 40
_BLOCK_TICKS = 64
_WINDOW = 256
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the topic holds: `messages` in each partition, MESSAGE_READINGS readings each."""

    messages: int

    @property
    def readings(self) -> int:
        """In all partitions."""
        return self.messages * MESSAGE_READINGS * PARTITIONS


def device_name(number: int) -> str:
    """Id of a device."""
    return f"bench/pump-{number:04d}"


def play(partition: int, *, seed: int = 1) -> Iterator[DeduplicatedBatch]:
    """The messages of a partition, without end; the same for the same seed."""
    rng = np.random.default_rng((seed, partition))
    names = [n for n in map(device_name, range(DEVICES)) if _home(n) == partition]
    base = np.array([metric.base for metric in METRICS])
    noise = np.array([metric.noise for metric in METRICS])
    apart = rng.normal(0.0, 0.3, (len(names), len(METRICS)))
    phase = rng.uniform(0.0, 2 * np.pi, (len(names), 1))
    device = np.empty(0, dtype=np.int64)
    tick = np.empty(0, dtype=np.int64)
    value = np.empty((0, len(METRICS)))
    at = offset = 0
    while True:
        ticks = np.arange(at, at + _BLOCK_TICKS)
        at += _BLOCK_TICKS
        order = rng.permuted(np.tile(np.arange(len(names)), (_BLOCK_TICKS, 1)), axis=1)
        angle = 2 * np.pi * (ticks * STEP_MS / _DAY_MS)
        wave = np.sin(angle[:, None, None] + phase[order])
        spread = rng.standard_normal((*order.shape, len(METRICS))) + apart[order] + wave
        fresh = (base + noise * spread).reshape(-1, len(METRICS))
        for column, metric in enumerate(METRICS):
            np.round(fresh[:, column], metric.digits, out=fresh[:, column])
        device = np.concatenate([device, order.ravel()])
        tick = np.concatenate([tick, np.repeat(ticks, len(names))])
        value = np.concatenate([value, fresh])
        whole = len(device) // SAMPLES * SAMPLES
        for start in range(0, whole, SAMPLES):
            piece = slice(start, start + SAMPLES)
            yield _message(partition, offset, names, device[piece], tick[piece], value[piece], rng)
            offset += 1
        device, tick, value = device[whole:], tick[whole:], value[whole:]


def _message(
    partition: int,
    offset: int,
    names: Sequence[str],
    device: np.ndarray,
    tick: np.ndarray,
    value: np.ndarray,
    rng: np.random.Generator,
) -> DeduplicatedBatch:
    distinct, place = np.unique(device, return_inverse=True)
    time_ms = BEGIN_MS + tick * STEP_MS + rng.integers(0, _JITTER_MS, len(tick))
    return DeduplicatedBatch(
        source_topic=READINGS,
        source_partition=partition,
        source_offset=offset,
        batch=TelemetryBatch(
            devices=tuple(names[number] for number in distinct.tolist()),
            metrics=tuple(metric.name for metric in METRICS),
            sample_device=place.astype(np.int32),
            sample_session=np.full(SAMPLES, SESSION, dtype=np.int64),
            sample_seq=tick + 1,
            sample_time_ms=time_ms,
            sample_received_ms=np.full(SAMPLES, time_ms.max() + _UPLINK_MS, dtype=np.int64),
            sample_readings=np.full(SAMPLES, len(METRICS), dtype=np.int32),
            reading_metric=np.tile(np.arange(len(METRICS), dtype=np.int32), SAMPLES),
            reading_value=np.ascontiguousarray(value).ravel(),
        ),
        late=np.zeros(SAMPLES, dtype=np.bool_),
        duplicates=0,
    )


def _home(name: str) -> int:
    return partition_for(name.encode(), PARTITIONS)


def messages(each: int) -> Iterator[DeduplicatedBatch]:
    """So many messages of each partition, partitions in turn."""
    played = [islice(play(partition), each) for partition in range(PARTITIONS)]
    return chain.from_iterable(zip(*played, strict=True))


async def load(
    settings: Settings, each: int, *, on_progress: Callable[[float], None] = lambda _: None
) -> Loaded:
    """Fill telemetry.deduplicated with so many messages a partition."""
    codec = Codec()
    pairs = ((encode_deduplicated(codec, one), one.source_partition) for one in messages(each))
    await _send(settings, DEDUPLICATED, pairs, on_progress)
    return Loaded(messages=each)


async def load_json(settings: Settings, topic: str, each: int) -> Loaded:
    """The same readings as JSON: a list of 1,000 objects a message."""
    pairs = ((orjson.dumps(as_objects(one)), one.source_partition) for one in messages(each))
    await _send(settings, topic, pairs, lambda _: None)
    return Loaded(messages=each)


async def _send(
    settings: Settings,
    topic: str,
    pairs: Iterator[tuple[bytes, int]],
    on_progress: Callable[[float], None],
) -> None:
    producer = kafka.producer(settings, client_id="bench-load")
    await producer.start()
    try:
        under_way: list[asyncio.Future[object]] = []
        for sent, (value, partition) in enumerate(pairs, 1):
            under_way.append(await producer.send(topic, value, key=b"bench", partition=partition))
            if len(under_way) >= _WINDOW:
                await asyncio.gather(*under_way)
                under_way.clear()
                on_progress(sent * MESSAGE_READINGS)
        await asyncio.gather(*under_way)
    finally:
        await producer.stop()


def as_objects(message: DeduplicatedBatch) -> list[dict[str, object]]:
    """One object for each reading."""
    table = arrival_table([message])
    kept = table.select(
        ["device_id", "metric", "time", "value", "session", "sequence", "received_at"]
    )
    plain = kept.set_column(2, "time", kept["time"].cast(pa.int64()))
    plain = plain.set_column(6, "received_at", plain["received_at"].cast(pa.int64()))
    objects: list[dict[str, object]] = plain.to_pylist()
    return objects


def arrival_table(some: Sequence[DeduplicatedBatch]) -> pa.Table:
    """The lake's telemetry rows in order of arrival, made the plain way; words as codes."""
    schema = arrow_schema(TELEMETRY)
    tables = []
    for one in some:
        batch = one.batch
        sample = np.repeat(np.arange(batch.samples), batch.sample_readings)
        device = batch.sample_device[sample]
        rows = batch.readings
        columns = {
            "tenant": _words(np.zeros(rows, dtype=np.int32), ["bench"]),
            "device_id": _words(device, batch.devices),
            "metric": _words(batch.reading_metric, batch.metrics),
            "time": pa.array(batch.sample_time_ms[sample] * 1_000, pa.int64()).cast(TIME),
            "value": pa.array(batch.reading_value),
            "session": pa.array(batch.sample_session[sample]),
            "sequence": pa.array(batch.sample_seq[sample]),
            "received_at": pa.array(batch.sample_received_ms[sample] * 1_000).cast(TIME),
            "late": pa.array(one.late[sample]),
            "flag": pa.nulls(rows, pa.dictionary(pa.int32(), pa.string())),
            "source_partition": pa.array(np.full(rows, one.source_partition, dtype=np.int32)),
            "source_offset": pa.array(np.full(rows, one.source_offset, dtype=np.int64)),
        }
        arrays = [columns[name] for name in schema.names]
        fields = [f.with_type(a.type) for f, a in zip(schema, arrays, strict=True)]
        tables.append(pa.Table.from_arrays(arrays, schema=pa.schema(fields)))
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def _words(codes: np.ndarray, words: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(words, pa.string()))
