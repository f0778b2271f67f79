"""Deliveries to a far end: in bare conversations, or through the real driver with a ledger."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from connectors.base import Call, Connector, Conversation, Delivery, Effect
from connectors.client import make_client
from connectors.driver import Driver
from connectors.exchange import Exchange, converse
from connectors.jobs import Finished, Job
from connectors.registry import make_connector
from connectors.system import OPEN, Policy
from pipeline.core.breaker import BreakerPolicy
from pipeline.core.events import Action, BusinessEvent, Severity, SnapshotEntry, Source, fingerprint
from pipeline.core.outcome import LookUp, Outcome
from pipeline.core.registry import DeviceRecord
from pipeline.core.retry import RetryPolicy
from pipeline.core.sinks import SinkPolicy
from tests.contract.case import Case
from tests.sandboxes.box import FarEnd
from tests.unit.driver_world import ModelLedger

WITHIN_S = 60.0


def policy_of(case: Case) -> SinkPolicy:
    """The engine's policy, with short waits."""
    retry = RetryPolicy(
        base_s=0.02,
        cap_s=0.2,
        max_attempts=6,
        request_s=case.request_s,
        settle_s=case.request_s + 0.1,
    )
    breaker = BreakerPolicy(open_s=0.05, cap_s=0.2)
    return SinkPolicy(
        retry=retry,
        breaker=breaker,
        park_after_s=1000,
        retry_floor_per_s=1000,
        lanes=case.lanes,
        tenant_lanes=case.lanes,
    )


def key(name: str) -> str:
    """A key as event ids are: 24 characters of base32."""
    return base64.b32encode(hashlib.sha256(name.encode()).digest()[:15]).decode().lower()


def event(name: str = "one", *, offset: int = 0, **changes: Any) -> BusinessEvent:  # noqa: ANN401 - any field
    """An event, different for each name; later ones of a device have a greater `offset`."""
    made = BusinessEvent(
        id=key(name),
        type="fieldline.limit.exceeded",
        tenant="acme",
        device_id="acme/truck-1",
        asset_id="TRK-1",
        customer_id="C-1",
        severity=Severity.CRITICAL,
        confidence=0.97,
        summary="Coolant at 112 °C, limit 105 °C",
        detector="limit",
        metric="coolant_c",
        rule="coolant@3",
        correlation_id=key(name),
        occurred_at_ms=1_795_257_000_250,
        observed_at_ms=1_795_257_000_300,
        source=Source(
            topic="telemetry.readings", partition=0, offset=offset, index=0, session=1, sequence=42
        ),
        snapshot=(
            SnapshotEntry(metric="coolant_c", value=112.0, baseline=88.25, score=6.5),
            SnapshotEntry(metric="rpm", value=1800.0, baseline=None, score=None),
        ),
    )
    return replace(made, **changes)


def many(count: int) -> list[BusinessEvent]:
    """So many events, each of a device of its own."""
    return [event(f"e{n}", device_id=f"acme/truck-{n}") for n in range(count)]


def story(name: str = "one", *, reopened: bool = True) -> list[BusinessEvent]:
    """One trouble: raised, less bad, over, and there again."""
    raised = event(name, offset=1)
    of = {"entity_id": raised.id, "correlation_id": raised.id}
    less = {"severity": Severity.WARNING, "summary": "Coolant at 107 °C, limit 105 °C"}
    told = [
        raised,
        event(f"{name} update", offset=2, action=Action.UPDATE, **less, **of),
        event(f"{name} clear", offset=3, action=Action.CLEAR, summary="Coolant at 90 °C", **of),
        event(f"{name} again", offset=4, action=Action.UPDATE, summary="Coolant at 113 °C", **of),
    ]
    return told if reopened else told[:3]


