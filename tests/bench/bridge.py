"""How fast the bridge carries messages, beside a bare aiomqtt subscriber that does nothing.

    python -m tests.bench.bridge [--quick] [--repeat N]

Mosquitto holds all messages before the clock starts, so that the publisher takes no part: a
session is made and left, the messages are queued for it, and its owner comes back. The bare
subscriber acknowledges on arrival; the bridge only after Kafka has acknowledged.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.bridge.mqtt import Address
from pipeline.topology import READINGS
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import decode_batch
from tests.bench import mqtt_side, report
from tests.bench.broker import Broker
from tests.bench.command import attempt, parser, repeats
from tests.bench.measure import STALLED_S
from tests.bench.process import Process, others_s
from tests.bench.publish import PublishPlan
from tests.bench.screen import Screen


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing to measure: who takes messages of how many readings."""

    name: str
    who: str
    readings: int
    full: int
    quick: int


KINDS = (
    Kind("bare", "aiomqtt, bare", 1, 100_000, 20_000),
    Kind("bridge", "fieldline bridge", 1, 100_000, 20_000),
    Kind("bare_20", "aiomqtt, bare", 20, 50_000, 10_000),
    Kind("bridge_20", "fieldline bridge", 20, 50_000, 10_000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One run."""

    kind: str
    messages: int
    messages_per_s: float
    cpu_us_per_message: float
    others_cores: float


async def bare(broker: Broker, plan: PublishPlan, kind: str) -> Taken:
    """One run of the bare subscriber."""
    address = Address.parse(plan.url)
    argv = (sys.executable, "-m", "tests.bench.bare_subscriber", address.host, str(address.port))
    await mqtt_side.answer(broker, "bare", (*argv, "bench-bare", "0"), seconds=STALLED_S)
    await mqtt_side.publish(broker, plan)
    count = str(plan.messages)
    began, others = time.monotonic(), others_s(*broker.pids)
    got = await mqtt_side.answer(broker, "bare", (*argv, "bench-bare", count), seconds=STALLED_S)
    elsewhere = (others_s(*broker.pids) - others - got["cpu_s"]) / (time.monotonic() - began)
    return Taken(
        kind=kind,
        messages=plan.messages,
        messages_per_s=plan.messages / got["seconds"],
        cpu_us_per_message=got["cpu_s"] / plan.messages * 1e6,
        others_cores=max(0.0, elsewhere),
    )


async def bridge(broker: Broker, plan: PublishPlan, kind: str) -> Taken:
    """One run of the bridge, from the first record in Kafka to the last."""
    with mqtt_side.bridge(broker, shared=False):
        await mqtt_side.publish_heard(broker, PublishPlan(url=plan.url, messages=10, devices=10))
    await mqtt_side.publish(broker, plan)
    client = kafka.consumer(broker.settings, client_id="bench-bridge")
    await client.start()
    try:
        partitions = await kafka.topic_partitions(client, [READINGS])
        client.assign(partitions)
        await client.seek_to_end(*partitions)
        for partition in partitions:
            await client.position(partition)
        with mqtt_side.bridge(broker, shared=False) as process:
            return await _carried(client, process, broker, plan, kind)
    finally:
        await client.stop()


async def _carried(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    process: Process,
    broker: Broker,
    plan: PublishPlan,
    kind: str,
) -> Taken:
    codec, pids = Codec(), (*broker.pids, process.pid)
    first = samples = 0
    first_s = moved = time.perf_counter()
    cpu = others = 0.0
    while samples < plan.messages:
        found = await client.getmany(timeout_ms=200)
        now = time.perf_counter()
        for messages in found.values():
            samples += sum(decode_batch(codec, message.value).samples for message in messages)
            moved = now
        if samples and not first:
            first, first_s = samples, now
            cpu, others = process.cpu_s(), others_s(*pids)
        process.check()
        if now - moved > STALLED_S:
            raise process.stuck(f"carried only {samples:,} of {plan.messages:,} messages")
    seconds = max(moved - first_s, 1e-3)
    carried = samples - first
    return Taken(
        kind=kind,
        messages=plan.messages,
        messages_per_s=carried / seconds,
        cpu_us_per_message=(process.cpu_s() - cpu) / max(carried, 1) * 1e6,
        others_cores=max(0.0, (others_s(*pids) - others) / seconds),
    )


async def run(broker: Broker, screen: Screen, *, quick: bool, repeats: int) -> list[Taken]:
    """All runs, kinds taking turns."""
    await broker.make_ours()
    out: list[Taken] = []
    with screen.shown("bridge", repeats * len(KINDS)) as one_more:
        for turn in range(1, repeats + 1):
            for kind in KINDS:
                plan = PublishPlan(
                    url=broker.settings.mqtt_url,
                    messages=kind.quick if quick else kind.full,
                    readings=kind.readings,
                    first_seq=2,
                )
                with screen.doing(f"{kind.who}, {kind.readings} a message, run {turn}", 1):
                    # Sessions of the run before would get copies of every message.
                    await asyncio.to_thread(broker.renew, "mosquitto")
                    take = bare if kind.name.startswith("bare") else bridge
                    out.append(await take(broker, plan, kind.name))
                one_more()
    return out


def summary(runs: Sequence[Taken], *, quick: bool) -> dict[str, Any]:
    """The part of the results file."""
    rate = {
        kind.name: statistics.median(r.messages_per_s for r in runs if r.kind == kind.name)
        for kind in KINDS
    }
    return {
        "quick": quick,
        "messages_per_s": {name: round(value) for name, value in rate.items()},
        "ratio_to_bare": round(rate["bridge"] / rate["bare"], 3),
        "ratio_to_bare_20": round(rate["bridge_20"] / rate["bare_20"], 3),
        "readings_per_s_20": round(rate["bridge_20"] * 20),
        "runs": [
            {"kind": r.kind, "messages_per_s": round(r.messages_per_s)}
            | {"cpu_us_per_message": round(r.cpu_us_per_message, 1)}
            | {"messages": r.messages, "others_cores": round(r.others_cores, 2)}
            for r in runs
        ],
    }


def show(console: Console, runs: Sequence[Taken], result: dict[str, Any]) -> None:
    """The table."""
    table = Table(title="bridge: messages taken from MQTT at QoS 1", title_justify="left")
    table.add_column("who")
    for column in ("readings a message", "messages/s", "min - max", "readings/s", "CPU µs each"):
        table.add_column(column, justify="right")
    for kind in KINDS:
        each = [r.messages_per_s for r in runs if r.kind == kind.name]
        cpu = statistics.median(r.cpu_us_per_message for r in runs if r.kind == kind.name)
        middle = statistics.median(each)
        table.add_row(
            kind.who,
            str(kind.readings),
            f"{middle:,.0f}",
            f"{min(each):,.0f} - {max(each):,.0f}",
            f"{middle * kind.readings:,.0f}",
            f"{cpu:.0f}",
        )
    console.print(table)
    console.print(f"The bridge has {result['ratio_to_bare']:.0%} of the bare subscriber's rate.")
    report.warn_cores(console, max(r.others_cores for r in runs))


def main(arguments: Sequence[str] = ()) -> int:
    """The command; returns its exit code."""
    asked = parser("bridge", __doc__, quick="few messages, one run each").parse_args(arguments)

    def work(console: Console) -> None:
        screen = Screen(console)
        with Broker(console.print, parts=("kafka", "mosquitto")) as broker:
            runs = asyncio.run(run(broker, screen, quick=asked.quick, repeats=repeats(asked)))
        result = summary(runs, quick=asked.quick)
        report.merge({"bridge": result})
        show(console, runs, result)

    return attempt(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
