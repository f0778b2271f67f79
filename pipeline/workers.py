"""Composition root: what each worker is made of. The only place that knows all the rooms."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any

import redis.asyncio as redis

from connectors.client import make_client
from connectors.driver import Driver
from connectors.entries import Places
from connectors.lake.config import LakeConfig
from connectors.lake.mapping import Dataset
from connectors.lake.store import S3Store
from connectors.lake.writer import LakeWriter
from connectors.registry import make_connector
from connectors.timeseries import config as timeseries
from connectors.timeseries.writer import TimeseriesWriter, make_store
from pipeline.agents import archive, deliver, detect, fanout
from pipeline.agents import timeseries as dashboards
from pipeline.agents.app import Worker
from pipeline.agents.deadletter import DeadLetters, unreadable
from pipeline.agents.unreadable import Quarantine
from pipeline.core.quarantine import Reason
from pipeline.core.routing import sinks_of
from pipeline.ops import sink_policies
from pipeline.settings import Settings, SettingsError
from pipeline.state.identities import Identities
from pipeline.state.identities_live import LiveIdentities
from pipeline.state.ledger import DAY_MS, Ledger
from pipeline.state.routes_file import load_routes
from pipeline.state.rules_topic import RulesTopic
from pipeline.state.sink_board import SinkBoard
from pipeline.topology import DEDUPLICATED, LAKE, TIMESERIES, sink_topic
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.codecs import make_codec
from pipeline.wire.records import decode_deduplicated, decode_event

DETECT = "detect"
FANOUT = "fanout"
ARCHIVE = "archive"
DELIVER = "deliver-"


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
    store = S3Store(LakeConfig.from_settings(settings))
    quarantine = Quarantine(worker, codec)
    dead_letters = DeadLetters(worker, sink=LAKE, codec=codec)

    def refuse_batch(message: Any, error: UnreadableError) -> Awaitable[Any]:  # noqa: ANN401
        return quarantine.send(message, error, reason=Reason.UNREADABLE_BATCH)

    def refuse_event(message: Any, error: UnreadableError) -> Awaitable[Any]:  # noqa: ANN401
        return dead_letters.send(message, unreadable(error))

    for dataset, topic, decode, refuse in (
        (Dataset.TELEMETRY, DEDUPLICATED, decode_deduplicated, refuse_batch),
        (Dataset.EVENTS, sink_topic(LAKE), decode_event, refuse_event),
    ):
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
                ),
                decode=partial(decode, codec),
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
