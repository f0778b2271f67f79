"""The Faust application of one worker: every setting that keeps data safe, in one place."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import faust

from pipeline.agents.ending import Callback, Ending
from pipeline.agents.membership import Membership
from pipeline.agents.recovery import bounded, give_up
from pipeline.agents.rounds import Holdings, Rounds, Step, tracked
from pipeline.agents.watchdog import PULSE_S, Pulse, Watchdog
from pipeline.settings import Settings
from pipeline.state.worker_folder import worker_folder
from pipeline.topology import TIMESERIES, topics
from pipeline.wire import kafka

END_S = 15.0
"""Longest that a stop takes as a whole; a supervisor's patience is longer."""
SESSION_S = 10.0
"""A worker that is not heard of for so long has lost its partitions (infra/adr/0010)."""
HEARTBEAT_S = 1.0
"""All members hear of a rebalance within this time, and wait for the last one."""
LEASE_S = 1.0
"""Long enough to hand records to Kafka; what takes longer asks again."""
_LEASE_LOOK_S = 0.05
STATEFUL = ("detect",)
"""Roles with a table: another worker keeps a copy of it, where there is one."""
PATIENT = ("archive", "deliver-", TIMESERIES)
"""Roles, or how their names begin, that wait with messages in hand while a target is away."""


class App(faust.App):
    """A Faust app that does something of ours before its consumer stops."""

    before_stop: Callback | None = None

    async def on_stop(self) -> None:
        """Called by Faust once, when the worker is asked to end or has crashed."""
        late = threading.Timer(END_S, _late)
        late.daemon = True
        late.start()
        if self.before_stop is not None:
            await self.before_stop()
        await super().on_stop()


def _late() -> None:
    give_up(f"The worker did not come to its end in {END_S:.0f} s, so it ends here.")


def make_app(settings: Settings, *, role: str, instance: int) -> App:
    """A Faust app for `role`; its consumer group is 'fieldline-<role>'.

    `instance` numbers the workers of a role: it is the static group member id, so that a
    worker that comes back within the session time-out gets its partitions without a
    rebalance, and it gives each worker a data folder of its own (RocksDB locks it).
    """
    name = f"fieldline-{role}"
    # Faust makes the last folder only.
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    brokers = [f"kafka://{server}" for server in settings.kafka_bootstrap.split(",")]
    return App(
        name,
        broker=brokers,
        broker_credentials=_credentials(settings),
        store="rocksdb://",
        datadir=str(worker_folder(settings, role, instance)),
        processing_guarantee="at_least_once",
        consumer_group_instance_id=f"{name}-{instance}",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=16 * 1024 * 1024,
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        # Longest that the others wait for a member which lives but does not come.
        broker_rebalance_timeout=30.0,
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
        table_standby_replicas=1 if role in STATEFUL else 0,
        TableManager=bounded(
            limit_s=settings.recovery_s,
            mend=f"stop it and run `fieldline state rebuild --instance {instance}`",
        ),
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
        self.membership = Membership(self.app, session_s=SESSION_S)
        self.app.transport.Consumer = self.membership.of(tracked(self.holdings))  # type: ignore[misc]  # one app only
        self._pulse = Pulse(limit_s=settings.stall_s)
        self._role = role
        self._map = {topic.name: topic for topic in topics(sinks, timeseries=role == TIMESERIES)}
        self.consumed: set[str] = set()
        self.produced: set[str] = set()
        self._ending = Ending(self.app, self.holdings, self.membership)
        self.app.before_stop = self._stop
        watchdog = Watchdog(
            self.app,
            self.holdings,
            settings,
            patient=role.startswith(PATIENT),
        )

        @self.app.task  # type: ignore[untyped-decorator]  # Faust has no types
        async def watch() -> None:
            await watchdog.run()

        @self.app.task  # type: ignore[untyped-decorator]  # Faust has no types
        async def beat() -> None:
            self._pulse.start()
            while True:
                self._pulse.beat()
                await asyncio.sleep(PULSE_S)

        @self.app.on_partitions_revoked.connect
        async def revoked(*_: object, **__: object) -> None:
            await self._ending.revoke()

    def on_stop(self, callback: Callback) -> None:
        """Await `callback` when the worker is asked to end; then offsets are committed.

        No round is in hand by then, unless it took longer than ending.GRACE_S. All callbacks
        together have ending.STOP_S seconds. What they raise is logged and changes nothing: what
        is not acknowledged comes again.
        """
        self._ending.before_stop.append(callback)

    def on_revoke(self, callback: Callback) -> None:
        """Await `callback` when a rebalance begins, before everything in hand is lost.

        Then offsets are committed, and only then the epoch rises (Holdings.lose). A round in
        hand runs on meanwhile. All callbacks together have ending.REVOKE_S seconds. They are not
        called where the group has put this worker out: its partitions may be another's by now.
        """
        self._ending.before_loss.append(callback)

    async def leased(self) -> None:
        """Wait until nobody else can have our partitions for the next LEASE_S seconds.

        To be awaited before state is written; then ask whether a rebalance took the partitions
        away (Round.lost, Holdings.epoch). A worker that was frozen for longer than its session
        waits here until it has heard of that, and writes nothing over its successor's state.
        """
        while self.membership.lease_s() < LEASE_S:  # noqa: ASYNC110 - a clock runs out, no event
            await asyncio.sleep(_LEASE_LOOK_S)

    async def _stop(self) -> None:
        self._pulse.rest()
        await self._ending.stop()

    def agent(self, channel: Any, step: Step, *, name: str, limit: int) -> None:  # noqa: ANN401
        """Register an agent: `step` gets the events of `channel` in rounds of up to `limit`."""
        rounds = Rounds(self.holdings, limit=limit)
        self.holdings.rounds[channel.get_topic_name()] = rounds

        @self.app.agent(channel, name=name, concurrency=1)
        async def subscribe(stream: Any) -> None:  # noqa: ANN401
            """Has Faust read the topic; its messages never come this way (TrackedConsumer)."""
            async for _ in stream.noack().events():
                raise AssertionError(f"Faust has a message of {channel} that is ours")

        @self.app.task  # type: ignore[untyped-decorator]  # Faust has no types
        async def run() -> None:
            await self._ending.run(rounds, step)

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
