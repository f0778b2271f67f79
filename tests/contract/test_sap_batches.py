"""SAP: many at once in a $batch, maintenance orders, and the check."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from connectors.sap.mapping import reference
from connectors.sap.system import SYSTEM
from pipeline.core.outcome import Delivered, Found, NotFound, Rejected, Retryable, Unknown
from tests.contract import sap_examples
from tests.contract.sap_examples import KIND
from tests.contract.world import World, event, many, story
from tests.sandboxes.sap import Sap

RAISED, _, CLEAR, _ = story()


sandbox, world = sap_examples.sandbox, sap_examples.world


# -- batches


async def test_changes_of_many_notifications_go_in_one_batch_each_in_its_own_change_set(
    world: World, sandbox: Sap
) -> None:
    told = many(5)
    outcomes = await world.deliver(*told)
    changes = [
        event(f"c{n}", action=CLEAR.action, entity_id=one.id, device_id=one.device_id)
        for n, one in enumerate(told)
    ]
    bad = next(one.target_id for one in outcomes if isinstance(one, Delivered))
    sandbox.store.locks[bad] = "SMITH"
    before = len(world.calls)
    results = await world.deliver(*changes)
    assert [type(one) for one in results] == [Retryable] + [Delivered] * 4
    asked = [call.step for call in world.calls[before:]]
    assert asked.count("change_batch") == 2, "lines, then completions"
    phases = [row.values["NotifProcessingPhase"] for row in sandbox.store.rows[KIND].values()]
    assert phases == ["1", "4", "4", "4", "4"]


async def test_a_batch_that_is_refused_as_a_whole_is_sent_one_by_one(world: World) -> None:
    told = many(3)
    malformed = {"error": {"code": "005056A509B11EE1B9A8FEC11C21578E", "message": "no"}}
    world.far.faults(
        {
            "path": r"\$batch",
            "status": 400,
            "body_text": httpx.Response(200, json=malformed).text,
            "times": None,
        }
    )
    world.far.errors({"code": "IM/118", "key": reference(told[1].id), "times": None})
    outcomes = await world.deliver(*told)
    assert [type(one) for one in outcomes] == [Delivered, Rejected, Delivered]


@pytest.mark.parametrize("mode", ["truncate", "drop_after", "html"])
async def test_a_batch_whose_answer_is_lost_is_unknown_for_all(world: World, mode: str) -> None:
    told = many(3)
    world.far.faults({"path": r"\$batch", "mode": mode})
    outcomes = await world.deliver(*told)
    assert [type(one) for one in outcomes] == [Unknown] * 3


# -- orders


async def test_an_order_is_made_once_for_each_notification(world: World) -> None:
    made = world.connector(create_order=True, maintenance_planning_plant="1010")
    told = many(3)
    world.far.faults({"path": r"0002/\$batch", "mode": "drop_after"})
    lost = await world.deliver(*told, connector=made)
    assert [type(one) for one in lost] == [Unknown] * 3
    outcomes = await world.deliver(*told, connector=made)
    assert [type(one) for one in outcomes] == [Delivered] * 3
    orders = [e for e in world.far.journal() if e["kind"] == "MaintenanceOrder"]
    numbers = [one.target_id for one in outcomes if isinstance(one, Delivered)]
    assert [e["key"] for e in orders] == numbers
    assert orders[0]["fields"]["MaintenanceOrderDesc"] == told[0].summary
    assert orders[0]["fields"]["MaintenancePlanningPlant"] == "1010"
    looked = await world.look_up(*told, connector=made)
    assert looked == [Found(target_id=one) for one in numbers]
    steps_told = {spec.step: spec.effect for spec in SYSTEM.calls}
    assert all(steps_told[call.step] is call.effect for call in world.calls)


async def test_a_notification_without_its_order_is_not_through(world: World) -> None:
    made = world.connector(create_order=True)
    world.far.errors({"code": "IW/118", "key": '"MaintenanceOrderType"'})
    [outcome] = await world.deliver(RAISED, connector=made)
    assert isinstance(outcome, Rejected)
    assert outcome.message.startswith("Notification 10000001 is there, but its order is not")
    assert await world.look_up(RAISED, connector=made) == [NotFound()]
    assert await world.look_up(RAISED) == [Found(target_id="10000001")]
    [again] = await world.deliver(RAISED, connector=made)
    assert again == Delivered(target_id="10000001", created=False)
    assert len(world.creates()) == 1


# -- check


async def test_a_check_finds_a_service_that_lacks_what_is_used(world: World) -> None:
    cut = '<edmx:Edmx xmlns:edmx="x"><FunctionImport Name="Other"/></edmx:Edmx>'
    bomb = '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
    for text, said in ((cut, "SetMaintNotifToInProcess"), (bomb, "no EDMX"), ("<", "no EDMX")):
        world.far.faults({"path": "metadata", "status": 200, "body_text": text, "times": None})
        checked = (await world.hold(world.connector().check())).result
        result: list[Any] = list(checked or ())
        [bad] = [one for one in result if one.ok is False]
        assert said in bad.detail
