"""Batches of a file drop: what one row's trouble means for the others, and other batches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.base import Effect
from pipeline.core.outcome import Delivered, Found, NotFound, Rejected, Retryable, Scope, Unknown
from tests.contract.test_files_s3 import OVER_S3
from tests.contract.world import World, event, many, story


@pytest.fixture
def world() -> Iterator[World]:
    with OVER_S3.start() as far:
        yield World(OVER_S3, far)


async def test_what_was_taken_unseen_is_known_in_whatever_batch_it_comes_again(
    world: World,
) -> None:
    told = many(5)
    world.far.faults(world.case.on_write(mode="drop_after"))
    outcomes = await world.deliver(*told[:3])
    assert all(isinstance(one, Unknown) for one in outcomes)
    assert all(isinstance(one, Found) for one in await world.look_up(*told[:3]))
    again = await world.deliver(told[4], told[1], told[3])
    assert [one.created for one in again if isinstance(one, Delivered)] == [True, False, True]
    assert len(world.creates()) == 5


async def test_what_was_not_taken_goes_in_whatever_batch_it_comes_again(world: World) -> None:
    told = many(5)
    world.far.faults(world.case.on_write(status=500))
    outcomes = await world.deliver(*told[:3])
    assert all(isinstance(one, Unknown) for one in outcomes)
    assert await world.look_up(*told[:3]) == [NotFound()] * 3
    first = await world.deliver(told[1])
    second = await world.deliver(told[4], told[2], told[0], told[3])
    assert all(isinstance(one, Delivered) and one.created for one in (*first, *second))
    assert sorted(e["key"] for e in world.creates()) == sorted(one.id for one in told)
    found = await world.look_up(*told)
    assert [one.target_id for one in found if isinstance(one, Found)] == [
        *(second[2].target_id, first[0].target_id, second[1].target_id),  # type: ignore[union-attr]  # delivered, as asserted
        *(second[3].target_id, second[0].target_id),  # type: ignore[union-attr]  # the same
    ]


async def test_a_change_of_what_was_refused_beside_it_has_nothing_to_change(world: World) -> None:
    raised, update, clear = story(reopened=False)
    world.far.errors({"code": "EntityTooLarge", "key": raised.id, "times": None})
    outcomes = await world.deliver(raised, update, clear)
    assert [one.code for one in outcomes if isinstance(one, Rejected)] == [
        "files.refused",
        "files.no_record",
        "files.no_record",
    ]
    assert [one.final for one in outcomes if isinstance(one, Rejected)] == [False, False, True]
    assert not world.ops()


async def test_a_change_of_what_has_to_wait_waits_too_and_the_others_go(world: World) -> None:
    raised, update, _, _ = story()
    other = event("other", device_id="acme/truck-2")
    busy = "<Error><Code>OperationAborted</Code></Error>"
    world.far.faults(
        {"method": "PUT", "path": f"keys/.*{raised.id}", "status": 409, "body_text": busy}
    )
    outcomes = await world.deliver(raised, other, update)
    assert isinstance(outcomes[1], Delivered)
    waits = [one for one in (outcomes[0], outcomes[2]) if isinstance(one, Retryable)]
    assert [(one.code, one.scope) for one in waits] == [
        ("files.locked", Scope.ITEM),
        ("files.waits", Scope.ITEM),
    ]
    again = await world.deliver(raised, update)
    assert all(isinstance(one, Delivered) and one.created for one in again)


@pytest.mark.parametrize(
    ("path", "skip", "written"), [("/keys/", 3, 4), ("/data/", 0, 11)], ids=["marks", "data"]
)
async def test_when_the_server_fails_nothing_more_is_sent_and_all_wait(
    world: World, path: str, skip: int, written: int
) -> None:
    world.far.faults({"method": "PUT", "path": path, "status": 503, "skip": skip, "times": None})
    outcomes = await world.deliver(*many(10))
    assert {type(one) for one in outcomes} == {Retryable}
    assert {one.scope for one in outcomes if isinstance(one, Retryable)} == {Scope.SYSTEM}
    assert len([call for call in world.calls if call.effect is not Effect.READ]) == written


async def test_no_change_is_judged_while_its_raise_is_in_doubt(world: World) -> None:
    raised, update, _, _ = story()
    bad = event("bad", device_id="acme/truck-2")
    # Halved for the bad one: the raise goes first, and its manifest is in doubt.
    world.far.errors({"code": "EntityTooLarge", "key": bad.id, "times": None})
    world.far.faults(world.case.on_write(status=500, times=None))
    outcomes = await world.deliver(raised, update, bad)
    assert isinstance(outcomes[0], Unknown)
    assert not isinstance(outcomes[1], Rejected | Delivered)


async def test_a_batch_is_one_data_file_and_one_manifest_with_few_small_requests(
    world: World,
) -> None:
    await world.deliver(*many(10))
    steps = [call.step for call in world.calls]
    assert {name: steps.count(name) for name in set(steps)} == {
        "mark": 10,
        "data": 1,
        "manifest": 1,
    }
