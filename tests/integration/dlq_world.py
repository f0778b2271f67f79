"""A sink with its worker on real parts, and a person at a terminal: for tests of the DLQ."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from infra.local.facts import read_orders
from infra.local.stack import Stack
from infra.local.supervisor import Supervisor
from pipeline.cli import deadletters
from pipeline.core.events import BusinessEvent, Severity, Source
from pipeline.core.routing import sinks_of
from pipeline.ops import identity, topics
from pipeline.ops.identity_import import When
from pipeline.settings import Settings, SettingsError, load
from pipeline.state.routes_file import load_routes
from pipeline.topology import RESULTS, sink_topic
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.cloudevents import headers
from pipeline.wire.records import encode_event
from tests.unit.examples import event

FIELDLINE = str(Path(sys.executable).with_name("fieldline"))
SINK = "tryton"
PATIENCE_S = 60.0


def refused(letter: str, sequence: int, device: str = "acme/engine-091") -> BusinessEvent:
    """An event of a customer whose VAT number the ERP refuses."""
    return event(
        id=letter * 24,
        correlation_id=letter * 24,
        device_id=device,
        asset_id=None,
        severity=Severity.WARNING,
        summary=f"T50 at or above its limit, {letter}",
        source=Source(
            topic="telemetry.readings",
            partition=0,
            offset=sequence,
            index=0,
            session=1,
            sequence=sequence,
        ),
    )


@dataclass
class World:
    """The parts, one deliver worker, and a person at a terminal."""

    settings: Settings
    devices: Path

    def typed(self, *words: str, columns: int = 100) -> tuple[int, str]:
        """Types `fieldline dlq …`: the exit code, and all that is said."""
        load.cache_clear()
        env = {"COLUMNS": str(columns), "FIELDLINE_OPERATOR": "ana"}
        ended = CliRunner().invoke(deadletters.app, list(words), env=env)
        if isinstance(ended.exception, SettingsError):
            return 1, str(ended.exception)
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return ended.exit_code, ended.output

    def said(self, *words: str, columns: int = 100) -> str:
        """What a command says that ends well."""
        code, output = self.typed(*words, columns=columns)
        assert code == 0, output
        return output

    def refusal(self, *words: str) -> str:
        """The sentence of a command that ends with code 1."""
        code, output = self.typed(*words)
        assert code == 1, output
        return " ".join(output.split())

    def listed(self, *words: str) -> dict[str, dict[str, Any]]:
        """What `dlq list --json` shows, by event id (by offset where there is none)."""
        rows = map(json.loads, self.said("list", "--json", *words).splitlines())
        return {row["event_id"] or str(row["dlq_offset"]): row for row in rows}

    def send(self, *events: BusinessEvent) -> None:
        """Put events into the sink's topic, in their order."""
        records = [
            (sink_topic(SINK), one.device_id.encode(), encode_event(Codec(), one), headers(one))
            for one in events
        ]
        asyncio.run(self._write(records))

    def write(self, topic: str, value: bytes, key: bytes) -> None:
        """Put any bytes into a topic."""
        asyncio.run(self._write([(topic, key, value, {})]))

    async def _write(
        self, records: Sequence[tuple[str, bytes, bytes, Mapping[str, bytes]]]
    ) -> None:
        producer = kafka.producer(self.settings)
        await producer.start()
        try:
            for topic, key, value, marks in records:
                await producer.send_and_wait(topic, key=key, value=value, headers=[*marks.items()])
        finally:
            await producer.stop()

    def dead(self, *ids: str) -> dict[str, dict[str, Any]]:
        """Waits until these are in the DLQ."""
        deadline = time.monotonic() + PATIENCE_S
        while not set(ids) <= (rows := self.listed("--state", "all")).keys():
            assert time.monotonic() < deadline, rows.keys()
        return rows

    def orders(self) -> list[tuple[str, str]]:
        """Key and name of all orders in the ERP, in the order in which they were made."""
        return [(o.key, o.name) for o in asyncio.run(read_orders())]

    def results(self, event_id: str) -> list[dict[str, Any]]:
        """Delivery results of an event, oldest first."""
        messages = asyncio.run(kafka.read_all(self.settings, RESULTS))
        found = [Codec().decode("delivery_result.v2", m.value) for m in messages]
        return [result for result in found if result["event_id"] == event_id]

    def mend(self, wrong: str, right: str) -> None:
        """Correct the device registry and import it, as a person would."""
        text = self.devices.read_text(encoding="utf-8")
        self.devices.write_text(text.replace(wrong, right), encoding="utf-8")
        asyncio.run(_import(self.settings))


@contextmanager
def raised(root: Path) -> Iterator[World]:
    """The world in a folder; this process's environment points at it meanwhile."""
    devices = root / "devices.csv"
    shutil.copy("infra/config/devices.csv", devices)
    stack = Stack(root, say=lambda _: None, only={"kafka", "redis", "tryton"})
    supervisor = None
    before = dict(os.environ)
    try:
        env = stack.start() | {
            "FIELDLINE_DEVICES_FILE": str(devices),
            "FIELDLINE_DATA_DIR": str(root / "state"),
            "FIELDLINE_DELIVERY_REQUEST_S": "4",
            "FIELDLINE_DELIVERY_SETTLE_S": "5",
        }
        os.environ.update(env)
        load.cache_clear()
        settings = load()
        asyncio.run(_make_topics(settings))
        asyncio.run(_import(settings))
        supervisor = Supervisor(root, env, say=lambda _: None)
        role = f"deliver-{SINK}"
        supervisor.start(role, (FIELDLINE, "worker", role))
        yield World(settings, devices)
    finally:
        if supervisor is not None:
            supervisor.stop_all()
        stack.stop()
        os.environ.clear()
        os.environ.update(before)
        load.cache_clear()


async def _import(settings: Settings) -> None:
    when = When(now_ms=identity.now_ms(), who="ana")
    done = await identity.import_file(settings, settings.devices_file, when)
    assert not done.wrong


async def _make_topics(settings: Settings) -> None:
    admin = kafka.admin(settings)
    await admin.start()
    try:
        wanted = all_topics(sinks_of(load_routes(settings.routes_file)))
        await topics.create(admin, wanted, settings)
    finally:
        await admin.close()
