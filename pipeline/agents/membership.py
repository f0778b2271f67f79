"""This worker's place in its consumer group: what Faust and aiokafka leave undone.

- aiokafka sends no heartbeats while partitions are being assigned, and Faust opens databases
  then (and waits up to 30 s for a locked one): the group would put the worker out meanwhile.
- aiokafka never lets a static member leave, so a worker that was stopped would keep its
  partitions from everybody until its session has run out.
- Nobody says for how long the group surely still counts a worker in. A process that was frozen
  (SIGSTOP, a suspended machine) goes on as if nothing had happened; its partitions may be
  another worker's by then, and what it writes would overwrite the other's state.

All use of the private parts of both for this is in this file.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable
from typing import Any

import structlog
from aiokafka import TopicPartition
from faust import App
from faust.transport.drivers.aiokafka import (
    AIOKafkaConsumerThread,
    Consumer,
    ConsumerRebalanceListener,
)

from pipeline.agents.changelog import ChangelogConsumer

log = structlog.get_logger(__name__)

FETCH_WAIT_MS = 200
"""Longest that an empty fetch holds up what else is asked; five questions a second are few."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while a machine is suspended, where the system has such a clock."""


def now_s() -> float:
    """Seconds on the clock of the lease."""
    return time.clock_gettime(_CLOCK)


class Membership:
    """The group's view of one worker. `session_s` is the session time-out, seconds."""

    def __init__(self, app: App, *, session_s: float) -> None:
        self._app = app
        self._session_s = session_s
        self._renewed_s: float | None = None
        self._out = False

    def holds(self) -> bool:
        """Whether this worker has partitions and the group still counts it in, as far as known."""
        client = self._client()
        if self._out or client is None or not client.assignment():
            return False
        return bool(client._coordinator.generation > 0)  # noqa: SLF001 - see module

    def lease_s(self) -> float:
        """For how long nobody else can have this worker's partitions, seconds; 0 or less: no more.

        The group keeps a member for `session_s` after it took its last heartbeat, and it took
        that after we began to send it.
        """
        renewed = self._renewed_s
        return 0.0 if renewed is None or self._out else renewed + self._session_s - now_s()

    def end(self) -> None:
        """A rebalance took the partitions from a worker that is stopping: Faust tells nobody."""
        self._out = True

    def leave_when_stopped(self) -> None:
        """When its consumer stops, which must follow, the worker leaves the group at once."""
        if (client := self._client()) is not None:
            # Its close() leaves for members without an instance id only.
            client._coordinator._group_instance_id = None  # noqa: SLF001 - see module

    def of(self, consumer: type[Consumer]) -> type[Consumer]:
        """A consumer class for the app, with what the module's head says put right."""
        listener = type("Listener", (_Listener,), {"membership": self})
        return type(consumer.__name__, (_Consumer, consumer), {"RebalanceListener": listener})

    async def joined(self, coordinator: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        """The group has given partitions: send heartbeats from now on, and note the answers."""
        if "_do_heartbeat" not in vars(coordinator):
            coordinator._do_heartbeat = self._noted(coordinator._do_heartbeat)  # noqa: SLF001 - see module
        await coordinator._do_heartbeat()  # noqa: SLF001 - see module
        coordinator._start_heartbeat_task()  # noqa: SLF001 - see module

    def _noted(self, heartbeat: Any) -> Any:  # noqa: ANN401 - the same
        async def noted() -> bool:
            began = now_s()
            if taken := bool(await heartbeat()):
                self._renewed_s = began
            return taken

        return noted

    def _client(self) -> Any:  # noqa: ANN401 - the same
        # app.consumer would make one where the worker ends before it has any.
        consumer: Any = self._app._consumer  # noqa: SLF001 - see module
        return consumer and consumer._thread._consumer  # noqa: SLF001 - see module


class _Listener(ConsumerRebalanceListener):
    """Runs in the consumer's thread; the class is made per app and has its `membership`."""

    membership: Membership

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> Awaitable[None]:
        if self._thread.app.should_stop:
            self.membership.end()
        called: Awaitable[None] = super().on_partitions_revoked(revoked)
        return called

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        try:
            await self.membership.joined(self._thread._ensure_consumer()._coordinator)  # noqa: SLF001 - see module
        except Exception as error:  # Faust must hear of its partitions whatever happens here
            log.exception("no heartbeats while partitions are assigned", error=str(error))
        await super().on_partitions_assigned(assigned)


class _Thread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ANN401 - the same
        client = super()._create_worker_consumer(transport)
        client._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - Faust's is fixed
        return client


class _Consumer(ChangelogConsumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)
