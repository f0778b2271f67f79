"""The Faust application of one worker: every setting that keeps data safe, in one place."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import faust
import structlog

from pipeline.settings import Settings
from pipeline.topology import topics

log = structlog.get_logger(__name__)

HALTED = 70
"""Exit code of a worker that cannot go on (EX_SOFTWARE, sysexits.h): start it again."""

TAKE_EVENTS = 256
TAKE_WITHIN_S = 0.02


def make_app(settings: Settings, *, role: str, instance: int) -> faust.App:
    """A Faust app for `role`; its consumer group is 'fieldline-<role>'.

    `instance` numbers the workers of a role: it is the static group member id, so that a
    worker that comes back within the session time-out gets its partitions without a
    rebalance, and it gives each worker a data folder of its own (RocksDB locks it).
    """
    name = f"fieldline-{role}"
    # Faust makes the last folder only.
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    brokers = [f"kafka://{server}" for server in settings.kafka_bootstrap.split(",")]
    return faust.App(
        name,
        broker=brokers,
        store="rocksdb://",
        datadir=str(settings.data_dir / f"{role}-{instance}"),
        processing_guarantee="at_least_once",
        consumer_group_instance_id=f"{name}-{instance}",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=16 * 1024 * 1024,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        broker_commit_interval=1.0,
        broker_request_timeout=30.0,
        producer_acks=-1,
        producer_request_timeout=30.0,
        producer_max_request_size=8 * 1024 * 1024,
        # Effects are idempotent by design, so a rebalance need not wait for events in
        # hand (faust-rules 4 and 5): they are done again by the next owner.
        stream_wait_empty=False,
        stream_buffer_maxsize=1_024,
        # Topics are made from pipeline/topology.py, never by a worker on the way.
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication,
        table_standby_replicas=0,
        web_enabled=False,
        worker_redirect_stdouts=False,
        key_serializer="raw",
        value_serializer="raw",
    )


class TopologyError(Exception):
    """An agent wants a topic that pipeline/topology.py does not give it."""


class Worker:
    """One Faust app and its place on the map: it can only open topics that are its own."""

    def __init__(
        self, settings: Settings, *, role: str, instance: int, sinks: tuple[str, ...]
    ) -> None:
        self.app = make_app(settings, role=role, instance=instance)
        self._role = role
        self._map = {topic.name: topic for topic in topics(sinks)}
        self.consumed: set[str] = set()
        self.produced: set[str] = set()

    def source(self, name: str) -> Any:  # noqa: ANN401 - Faust has no types
        """Topic `name` to consume, keys and values as bytes; TopologyError if not ours."""
        if name not in self._map or self._role not in self._map[name].consumers:
            raise TopologyError(f"{self._role} may not consume {name}: see pipeline/topology.py.")
        self.consumed.add(name)
        return self._topic(name)

    def target(self, name: str) -> Any:  # noqa: ANN401 - Faust has no types
        """Topic `name` to produce to, keys and values as bytes; TopologyError if not ours."""
        if name not in self._map or self._role not in self._map[name].producers:
            raise TopologyError(f"{self._role} may not write {name}: see pipeline/topology.py.")
        self.produced.add(name)
        return self._topic(name)

    def _topic(self, name: str) -> Any:  # noqa: ANN401 - Faust has no types
        return self.app.topic(
            name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )


def ack_in_order(events: Sequence[Any]) -> None:
    """Acknowledge events in offset order per partition.

    Faust's commit treats a gap at the head as none (faust-rules 1), so a later offset must
    never be acknowledged before an earlier one.
    """
    for event in sorted(
        events, key=lambda e: (e.message.topic, e.message.partition, e.message.offset)
    ):
        event.ack()


async def guarded(step: Callable[..., Awaitable[Any]], *args: object) -> Any:  # noqa: ANN401
    """Run one step of an agent; what it cannot handle itself ends the worker.

    An exception that left the agent would acknowledge the events in hand (faust-rules 2).
    Exiting at once, without commit or clean-up, is the one way that is safe whatever
    happened: it is what a SIGKILL does, and the supervisor starts the worker again.
    """
    try:
        return await step(*args)
    except Exception as error:
        log.critical(
            "worker halts", error=type(error).__name__, detail=str(error)[:500], exc_info=True
        )
        halt()


def halt() -> None:
    """End the process now, nothing committed; the supervisor restarts it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(HALTED)
