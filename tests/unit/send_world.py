"""What tests of deliveries by hand share: events as lines, and sending them to a far end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from connectors.fields import OPEN, Policy
from pipeline.core.registry import DeviceRecord, Registry
from pipeline.core.retry import RetryPolicy
from pipeline.core.sinks import SinkPolicy
from pipeline.ops.send import Told, send
from pipeline.ops.send_file import Line, read
from tests.sandboxes import erpnext, webhook
from tests.sandboxes.box import Box

RECORD = DeviceRecord(
    device_id="acme/truck-1",
    asset_id="TRK-1",
    asset_name="Truck 1",
    customer_id="C-1",
    customer_name="Acme",
    customer_tax_id="",
    active=True,
)
RETRY = RetryPolicy(base_s=0.02, cap_s=0.2, max_attempts=5, request_s=0.8, settle_s=0.9)
POLICY = SinkPolicy(retry=RETRY, retry_floor_per_s=1000)
LONG_S = 60.0
KEYS = [
    *("line", "id", "device_id", "outcome", "target_id", "created", "code", "message"),
    *("answer", "final", "retry_after_s", "attempts"),
]


class Devices(Registry):
    """Every device is registered."""

    def get(self, device_id: str) -> DeviceRecord | None:
        return replace(RECORD, device_id=device_id)


def lines(*texts: Mapping[str, Any]) -> list[Line]:
    given = [
        json.dumps({"device_id": "acme/truck-1", "summary": f"event {n}", **text})
        for n, text in enumerate(texts)
    ]
    return read(given, Devices(), now_ms=1_795_257_000_250)


def values(far: Box) -> dict[str, Any]:
    return {"url": far.url, "api_key": erpnext.API_KEY, "api_secret": erpnext.API_SECRET}


async def told_of(
    far: Box,
    sent: Sequence[Line],
    *,
    wait_s: float = LONG_S,
    policy: SinkPolicy = POLICY,
    mapping: Policy = OPEN,
) -> list[Told]:
    """Send to ERPNext; what came of each line."""
    ends: list[Told] = []
    told = await send(
        "erpnext",
        sent,
        values=values(far),
        policy=policy,
        mapping=mapping,
        wait_s=wait_s,
        on_end=ends.append,
    )
    assert [one.line for one in told] == list(sent)
    heard = {id(one) for one in ends}
    assert len(heard) == len(ends) == sum(id(one) in heard for one in told)
    return told


def creates(far: Box, kind: str = "Issue") -> list[dict[str, Any]]:
    return [e for e in far.journal() if e["op"] == "create" and e["kind"] == kind]


async def posted(
    receiver: Box, sent: Sequence[Line], *, wait_s: float, batch: int, keyed: bool = False
) -> list[Told]:
    return await send(
        "webhook",
        sent,
        values={
            "url": f"{receiver.url}/events",
            "look_up_url": f"{receiver.url}/events/{{key}}",
            "secret": webhook.SECRET,
            "headers": {"X-Api-Key": webhook.API_KEY},
            "keyed": keyed,
            "batch": batch,
        },
        policy=POLICY,
        mapping=OPEN,
        wait_s=wait_s,
    )
