"""A publisher of QoS 1 messages as a process of its own, steady or as fast as it can.

Start: python -m tests.bench.publish PLAN.json. The plan is a PublishPlan as JSON; the answer
is one JSON line: messages (and those that nobody subscribes to), seconds, and the rate it was
asked for and came to. Where the plan
names breaches, the journal (JSON lines) tells when each of their samples was handed over.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson
import uvloop

from pipeline.bridge.mqtt import Address, Outbox
from tests.bench.signals import FLEET, Metric

TENANTS = 100
"""Tenants of the fleet: a storm of one must not silence the others."""
SESSION = 1
BREACH = "P30"
"""The metric that falls below its low limit in infra/config/rules.yaml (551.7 psia)."""
BREACH_VALUE = 550.0
BREACH_SAMPLES = 4
"""Samples in a row beyond the limit: one more than the rule asks for."""
MORE = tuple(Metric(f"channel_{n:02d}", 100.0, 1.0, 2) for n in range(1, 11))
"""Ten more metrics, for messages of twenty."""
_WINDOW = 4_000
"""Messages under way without an acknowledgement."""
_TICK_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishPlan:
    """What to publish: `messages` round robin over `devices`, `rate` a second (0: no limit).

    Each message is one sample of `readings` metrics (1 or 20), numbered from `first_seq` for
    each device. `breaches` devices fall below the limit of BREACH once, at samples spread
    evenly from `breach_from` (sample of the device, from 0) to the end.
    """

    url: str
    messages: int
    devices: int = 1_000
    readings: int = 20
    rate: float = 0.0
    first_seq: int = 1
    breaches: int = 0
    breach_from: int = 0
    journal: str = ""
    seed: int = 1


def device(index: int) -> str:
    """TENANT/DEVICE of a device of the fleet."""
    return f"bench-{index % TENANTS:02d}/device-{index:04d}"


@dataclass(frozen=True, slots=True)
class Sent:
    """One message: topic and payload, and its place where it belongs to a breach."""

    topic: str
    payload: bytes
    breach: tuple[str, int] | None = None


def messages(plan: PublishPlan) -> Iterator[Sent]:
    """All messages of a plan, in order."""
    rng = np.random.default_rng(plan.seed)
    metrics = (FLEET + MORE) if plan.readings > 1 else FLEET[:1]
    base = np.array([m.base for m in metrics])
    noise = np.array([m.noise for m in metrics])
    names = [m.name for m in metrics]
    digits = [m.digits for m in metrics]
    laps = -(-plan.messages // plan.devices)
    starts = breach_starts(plan, laps)
    left = plan.messages
    for lap in range(laps):
        values = base + noise * rng.standard_normal((plan.devices, len(metrics)))
        columns = [np.round(values[:, c], digits[c]).tolist() for c in range(len(metrics))]
        for index, row in enumerate(zip(*columns, strict=True)):
            if not left:
                return
            left -= 1
            name, seq = device(index), plan.first_seq + lap
            readings = dict(zip(names, row, strict=True))
            start = starts.get(index, laps)
            hit = start <= lap < start + BREACH_SAMPLES
            if hit:
                readings[BREACH] = BREACH_VALUE
            body = (
                {"session": SESSION, "seq": seq, "metrics": readings}
                if plan.readings > 1
                else {"session": SESSION, "seq": seq, "metric": names[0], "value": row[0]}
            )
            yield Sent(f"telemetry/{name}", orjson.dumps(body), (name, seq) if hit else None)


def breach_starts(plan: PublishPlan, laps: int) -> dict[int, int]:
    """Device → sample (from 0) at which it falls below its limit."""
    if not plan.breaches:
        return {}
    last = laps - BREACH_SAMPLES
    step = max(1, plan.devices // plan.breaches)
    span = max(1, last - plan.breach_from)
    return {
        index: plan.breach_from + number * span // plan.breaches
        for number, index in enumerate(range(0, plan.devices, step))
        if number < plan.breaches
    }


class _Publisher:
    def __init__(self, plan: PublishPlan) -> None:
        self._plan = plan
        self._all = list(messages(plan))
        self._acknowledged = 0
        self._unheard = 0
        self._handed_over: list[tuple[str, int, int]] = []

    def _on_ack(self, _mid: int, heard: bool) -> None:  # noqa: FBT001 - the adapter's callback
        self._acknowledged += 1
        self._unheard += not heard

    async def run(self) -> dict[str, float]:
        """Publish everything; ends when all of it is acknowledged."""
        plan, total = self._plan, len(self._all)
        outbox = Outbox(
            Address.parse(plan.url), client_id="bench-publish", window=_WINDOW, on_ack=self._on_ack
        )
        async with outbox:
            began, sent = time.perf_counter(), 0
            ended = began
            while self._acknowledged < total:
                elapsed = time.perf_counter() - began
                due = min(total, int(elapsed * plan.rate) + 1) if plan.rate else total
                end = min(due, self._acknowledged + outbox.window)
                for message in self._all[sent:end]:
                    self._publish(outbox, message)
                if end > sent:
                    sent, ended = end, time.perf_counter()
                await outbox.wait(_TICK_S)
            acknowledged_s = time.perf_counter() - began
        self._write()
        return {
            "messages": total,
            "unheard": self._unheard,
            "seconds": ended - began,
            "seconds_acknowledged": acknowledged_s,
            "offered_per_s": plan.rate,
            "achieved_per_s": total / max(ended - began, _TICK_S),
        }

    def _publish(self, outbox: Outbox, message: Sent) -> None:
        if message.breach is not None:
            self._handed_over.append((*message.breach, time.time_ns()))
        outbox.publish(message.topic, message.payload)

    def _write(self) -> None:
        if self._plan.journal:
            lines = (json.dumps(row) for row in self._handed_over)
            Path(self._plan.journal).write_text("\n".join(lines) + "\n", encoding="utf-8")


def plan_text(plan: PublishPlan) -> str:
    """The plan as the program reads it."""
    return json.dumps(asdict(plan))


def main(arguments: list[str]) -> None:
    """See the module."""
    plan = PublishPlan(**json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    answer = uvloop.run(_Publisher(plan).run())
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
