"""The Faust application of one worker: every setting that keeps data safe, in one place."""

from __future__ import annotations

from typing import Any

import faust

from pipeline.agents.rounds import Holdings, Rounds, Step, tracked
from pipeline.settings import Settings
from pipeline.topology import topics
from pipeline.wire import kafka


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
        broker_credentials=_credentials(settings),
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


def _credentials(settings: Settings) -> faust.SSLCredentials | faust.SASLCredentials | None:
    context, user = kafka.tls(settings), kafka.login(settings)
    if user is not None:
        return faust.SASLCredentials(
            username=user[0],
            password=user[1],
            ssl_context=context,
            mechanism=settings.kafka_sasl_mechanism,
        )
    return faust.SSLCredentials(context) if context is not None else None


class TopologyError(Exception):
    """An agent wants a topic that pipeline/topology.py does not give it."""


class Worker:
    """One Faust app and its place on the map: it can only open topics that are its own."""

    def __init__(
        self, settings: Settings, *, role: str, instance: int, sinks: tuple[str, ...]
    ) -> None:
        self.app = make_app(settings, role=role, instance=instance)
        self.holdings = Holdings()
        self.app.transport.Consumer = tracked(self.holdings)  # type: ignore[misc]  # one app only
        self._role = role
        self._map = {topic.name: topic for topic in topics(sinks)}
        self.consumed: set[str] = set()
        self.produced: set[str] = set()

        @self.app.on_partitions_revoked.connect
        async def revoked(*_: object, **__: object) -> None:
            self.holdings.lose()

    def agent(self, channel: Any, step: Step, *, name: str, limit: int) -> None:  # noqa: ANN401
        """Register an agent: `step` gets the events of `channel` in rounds of up to `limit`."""
        rounds = Rounds(self.holdings, step, limit=limit)

        @self.app.agent(channel, name=name, concurrency=1)
        async def feed(stream: Any) -> None:  # noqa: ANN401
            await rounds.feed(stream)

        @self.app.task  # type: ignore[untyped-decorator]  # Faust has no types
        async def run() -> None:
            await rounds.run()

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
