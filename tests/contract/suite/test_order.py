"""What happens to one record comes in order, and is made once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connectors.jobs import Final
from pipeline.core.outcome import Delivered, Rejected, Unknown
from tests.contract.case import Means, Trait, means
from tests.contract.suite.helpers import lacking
from tests.contract.world import World, story


async def test_raised_changed_closed_and_reopened_come_in_order_on_one_record(
    world: World,
) -> None:
    if lacking(world, Trait.UPDATE, Trait.CLOSE):
        return
    told = story(reopened=not lacking(world, Trait.REOPEN))
    wanted = ["create", "update", "close", "reopen"][: len(told)]
    ends = await world.run(told)
    assert [end.final for end in ends] == [Final.DELIVERED] * len(told)
    ops = [e["op"] for e in world.ops()]
    first = [op for place, op in enumerate(ops) if op not in ops[:place]]
    assert first == wanted, ops
    assert len({e["id"] for e in world.ops()}) == 1


async def test_changes_in_one_batch_come_in_order_too(world: World) -> None:
    if lacking(world, Trait.UPDATE, Trait.CLOSE):
        return
    told = story(reopened=False)
    outcomes = await world.deliver(*told)
    if [means(one) for one in outcomes] != [Means.DELIVERED] * 3:
        # A batch may put off what needs an earlier one of its record, but not refuse it.
        assert not [one for one in outcomes if isinstance(one, Rejected | Unknown)], outcomes
        outcomes = await world.deliver(*told)
    ops = [e["op"] for e in world.ops()]
    assert ops.index("create") < ops.index("update") < ops.index("close")


async def test_a_change_sent_again_is_made_once(world: World) -> None:
    if lacking(world, Trait.UPDATE):
        return
    told = story()[:2]
    await world.run(told)
    before = world.ops()
    [again] = await world.deliver(told[1])
    assert isinstance(again, Delivered)
    texts = [json.dumps(e["fields"]) for e in world.ops()[len(before) :]]
    assert not [text for text in texts if text not in {json.dumps(e["fields"]) for e in before}]


@pytest.mark.parametrize("fault", [{"status": 503}, {"mode": "drop_before"}])
async def test_a_change_in_an_outage_is_never_the_events_trouble(
    world: World, fault: dict[str, Any]
) -> None:
    if lacking(world, Trait.UPDATE, Trait.CLOSE):
        return
    connector = world.connector()
    raised, update, clear, _ = story()
    await world.deliver(raised, connector=connector)
    world.far.faults({"path": "", "times": None, **fault})
    for told in (update, clear):
        [outcome] = await world.deliver(told, connector=connector)
        assert means(outcome) in {Means.SYSTEM, Means.UNKNOWN}, outcome
    world.far.faults()
    assert [e["op"] for e in world.ops()] == ["create"]


async def test_a_change_of_a_record_that_is_not_there_is_refused(world: World) -> None:
    if lacking(world, Trait.UPDATE):
        return
    [outcome] = await world.deliver(story()[1])
    assert isinstance(outcome, Rejected), outcome
    assert not world.ops()
