"""Looking up: what is there is found, and a failure is no answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.core.outcome import Delivered, Found, NotFound, Retryable, Undecidable
from tests.contract.case import Trait
from tests.contract.suite.helpers import lacking
from tests.contract.world import World, event, story


async def test_what_is_there_is_found_and_what_is_not_is_not(world: World) -> None:
    if lacking(world, Trait.LOOK_UP):
        [answer] = await world.look_up(event())
        assert isinstance(answer, Undecidable)
        return
    [sent] = await world.deliver(event("there"))
    answers = await world.look_up(event("there"), event("not there"))
    assert isinstance(sent, Delivered)
    assert answers == [Found(target_id=sent.target_id), NotFound()]


@pytest.mark.parametrize("fault", [{"status": 500}, {"mode": "html"}, {"mode": "drop_before"}])
async def test_a_look_up_that_fails_says_neither_yes_nor_no(
    world: World, fault: dict[str, Any]
) -> None:
    if lacking(world, Trait.LOOK_UP):
        return
    await world.deliver(event())
    connector = world.connector()
    world.far.faults({"path": "", "times": None, **fault})
    [answer] = await world.look_up(event(), connector=connector)
    assert isinstance(answer, Retryable), answer


async def test_a_change_is_looked_up_by_itself(world: World) -> None:
    if lacking(world, Trait.LOOK_UP, Trait.UPDATE):
        return
    raised, update, _, _ = story()
    await world.deliver(raised)
    [before] = await world.look_up(update)
    assert not isinstance(before, Found) or world.connector().keyed
    await world.deliver(update)
    [after] = await world.look_up(update)
    assert isinstance(after, Found)


async def test_what_was_made_is_found_by_one_who_knows_its_ids_only(world: World) -> None:
    """The reconciler has neither the device's row nor the event's words."""
    if lacking(world, Trait.LOOK_UP, Trait.CLOSE):
        return
    raised, update, clear = story(reopened=False)
    await world.run([raised, update, clear])
    connector = world.connector()
    for one in (raised, clear):
        bare = replace(world.delivery(replace(one, summary="", snapshot=())), record=None)
        exchange = await world.hold(connector.look_up([bare]))
        assert exchange.result is not None, exchange.bug
        assert isinstance(exchange.result[0], Found), (one.action, exchange.result)
