"""Composition root: what each worker is made of. The only place that knows all the rooms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Any

import redis.asyncio as redis

from connectors.client import make_client
from connectors.driver import Driver
from connectors.entries import Places
from connectors.lake.config import LakeConfig
from connectors.lake.lake import make_store as make_lake_store
from connectors.lake.lake import make_table
from connectors.lake.writer import LakeWriter
from connectors.registry import make_connector
from connectors.timeseries import config as timeseries
from connectors.timeseries.writer import TimeseriesWriter, make_store
from pipeline.agents import archive, deliver, detect, fanout
from pipeline.agents import timeseries as dashboards
from pipeline.agents.app import Worker
from pipeline.agents.deadletter import DeadLetters, unreadable
from pipeline.agents.unreadable import Quarantine
from pipeline.core.lake_columns import Dataset
from pipeline.core.quarantine import Reason
from pipeline.core.routing import sinks_of
from pipeline.core.telemetry import DeduplicatedBatch
from pipeline.ops import sink_policies
from pipeline.settings import Settings, SettingsError
from pipeline.state.identities import Identities
from pipeline.state.identities_live import LiveIdentities
from pipeline.state.ledger import DAY_MS, Ledger
from pipeline.state.routes_file import load_routes
from pipeline.state.rules_topic import RulesTopic
from pipeline.state.sink_board import SinkBoard
from pipeline.topology import DEDUPLICATED, LAKE, QUARANTINE, RESULTS, TIMESERIES, sink_topic
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.codecs import make_codec
from pipeline.wire.lake import RecordReader
from pipeline.wire.records import decode_deduplicated

DETECT = "detect"
FANOUT = "fanout"
ARCHIVE = "archive"
DELIVER = "deliver-"

MEGABYTE = 1_000_000


def roles(settings: Settings) -> tuple[str, ...]:
    """Every role this pipeline's routing table needs."""
    sinks = sinks_of(load_routes(settings.routes_file))
    stores = (TIMESERIES,) if timeseries.wanted() else ()
    return (DETECT, FANOUT, ARCHIVE, *stores, *(f"{DELIVER}{s}" for s in sinks if s != LAKE))


def make_worker(settings: Settings, *, role: str, instance: int) -> Worker:
    """One worker, ready to run; SettingsError where the role is not one of `roles`."""
    if role not in roles(settings):
        raise SettingsError(
            f"There is no worker role {role!r}: choose one of {', '.join(roles(settings))}."
        )
    routes = load_routes(settings.routes_file)
    worker = Worker(settings, role=role, instance=instance, sinks=sinks_of(routes))
    codec = make_codec(settings)
    if role == DETECT:
        _detect(worker, settings, codec)
    elif role == FANOUT:
        fanout.register(worker, fanout.FanOut(worker, codec=codec, routes=routes))
    elif role == ARCHIVE:
        _archive(worker, settings, codec)
    elif role == TIMESERIES:
        _timeseries(worker, codec)
    else:
        _deliver(worker, settings, codec, role.removeprefix(DELIVER), instance)
    return worker


def _detect(worker: Worker, settings: Settings, codec: Codec) -> None:
    detect.register(
        worker,
        detect.Detector(
            worker,
            settings,
            codec=codec,
            rules=RulesTopic(settings),
            registry=LiveIdentities(settings, codec),
        ),
    )


def _archive(worker: Worker, settings: Settings, codec: Codec) -> None:
    config = LakeConfig.from_settings(settings)
    store = make_lake_store(config)
    memory = archive.Memory(settings.lake_memory_mb * MEGABYTE)
    press = asyncio.Semaphore(1)
    quarantine = Quarantine(worker, codec)
    dead_letters = DeadLetters(worker, sink=LAKE, codec=codec)

    def refuse_batch(message: Any, error: UnreadableError) -> Awaitable[Any]:  # noqa: ANN401
        return quarantine.send(message, error, reason=Reason.UNREADABLE_BATCH)

    def refuse_record(message: Any, error: UnreadableError) -> Awaitable[Any]:  # noqa: ANN401
        return quarantine.send(message, error, reason=Reason.UNREADABLE_RECORD)

    def refuse_event(message: Any, error: UnreadableError) -> Awaitable[Any]:  # noqa: ANN401
        return dead_letters.send(message, unreadable(error))

    def decode_batch(
        _topic: str, _partition: int, _offset: int, value: bytes | None
    ) -> DeduplicatedBatch:
        return decode_deduplicated(codec, value)

    for dataset, topic, refuse in (
        (Dataset.TELEMETRY, DEDUPLICATED, refuse_batch),
        (Dataset.EVENTS, sink_topic(LAKE), refuse_event),
        (Dataset.DELIVERIES, RESULTS, refuse_record),
        (Dataset.QUARANTINE, QUARANTINE, refuse_record),
    ):
        telemetry = dataset is Dataset.TELEMETRY
        archive.register(
            worker,
            archive.Archiver(
                worker,
                topic=topic,
                writer=LakeWriter(
                    store,
                    dataset=dataset,
                    flush_rows=settings.lake_flush_rows,
                    flush_s=settings.lake_flush_s,
                    flush_bytes=settings.lake_flush_mb * MEGABYTE,
                    table=make_table(config, dataset),
                    press=press,
                ),
                memory=memory,
                decode=decode_batch if telemetry else RecordReader(codec, dataset).read,
                refuse=refuse,
            ),
        )


def _timeseries(worker: Worker, codec: Codec) -> None:
    told = timeseries.wanted()
    if told is None:
        raise SettingsError("Set TIMESERIES_URL: it is where the time-series store is.")
    writer = TimeseriesWriter(make_store(told))
    decode = partial(decode_deduplicated, codec)
    agent = dashboards.Dashboards(worker, codec=codec, writer=writer, decode=decode)
    dashboards.register(worker, agent, writer)


def _deliver(worker: Worker, settings: Settings, codec: Codec, sink: str, instance: int) -> None:
    policy, mapping = sink_policies.of(settings, sink)
    client = redis.from_url(settings.redis_url.get_secret_value())
    ledger = Ledger(client, retention_ms=policy.retention_days * DAY_MS)

    owner = f"{DELIVER}{sink}/{instance}"

    def make_driver(places: Places) -> Driver:
        return Driver(
            make_connector(sink, policy=mapping),
            ledger,
            make_client(sink),
            policy,
            places=places,
            board=SinkBoard(client, sink, owner),
            owner=owner,
        )

    identities = Identities(settings, client, codec)
    deliverer = deliver.Deliverer(
        worker,
        settings,
        sink=sink,
        codec=codec,
        ledger=ledger,
        owners=identities,
        make_driver=make_driver,
    )
    deliver.register(
        worker,
        deliverer,
        name=f"{DELIVER}{sink}",
        check=ledger.check,
        keep=identities.keep,
    )
