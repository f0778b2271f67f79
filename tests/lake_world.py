"""A small lake that tests ask: the real writer and the real table, on this machine's disk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from connectors.lake import base
from connectors.lake.config import LakeConfig
from connectors.lake.lake import make_store, make_table
from connectors.lake.writer import LakeWriter
from pipeline.core.events import Action, BusinessEvent, Severity
from pipeline.core.lake_columns import Dataset
from pipeline.core.telemetry import DeduplicatedBatch, TelemetryBatch
from pipeline.settings import Settings
from pipeline.wire.avro import Codec
from pipeline.wire.lake import RecordReader
from pipeline.wire.records import encode_event
from tests.unit.examples import event

DAY_MS = 86_400_000
FIRST_DAY = 20_000
"""2024-10-04."""
DATES = ("2024-10-04", "2024-10-05", "2024-10-06")
PER_DAY = 40
TOPIC = "telemetry.deduplicated"


def settings_of(folder: Path, *, table: bool = True) -> Settings:
    """A lake in a folder, with a catalogue beside it or without."""
    told = {"lake_url": f"file://{folder / 'lake'}"}
    if table:
        told["lake_catalog"] = f"sqlite:///{folder / 'catalogue.db'}"
    return Settings.model_validate(told)


def pumps(
    offset: int,
    *,
    devices: int,
    samples: int,
    day: int = FIRST_DAY,
    over_midnight: bool = False,
    partition: int = 1,
    metrics: Sequence[str] = ("temperature", "vibration"),
    shift: int = 0,
) -> DeduplicatedBatch:
    """One message: `samples` of each device, a second apart, each with all metrics.

    `over_midnight` puts every second sample on the next day; `shift` makes other values.
    """
    count, many = devices * samples, len(metrics)
    sequence = np.repeat(np.arange(samples), devices) + offset * samples
    times = day * DAY_MS + sequence * 1000 + (DAY_MS * (sequence % 2) if over_midnight else 0)
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=partition,
        source_offset=offset,
        batch=TelemetryBatch(
            devices=tuple(f"acme/pump-{i:03d}" for i in range(devices)),
            metrics=tuple(metrics),
            sample_device=np.tile(np.arange(devices, dtype=np.int32), samples),
            sample_session=np.ones(count, dtype=np.int64),
            sample_seq=sequence.astype(np.int64),
            sample_time_ms=times.astype(np.int64),
            sample_received_ms=(times + 40).astype(np.int64),
            sample_readings=np.full(count, many, dtype=np.int32),
            reading_metric=np.tile(np.arange(many, dtype=np.int32), count),
            reading_value=np.round(50 + np.sin(np.arange(count * many) + shift), 2),
        ),
        late=np.zeros(count, dtype=np.bool_),
        duplicates=0,
    )


def readings(offset: int, day: int, *, count: int = PER_DAY // 2) -> DeduplicatedBatch:
    """One message: `count` samples of one device with two metrics, each a minute after the last."""
    number = np.arange(count)
    times = ((FIRST_DAY + day) * DAY_MS + number * 60_000).astype(np.int64)
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=1,
        source_offset=offset,
        batch=TelemetryBatch(
            devices=("acme/pump-1",),
            metrics=("temperature", "vibration"),
            sample_device=np.zeros(count, dtype=np.int32),
            sample_session=np.ones(count, dtype=np.int64),
            sample_seq=(number + day * count).astype(np.int64),
            sample_time_ms=times,
            # Nobody receives anything from the far future: such a time is flagged.
            sample_received_ms=np.minimum(times, (FIRST_DAY + 10) * DAY_MS) + 40,
            sample_readings=np.full(count, 2, dtype=np.int32),
            reading_metric=np.tile(np.arange(2, dtype=np.int32), count),
            reading_value=np.arange(count * 2, dtype=np.float64),
        ),
        late=np.zeros(count, dtype=np.bool_),
        duplicates=0,
    )


def told(number: int, action: Action = Action.RAISE, of: int | None = None) -> BusinessEvent:
    """Event `number`; one that updates or clears is about event `of`."""
    made = event(id=f"event-{number}", action=action, severity=Severity.WARNING)
    return replace(
        made,
        entity_id="" if of is None else f"event-{of}",
        summary=f"told {number}",
        occurred_at_ms=FIRST_DAY * DAY_MS + number * 1000,
        observed_at_ms=FIRST_DAY * DAY_MS + number * 1000,
        source=replace(made.source, offset=number),
    )


def write_days(settings: Settings, days: Sequence[int], *, start: int = 0) -> None:
    """A flush for each day, `start` offsets after the topic's beginning."""

    async def run() -> None:
        one = _writer(settings, Dataset.TELEMETRY)
        assert not isinstance(await one.open(TOPIC, 0), (base.Retry, base.Halt))
        for place, day in enumerate(days):
            one.offer(0, start + place, readings(start + place, day))
            assert isinstance(await one.flush(0), base.Flushed)

    asyncio.run(run())


def write_events(settings: Settings, events: Sequence[BusinessEvent]) -> None:
    """One flush of events."""

    async def run() -> None:
        codec = Codec()
        reader = RecordReader(codec, Dataset.EVENTS)
        one = _writer(settings, Dataset.EVENTS)
        assert not isinstance(await one.open("sink.lake", 0), (base.Retry, base.Halt))
        for offset, made in enumerate(events):
            one.offer(0, offset, reader.read("sink.lake", 0, offset, encode_event(codec, made)))
        assert isinstance(await one.flush(0), base.Flushed)

    asyncio.run(run())


def _writer(settings: Settings, dataset: Dataset) -> LakeWriter:
    config = LakeConfig.from_settings(settings)
    if config.url.startswith("file://"):
        Path(config.url.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
    return LakeWriter(
        make_store(config),
        dataset=dataset,
        flush_rows=1_000_000,
        flush_s=60.0,
        table=make_table(config, dataset),
    )


def environment(settings: Settings) -> Mapping[str, str]:
    """The variables that make these settings, for the command line."""
    made = {"LAKE_URL": settings.lake_url or ""}
    if settings.lake_catalog is not None:
        made["LAKE_CATALOG"] = settings.lake_catalog.get_secret_value()
    return made
