"""From MQTT publish to the event in events.business, at a steady 100,000 readings a second.

    python -m tests.bench.latency [--quick]

One publisher offers 5,000 messages a second of 20 readings each, at QoS 1, through Mosquitto,
the bridge and the detect worker. A known share of the devices falls below the low limit of
one metric; the time is from handing over the very sample that the event names, until this
process has the event from Kafka. One machine, so one clock.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer
from rich.console import Console
from rich.table import Table

from pipeline.topology import EVENTS, READINGS
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import decode_event
from tests.bench import mqtt_side, ours, report
from tests.bench.broker import WAIT_S, BenchError, Broker
from tests.bench.command import attempt, parser
from tests.bench.process import others_s
from tests.bench.publish import PublishPlan
from tests.bench.screen import Screen
from tests.waiting import first

MESSAGES_PER_S = 5_000
READINGS_PER_MESSAGE = 20
FULL_S, QUICK_S = 40, 12
SETTLE_SAMPLES = 25
"""Samples of each device before the first breach: five seconds."""
ENOUGH = 0.9
"""Share of the breaches that must have made an event for the figures to count."""
_QUIET_S = 0.25
"""The bridge has written all where nothing came for so long: five times its linger."""
_NS_PER_MS = 1_000_000


@dataclass(slots=True)
class Heard:
    """When each event was here: (device, session, sequence) → nanoseconds, the first time."""

    client: AIOKafkaConsumer
    at: dict[tuple[str, int], int] = field(default_factory=dict)
    events: int = 0

    async def listen(self) -> None:
        """Take events until cancelled."""
        codec = Codec()
        while True:
            found = await self.client.getmany(timeout_ms=100)
            now = time.time_ns()
            for messages in found.values():
                for message in messages:
                    self.events += 1
                    event = decode_event(codec, message.value)
                    if event.detector == "limit":
                        self.at.setdefault((event.device_id, event.source.sequence), now)


async def run(broker: Broker, screen: Screen, *, seconds: int) -> dict[str, Any]:
    """The whole bench; its part of the results file."""
    await broker.make_ours()
    journal = broker.root / "breaches.jsonl"
    devices = 1_000
    prime = PublishPlan(url=broker.settings.mqtt_url, messages=2 * devices, devices=devices)
    plan = PublishPlan(
        url=broker.settings.mqtt_url,
        messages=seconds * MESSAGES_PER_S,
        devices=devices,
        readings=READINGS_PER_MESSAGE,
        rate=MESSAGES_PER_S,
        first_seq=3,
        breaches=min(devices, 25 * seconds),
        breach_from=SETTLE_SAMPLES,
        journal=str(journal),
    )
    client = kafka.consumer(broker.settings, client_id="bench-latency")
    with mqtt_side.bridge(broker) as bridge, ours.worker(broker) as worker:
        await client.start()
        try:
            with screen.doing("latency: warming up", 1):
                await mqtt_side.publish_heard(broker, prime)
                await drained(broker)
            partitions = await kafka.topic_partitions(client, [EVENTS])
            client.assign(partitions)
            await client.seek_to_end(*partitions)
            heard = Heard(client)
            listening = asyncio.create_task(heard.listen())
            pids = (*broker.pids, bridge.pid, worker.pid)
            began, others = time.monotonic(), others_s(*pids)

            def check() -> None:
                bridge.check()
                worker.check()
                if listening.done():
                    listening.result()

            with screen.doing(f"latency: {seconds} s at {MESSAGES_PER_S:,} messages/s", 1):
                answer = await mqtt_side.publish(broker, plan, check=check)
                published = time.monotonic()
                await drained(broker)
                behind_s = time.monotonic() - published
            elsewhere = (others_s(*pids) - others) / (time.monotonic() - began)
            listening.cancel()
        finally:
            await client.stop()
    found = latencies(journal, heard)
    if len(found) < ENOUGH * plan.breaches:
        raise BenchError(
            f"Only {len(found)} of {plan.breaches} breaches made an event: see {broker.root}/log."
        )
    p50, p99 = np.percentile(found, [50, 99]).tolist()
    return {
        "p50_ms": round(p50, 1),
        "p99_ms": round(p99, 1),
        "max_ms": round(max(found), 1),
        "events": len(found),
        "breaches": plan.breaches,
        "all_events": heard.events,
        "offered_readings_per_s": MESSAGES_PER_S * READINGS_PER_MESSAGE,
        "achieved_readings_per_s": round(answer["achieved_per_s"] * READINGS_PER_MESSAGE),
        "drained_after_s": round(behind_s, 2),
        "others_cores": round(elsewhere, 2),
        "seconds": seconds,
    }


def latencies(journal: Path, heard: Heard) -> list[float]:
    """Milliseconds from each breaching sample that an event names to that event."""
    found = []
    for line in journal.read_text(encoding="utf-8").splitlines():
        device, sequence, sent_ns = json.loads(line)
        at = heard.at.get((device, sequence))
        if at is not None:
            found.append((at - sent_ns) / _NS_PER_MS)
    return found


async def drained(broker: Broker) -> None:
    """Until the worker has taken all that the bridge wrote, and the bridge writes no more."""
    last: dict[int, int] = {}
    async with broker.watch(READINGS) as ends:

        async def caught_up() -> bool:
            nonlocal last
            before, last = last, await ends.now()
            if last != before or not any(last.values()):
                return False
            return not await broker.lag(ours.GROUP, last, READINGS)

        if not await first(caught_up, within_s=WAIT_S, every_s=_QUIET_S):
            raise BenchError(f"The worker did not catch up: see {broker.root}/log.")


def show(console: Console, result: dict[str, Any]) -> None:
    """The table."""
    table = Table(title="latency: MQTT publish to event in events.business", title_justify="left")
    for column in ("offered readings/s", "achieved", "events", "p50 ms", "p99 ms", "max ms"):
        table.add_column(column, justify="right")
    table.add_row(
        f"{result['offered_readings_per_s']:,}",
        f"{result['achieved_readings_per_s']:,}",
        f"{result['events']} of {result['breaches']}",
        f"{result['p50_ms']:.0f}",
        f"{result['p99_ms']:.0f}",
        f"{result['max_ms']:.0f}",
    )
    console.print(table)
    report.warn_cores(console, result["others_cores"])


def main(arguments: Sequence[str] = ()) -> int:
    """The command; returns its exit code."""
    about = f"{QUICK_S} s instead of {FULL_S}"
    quick = parser("latency", __doc__, quick=about, repeat=False).parse_args(arguments).quick

    def work(console: Console) -> None:
        screen = Screen(console)
        seconds = QUICK_S if quick else FULL_S
        broker = Broker(console.print, parts=("kafka", "mosquitto"))
        with broker, screen.shown("latency", 1):
            result = asyncio.run(run(broker, screen, seconds=seconds))
        report.merge({"latency": {"quick": quick, **result}})
        show(console, result)

    return attempt(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
