"""One event, one record: whatever is sent again, lost, or done by two at once."""

from __future__ import annotations

import pytest

from connectors.jobs import Final
from pipeline.core.outcome import Delivered
from tests.contract.case import Means, means
from tests.contract.world import World, event


async def test_an_event_makes_one_record_whose_key_and_id_are_told(world: World) -> None:
    [outcome] = await world.deliver(event())
    assert isinstance(outcome, Delivered), outcome
    assert outcome.created
    [made] = world.creates()
    assert made["key"]
    assert outcome.target_id


async def test_sent_again_it_changes_nothing_and_is_told_as_there_before(world: World) -> None:
    [first] = await world.deliver(event())
    [again] = await world.deliver(event())
    assert isinstance(first, Delivered)
    assert isinstance(again, Delivered)
    assert not again.created
    assert again.target_id == first.target_id
    assert len(world.creates()) == 1


async def test_it_is_created_once_though_the_system_is_down_for_a_while(world: World) -> None:
    world.far.faults(world.case.on_write(status=503, times=3))
    [end] = await world.run([event()])
    assert end.final is Final.DELIVERED
    assert len(world.creates()) == 1


@pytest.mark.parametrize(
    ("mode", "times"),
    [
        pytest.param("drop_after", 2, id="taken, and then the connection lost"),
        pytest.param("drop_before", 2, id="the connection lost before anything was taken"),
        pytest.param("hang", 1, id="an answer that never comes"),
    ],
)
async def test_a_lost_answer_leaves_one_record(world: World, mode: str, times: int) -> None:
    world.far.faults(world.case.on_write(mode=mode, times=times))
    [end] = await world.run([event()])
    assert end.final is Final.DELIVERED
    assert len(world.creates()) == 1


async def test_two_workers_with_one_event_leave_one_record(world: World) -> None:
    ends = await world.run([event("a"), event("b", device_id="acme/truck-2")], workers=2)
    assert {end.final for end in ends} == {Final.DELIVERED}
    assert len(world.creates()) == 2


async def test_two_workers_without_a_common_ledger_leave_one_record_where_it_is_keyed(
    world: World,
) -> None:
    if not world.connector().keyed:
        return  # its own ledger is what keeps it to once: the test before
    ends = await world.run([event("a")], workers=2, own_ledgers=True)
    assert {end.final for end in ends} == {Final.DELIVERED}
    assert len(world.creates()) == 1


async def test_an_event_that_stands_twice_in_a_batch_is_created_once(world: World) -> None:
    outcomes = await world.deliver(event(), event())
    assert [means(one) for one in outcomes] == [Means.DELIVERED] * 2
    assert len(world.creates()) == 1
