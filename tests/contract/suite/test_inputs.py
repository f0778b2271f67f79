"""What comes in: texts, ids, numbers and rows that nobody wished for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors import registry
from pipeline.core.outcome import Delivered, Rejected
from tests.contract.world import World, event

HOSTILE = (
    "x" * 10_000,
    "Überhitzung 過熱 🔥 \u202e\u200f\u05e8\u05ea\u05d9\u05d7\u05d4",
    "a\x00b\x1b[31mc\r\nd\te",
    "\ud800 lone",
    "'; DROP TABLE orders; --",
    '=HYPERLINK("http://evil","x")',
    "<script>alert(1)</script> & ]]> <![CDATA[ &lt;",
    "{{7*7}} ${jndi:ldap://x} %s %n \\u0000 \\",
    "--batch_boundary\r\nContent-Type: x",
    "",
)


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_hostile_text_is_delivered_or_refused_by_the_mapping(
    world: World, text: str
) -> None:
    told = event(summary=text, detector=text[:80], rule=text[:80], metric=text[:80])
    record = replace(
        world.case.record, asset_name=text[:200] or "-", customer_name=text[:200] or "-"
    )
    [outcome] = await world.deliver(told, record=record)
    if isinstance(outcome, Rejected):
        assert outcome.code.startswith("mapping."), outcome
        assert not world.ops()
    else:
        assert isinstance(outcome, Delivered), outcome
        assert len(world.creates()) == 1
    assert not [e for e in world.ops() if e["op"] not in {"create", "update"}]


@pytest.mark.parametrize("text", ["", "a/b", "a'b", "a b", "ü" * 30, "x" * 300, "../..", "a,b;c"])
async def test_a_hostile_id_is_delivered_as_it_is_or_refused_by_the_mapping(
    world: World, text: str
) -> None:
    record = replace(world.case.record, asset_id=text, customer_id=text)
    told = event(asset_id=text or None, customer_id=text or None)
    [outcome] = await world.deliver(told, record=record)
    if isinstance(outcome, Rejected):
        assert not world.ops()
    else:
        assert isinstance(outcome, Delivered), outcome


async def test_numbers_and_times_at_the_edge_are_delivered_or_refused_by_the_mapping(
    world: World,
) -> None:
    for number, ms in enumerate((-1, 0, 253_402_300_800_000, 2**62)):
        told = event(f"t{number}", occurred_at_ms=ms, observed_at_ms=ms, confidence=float("nan"))
        [outcome] = await world.deliver(told)
        if isinstance(outcome, Rejected):
            assert outcome.code.startswith("mapping."), outcome
        else:
            assert isinstance(outcome, Delivered), outcome


async def test_an_event_of_an_unknown_device_is_refused_before_anything_is_sent(
    world: World,
) -> None:
    connector = world.connector()
    one = replace(world.delivery(event()), record=None)
    exchange = await world.hold(connector.deliver([one]))
    assert exchange.result is not None, exchange.bug
    [outcome] = exchange.result
    if isinstance(outcome, Delivered):
        assert not registry.system(world.case.name).objects, "its mapping needs the registry"
    else:
        assert isinstance(outcome, Rejected)
        assert outcome.code == "mapping.unregistered_device"
        assert not world.writes()


async def test_a_retired_asset_is_final(world: World) -> None:
    [outcome] = await world.deliver(event(), record=replace(world.case.record, active=False))
    if isinstance(outcome, Rejected):
        assert outcome.code == "mapping.retired_asset"
        assert outcome.final
    else:
        assert not registry.system(world.case.name).objects