@dataclass
class World:
    """One far end and what is sent to it."""

    case: Case
    far: FarEnd
    calls: list[Call] = field(default_factory=list)
    """Every request that any connector of this world has made."""

    def values(self) -> dict[str, Any]:
        """The connector's settings."""
        return dict(self.case.values(self.far))

    def connector(self, policy: Policy = OPEN, **values: Any) -> Connector:  # noqa: ANN401 - settings
        """A new connector, not logged in."""
        return make_connector(self.case.name, values=self.values() | values, policy=policy)

    def delivery(self, told: BusinessEvent, record: DeviceRecord | None = None) -> Delivery:
        """That event on its way."""
        return Delivery(event=told, key=told.id, record=record or self.case.record)

    async def deliver(
        self,
        *told: BusinessEvent,
        connector: Connector | None = None,
        record: DeviceRecord | None = None,
    ) -> list[Outcome]:
        """One conversation about all of them, as the engine holds it; its outcomes."""
        made = connector or self.connector()
        sent = [self.delivery(one, record) for one in told]
        exchange: Exchange[Sequence[Outcome]] = await self.hold(made.deliver(sent))
        assert exchange.result is not None, f"the connector failed: {exchange.bug}"
        assert len(exchange.result) == len(told)
        return list(exchange.result)

    async def look_up(
        self, *told: BusinessEvent, connector: Connector | None = None
    ) -> list[LookUp]:
        """What the target says it has."""
        sent = [self.delivery(one) for one in told]
        exchange: Exchange[Sequence[LookUp]] = await self.hold(
            (connector or self.connector()).look_up(sent)
        )
        assert exchange.result is not None, f"the connector failed: {exchange.bug}"
        return list(exchange.result)

    async def hold(
        self, conversation: Conversation[Any], values: Mapping[str, Any] | None = None
    ) -> Exchange[Any]:
        """One conversation over the real client, its calls noted; `values` replace settings."""
        async with make_client(self.case.name, self.values() | dict(values or {})) as client:
            return await converse(
                lambda: self._noted(conversation),
                client,
                request_s=self.case.request_s,
                late=lambda: False,
            )

    def _noted(self, conversation: Conversation[Any]) -> Conversation[Any]:
        try:
            call = next(conversation)
            while True:
                self.calls.append(call)
                reply = yield call
                call = conversation.send(reply)
        except StopIteration as end:
            return end.value

    async def run(
        self,
        told: Sequence[BusinessEvent],
        *,
        workers: int = 1,
        own_ledgers: bool = False,
        within_s: float = WITHIN_S,
    ) -> list[Finished]:
        """Through so many drivers at once, each given all events; every end."""
        shared = ModelLedger()
        ends: list[Finished] = []

        async def work(number: int) -> None:
            ledger = ModelLedger() if own_ledgers else shared
            async with self._driver(ledger, f"worker-{number}") as driver:
                driver.submit([self._job(one) for one in told])
                left = len(told)
                while left:
                    got = [end for end in await driver.ends() if isinstance(end, Finished)]
                    await driver.settle(got)
                    ends.extend(got)
                    left -= len(got)

        async with asyncio.timeout(within_s):
            await asyncio.gather(*(work(number) for number in range(workers)))
        return ends

    @asynccontextmanager
    async def _driver(self, ledger: ModelLedger, owner: str) -> AsyncIterator[Driver]:
        client = make_client(self.case.name, self.values())
        noted = _Noted(self.connector(), self)
        driver = Driver(noted, ledger, client, policy_of(self.case), owner=owner)
        try:
            yield driver
        finally:
            await driver.close()

    def _job(self, told: BusinessEvent) -> Job:
        return Job(
            delivery=self.delivery(told),
            payload_hash=fingerprint(told),
            offset=told.source.offset,
        )

    # -- what came of it

    def creates(self, of: str | None = None) -> list[Mapping[str, Any]]:
        """The far end's creates of the case's kind, of one key or of all."""
        return [e for e in self.ops(of) if e["op"] == "create"]

    def ops(self, of: str | None = None) -> list[dict[str, Any]]:
        """Its effects on the case's kind."""
        return [
            e
            for e in self.far.journal()
            if e["kind"] == self.case.kind and (of is None or e["key"] == of)
        ]

    def writes(self) -> list[Call]:
        """Requests that could have an effect."""
        return [call for call in self.calls if call.effect is not Effect.READ]


class _Noted:
    """A connector whose calls the world notes."""

    def __init__(self, connector: Connector, world: World) -> None:
        self.name = connector.name
        self.batch_size = connector.batch_size
        self.keyed = connector.keyed
        self._connector = connector
        self._world = world

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """As the connector."""
        return self._world._noted(self._connector.deliver(deliveries))  # noqa: SLF001 - one piece

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """As the connector."""
        return self._world._noted(self._connector.look_up(deliveries))  # noqa: SLF001 - one piece

    def check(self) -> Conversation[Any]:
        """As the connector."""
        return self._world._noted(self._connector.check())  # noqa: SLF001 - one piece
