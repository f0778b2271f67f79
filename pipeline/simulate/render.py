"""From a planned send to the bytes an engine would publish: pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.core.telemetry import NO_SEQUENCE
from pipeline.simulate.cmapss import CYCLE_MS, SENSORS, Fleet, device_name
from pipeline.simulate.plan import Flaw, Form, Plan, Send

TENANT = "acme"
FUTURE_MS = 4_070_908_800_000
"""2099-01-01T00:00:00Z: a clock that is far ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One playing of a plan. `session` rises from run to run; `start_ms` ends event time."""

    plan: Plan
    fleet: Fleet
    session: int
    start_ms: int
    max_payload: int
    """Greatest payload the bridge decodes, bytes: an oversized one has one byte more."""

    def device(self, send: Send) -> str:
        """Device 'tenant/device' that `send` comes from, as its topic says."""
        name = device_name(send.engine)
        return f"{TENANT}/{name.replace('-', ' ') if send.flaw is Flaw.BAD_DEVICE else name}"

    def topic(self, send: Send) -> str:
        """MQTT topic of `send`."""
        return f"telemetry/{self.device(send)}"

    def event_ms(self, send: Send, cycle: int) -> int:
        """Event time of a sample by its engine's clock, milliseconds since the Unix epoch."""
        return self.plan.event_ms(send.engine, cycle, self.start_ms)

    def identity(self, send: Send, cycle: int) -> tuple[int, int]:
        """Session and sequence number as the pipeline sees them."""
        if self.plan.numbered(send.engine):
            return self.session, cycle
        return 0, NO_SEQUENCE

    def payload(self, send: Send) -> bytes:
        """What is published: the same bytes every time for the same samples."""
        if send.flaw is not None:
            return _FLAWS[send.flaw](self)
        form = self.plan.forms[send.engine]
        if form is Form.SENML:
            return orjson.dumps(self._pack(send))
        items = [self._sample(send, cycle) for cycle in send.cycles]
        return orjson.dumps(items[0] if form is Form.SAMPLE else items)

    def _values(self, send: Send, cycle: int) -> dict[str, float]:
        row = self.fleet.engines[send.engine][cycle - 1].tolist()
        return dict(zip(SENSORS, row, strict=True))

    def _sample(self, send: Send, cycle: int) -> dict[str, Any]:
        session, sequence = self.identity(send, cycle)
        return {
            "ts": self.event_ms(send, cycle),
            "session": session,
            "seq": sequence,
            "metrics": self._values(send, cycle),
        }

    def _pack(self, send: Send) -> list[dict[str, Any]]:
        first = send.cycles[0]
        pack: list[dict[str, Any]] = []
        for cycle in send.cycles:
            records: list[dict[str, Any]] = [
                {"n": metric, "v": value} for metric, value in self._values(send, cycle).items()
            ]
            if cycle != first:
                for record in records:
                    record["t"] = (cycle - first) * CYCLE_MS // 1000
            session, sequence = self.identity(send, cycle)
            if sequence != NO_SEQUENCE:
                records[0] |= {"session": session, "seq": sequence}
            pack += records
        pack[0] = {
            "bn": f"urn:dev:ops:{TENANT}-{device_name(send.engine)}:",
            "bt": self.event_ms(send, first) / 1000,
            **pack[0],
        }
        return pack


_FLAWS: dict[Flaw, Callable[[Run], bytes]] = {
    Flaw.BROKEN_JSON: lambda run: b'{"ts":%d,"metrics":{"T2":518.6' % run.start_ms,
    Flaw.NO_VALUE: lambda run: b'{"ts":%d,"metric":"T2"}' % run.start_ms,
    Flaw.NAN: lambda run: b'{"ts":%d,"metric":"T2","value":NaN}' % run.start_ms,
    Flaw.TEXT: lambda run: b'{"ts":%d,"metrics":{"T2":"hot"}}' % run.start_ms,
    Flaw.FUTURE: lambda _: b'{"ts":%d,"metric":"T2","value":518.67}' % FUTURE_MS,
    Flaw.OVERSIZED: lambda run: b'{"metric":"T2","value":518.67}'.ljust(run.max_payload + 1),
    Flaw.BAD_DEVICE: lambda run: b'{"ts":%d,"metric":"T2","value":518.67}' % run.start_ms,
}
