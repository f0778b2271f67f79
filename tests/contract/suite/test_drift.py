"""Answers that are no longer as they were."""

from __future__ import annotations

import pytest

from connectors.jobs import Final
from pipeline.core.outcome import Delivered, Unknown
from tests.contract.suite.helpers import truthful
from tests.contract.world import World, event


@pytest.mark.parametrize("mode", ["truncate", "html", "add_field"])
async def test_an_answer_that_is_not_as_it_was_is_never_read_as_more_than_it_says(
    world: World, mode: str
) -> None:
    world.far.faults(world.case.on_write(mode=mode, times=None))
    [outcome] = await world.deliver(event())
    truthful(outcome, there=bool(world.creates()), keyed=world.connector().keyed)
    if mode == "add_field":
        assert isinstance(outcome, Delivered), outcome


async def test_an_answer_without_what_it_must_say_is_unknown(world: World) -> None:
    for number, name in enumerate(world.case.drop_fields):
        told = event(f"drift {number}", device_id=f"acme/truck-{number}")
        world.far.faults(world.case.on_write(mode="drop_field", fields=[name], times=None))
        [outcome] = await world.deliver(told)
        there = bool(world.creates(world.case.far_key(told.id))) or bool(world.creates())
        truthful(outcome, there=there, keyed=world.connector().keyed)
        assert isinstance(outcome, Unknown | Delivered), (name, outcome)


async def test_what_drifted_is_delivered_once_when_the_far_end_is_well_again(world: World) -> None:
    world.far.faults(world.case.on_write(mode="truncate", times=1))
    [end] = await world.run([event()])
    assert end.final is Final.DELIVERED
    assert len(world.creates()) == 1
