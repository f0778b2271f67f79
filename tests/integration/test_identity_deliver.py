"""A deliver worker goes by the identity map: by who owned the asset when the event occurred."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.local.supervisor import Supervisor
from pipeline.core.events import BusinessEvent
from pipeline.core.identity import Kind
from pipeline.core.identity_commands import Describe, Own, Provision
from pipeline.ops import deadletters, topics
from pipeline.topology import sink_topic
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.cloudevents import headers
from pipeline.wire.records import encode_event
from tests.integration.identity_world import NOW, World, raised
from tests.unit.examples import event
from tests.waiting import until

pytestmark = [pytest.mark.parts, pytest.mark.timeout(240)]

SINK = "webhook"
SOLD = NOW
TEMPLATE = {"key": "{event.key}", "customer": "{customer.id}", "sap": "{ids.sap.equipment}"}


@dataclass
class Receiver:
    """Takes what is posted."""

    url: str = ""
    got: dict[str, dict[str, str]] = field(default_factory=dict)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            receiver.got[body["key"]] = body
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/events"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Set:
    """World, receiver, and a worker between them."""

    world: World
    receiver: Receiver

    async def send(self, *events: BusinessEvent) -> None:
        producer = kafka.producer(self.world.settings)
        await producer.start()
        try:
            for one in events:
                await producer.send_and_wait(
                    sink_topic(SINK),
                    key=one.device_id.encode(),
                    value=encode_event(Codec(), one),
                    headers=list(headers(one).items()),
                )
        finally:
            await producer.stop()

    async def customers(self, *events: BusinessEvent) -> list[str]:
        """Whose each event was told to be."""
        await until(lambda: all(one.id in self.receiver.got for one in events))
        return [self.receiver.got[one.id]["customer"] for one in events]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    root = tmp_path_factory.mktemp("deliver")
    routes, template = root / "routes.yaml", root / "template.json"
    routes.write_text(
        f"version: 1\nroutes:\n  - when: {{}}\n    sinks: [{SINK}]\n", encoding="utf-8"
    )
    template.write_text(json.dumps(TEMPLATE), encoding="utf-8")
    with raised(root) as world, receiving() as receiver:
        asyncio.run(make_topics(world))
        env = world.env | {
            "FIELDLINE_ROUTES_FILE": str(routes),
            "WEBHOOK_URL": receiver.url,
            "WEBHOOK_TEMPLATE": str(template),
        }
        supervisor = Supervisor(root, env, say=lambda _: None)
        try:
            command = str(Path(sys.executable).with_name("fieldline"))
            supervisor.start(f"deliver-{SINK}", (command, "worker", f"deliver-{SINK}"))
            yield Set(world, receiver)
        finally:
            supervisor.stop_all()


async def make_topics(world: World) -> None:
    admin = kafka.admin(world.settings)
    await admin.start()
    try:
        await topics.create(admin, all_topics((SINK,)), world.settings)
    finally:
        await admin.close()


def told(number: int, at_ms: int, *, observed_ms: int | None = None) -> BusinessEvent:
    ident = f"{number:024d}"
    return event(
        id=ident,
        correlation_id=ident,
        device_id="acme/e-1",
        occurred_at_ms=at_ms,
        observed_at_ms=at_ms if observed_ms is None else observed_ms,
    )


async def test_a_late_event_goes_to_the_owner_of_its_time_also_after_redis_lost_all(
    parts: Set,
) -> None:
    unknown = told(9, SOLD)
    await parts.send(unknown)

    async def dead() -> bool:
        entries = await deadletters.read(parts.world.settings, Codec(), SINK)
        return unknown.id in {entry.event_id for entry in entries}

    await until(dead, "an event of a device that nobody registered is a person's matter")
    async with parts.world.desk() as desk:
        await desk.run(
            [
                Provision(
                    device_id="acme/e-1",
                    asset_id="ESN-1",
                    customer_id="C-1",
                    customer_name="Nordlicht",
                    ids={"sap.equipment": "10001"},
                ),
                Describe(kind=Kind.CUSTOMER, entry_id="C-2", name="Aire"),
                Own(asset_id="ESN-1", customer_id="C-2", at_ms=SOLD, past=True),
            ],
            SOLD,
        )
        after, late = told(1, SOLD), told(2, SOLD - 1)
        await parts.send(after, late)
        assert await parts.customers(after, late) == ["C-2", "C-1"]
        assert parts.receiver.got[late.id]["sap"] == "10001"

        async with parts.world.redis() as client:
            await client.flushall()
        again, ahead = told(3, SOLD - 2), told(4, SOLD + 10**9, observed_ms=SOLD - 1)
        await parts.send(again, ahead)
        assert await parts.customers(again, ahead) == ["C-1", "C-1"]
    entries = await deadletters.read(parts.world.settings, Codec(), SINK)
    assert {entry.event_id for entry in entries} == {unknown.id}, "lost, and taken for unknown"
