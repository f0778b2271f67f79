"""Many at once: each has an outcome of its own."""

from __future__ import annotations

import pytest

from connectors.jobs import Final
from pipeline.core.outcome import Delivered
from tests.contract.case import Means, means
from tests.contract.world import World, many


async def test_one_bad_record_of_a_batch_is_refused_alone(world: World) -> None:
    refusals = [c for c, (m, _) in world.case.codes.items() if m is Means.REJECTED]
    if not refusals:
        pytest.fail("A case needs a code that refuses a record.")
    told = many(3)
    world.far.errors({"code": refusals[0], "key": world.case.far_key(told[1].id), "times": None})
    outcomes = await world.deliver(*told)
    if world.connector().batch_size == 1:
        # One record a request: the conversation goes through them one by one.
        assert len(outcomes) == 3
    assert [means(one) for one in outcomes] == [Means.DELIVERED, Means.REJECTED, Means.DELIVERED]
    assert {e["id"] for e in world.creates()} == {
        one.target_id for one in outcomes if isinstance(one, Delivered)
    } or len(world.creates()) == 2


async def test_a_full_batch_and_one_more_are_all_there(world: World) -> None:
    size = world.connector().batch_size
    told = many(size + 1)
    ends = await world.run(told)
    assert {end.final for end in ends} == {Final.DELIVERED}
    assert len(world.creates()) == size + 1
