"""What events do to cases in Dataverse, and what they leave alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from pipeline.core.events import Action, Severity
from pipeline.core.outcome import Delivered, Rejected, Retryable, Scope, Unknown
from tests.contract.cases.dynamics import CASE
from tests.contract.world import World, event, story
from tests.sandboxes.box import Box
from tests.sandboxes.dynamics import ACCOUNT, Dynamics, make
from tests.sandboxes.dynamics.schema import INCIDENT
from tests.sandboxes.serve import running


@pytest.fixture
def far() -> Iterator[tuple[Dynamics, World]]:
    sandbox = make()
    with running(sandbox) as url, httpx.Client(trust_env=False) as client:
        yield sandbox, World(CASE, Box(url, client))


def case_of(sandbox: Dynamics) -> dict[str, Any]:
    """The only case there is."""
    [row] = sandbox.store.rows["incident"].values()
    return row


async def test_a_raised_case_has_customer_priority_key_and_version(
    far: tuple[Dynamics, World],
) -> None:
    sandbox, world = far
    told = event()
    [made] = await world.deliver(told)
    row = case_of(sandbox)
    assert made == Delivered(target_id=row["incidentid"], created=True)
    assert row["customerid_account"] == ACCOUNT
    assert (row["prioritycode"], row["fieldline_key"]) == (1, told.id)
    assert row["fieldline_version"] == told.version
    assert row["title"] == told.summary


async def test_what_people_wrote_outlives_a_raise_that_is_sent_again(
    far: tuple[Dynamics, World],
) -> None:
    sandbox, world = far
    await world.deliver(event())
    row = case_of(sandbox)
    with sandbox.store.transaction():
        sandbox.store.update(INCIDENT, row, {"title": "Ring before 9", "prioritycode": 3})
    [again] = await world.deliver(event())
    assert again == Delivered(target_id=row["incidentid"], created=False)
    assert (case_of(sandbox)["title"], case_of(sandbox)["prioritycode"]) == ("Ring before 9", 3)


async def test_an_update_leaves_a_note_and_raises_the_priority_but_never_lowers_it(
    far: tuple[Dynamics, World],
) -> None:
    sandbox, world = far
    raised, update, _, _ = story()
    lower = replace(update, severity=Severity.INFO)
    await world.deliver(replace(raised, severity=Severity.WARNING))
    await world.deliver(lower)
    assert case_of(sandbox)["prioritycode"] == 2
    higher = replace(
        update, id="u2", severity=Severity.CRITICAL, source=replace(update.source, offset=9)
    )
    await world.deliver(higher)
    assert case_of(sandbox)["prioritycode"] == 1
    notes = list(sandbox.store.rows["annotation"].values())
    assert [note["subject"] for note in notes] == [update.summary] * 2
    assert {note["objectid_incident"] for note in notes} == {case_of(sandbox)["incidentid"]}


async def test_an_older_change_never_overwrites_a_newer_one(far: tuple[Dynamics, World]) -> None:
    sandbox, world = far
    raised, update, clear, _ = story()
    await world.deliver(raised)
    await world.deliver(clear)
    [late] = await world.deliver(update)
    assert isinstance(late, Delivered)
    assert not late.created
    assert case_of(sandbox)["statecode"] == 1, "the update was measured before the clear"
    assert not sandbox.store.rows["annotation"]


async def test_a_clear_resolves_through_close_incident_with_a_resolution(
    far: tuple[Dynamics, World],
) -> None:
    sandbox, world = far
    raised, _, clear, again = story()
    await world.deliver(raised, clear)
    assert (case_of(sandbox)["statecode"], case_of(sandbox)["statuscode"]) == (1, 5)
    [resolution] = sandbox.store.rows["incidentresolution"].values()
    assert resolution["subject"] == clear.summary
    await world.deliver(again)
    assert (case_of(sandbox)["statecode"], case_of(sandbox)["statuscode"]) == (0, 1)
    assert [e["op"] for e in world.ops()] == ["create", "update", "close", "reopen", "update"]


async def test_a_case_that_people_have_resolved_is_not_resolved_again(
    far: tuple[Dynamics, World],
) -> None:
    sandbox, world = far
    raised, _, clear, _ = story()
    await world.deliver(raised)
    row = case_of(sandbox)
    resolution = {"incidentid@odata.bind": f"/incidents({row['incidentid']})", "subject": "done"}
    with sandbox.store.transaction():
        sandbox.store.close_incident({"IncidentResolution": resolution, "Status": 1000})
    [cleared] = await world.deliver(clear)
    assert cleared == Delivered(target_id=row["incidentid"], created=False)
    assert case_of(sandbox)["statuscode"] == 1000


async def test_a_change_that_a_person_came_between_is_read_again_and_made(
    far: tuple[Dynamics, World],
) -> None:
    sandbox, world = far
    raised, update, _, _ = story()
    await world.deliver(raised)
    world.far.errors({"code": "0x80060882", "key": "fieldline_version", "times": 1})
    [made] = await world.deliver(update)
    assert isinstance(made, Delivered)
    assert [call.step for call in world.calls][-4:] == ["find", "change", "find", "change"]
    assert len(sandbox.store.rows["annotation"]) == 1


@pytest.mark.parametrize("mode", ["html", "truncate", "drop_after", "hang"])
async def test_an_answer_to_a_change_that_says_nothing_is_never_taken_as_done(
    far: tuple[Dynamics, World], mode: str
) -> None:
    sandbox, world = far
    raised, update, _, _ = story()
    await world.deliver(raised)
    fault = {"method": "POST", "path": "batch", "body": "annotations", "times": None}
    world.far.faults(fault | {"mode": mode})
    [told] = await world.deliver(update)
    assert isinstance(told, Unknown)
    world.far.faults()
    [made] = await world.deliver(update)
    assert isinstance(made, Delivered)
    assert len(sandbox.store.rows["annotation"]) == 1


@pytest.mark.parametrize("at", range(3))
async def test_a_failing_part_of_a_change_undoes_all_of_it(
    far: tuple[Dynamics, World], at: int
) -> None:
    sandbox, world = far
    raised, _, clear, again = story()
    await world.deliver(raised, clear)
    before = case_of(sandbox) | {}
    words = ('"statecode"', "fieldline_version", '"annotation"')
    world.far.errors({"code": "0x80040265", "key": words[at], "times": None})
    [refused] = await world.deliver(again)
    assert isinstance(refused, Rejected)
    assert refused.code == "dynamics.plugin"
    assert case_of(sandbox) == before
    assert not sandbox.store.rows["annotation"]


@pytest.mark.parametrize(("action", "final"), [(Action.UPDATE, False), (Action.CLEAR, True)])
async def test_a_change_without_a_record_is_refused_and_a_clear_for_good(
    far: tuple[Dynamics, World], action: Action, *, final: bool
) -> None:
    _, world = far
    [told] = await world.deliver(event("x", action=action, entity_id="never-raised"))
    assert isinstance(told, Rejected)
    assert (told.code, told.final) == ("dynamics.no_record", final)


async def test_a_change_waits_for_a_raise_of_its_batch_that_was_put_off(
    far: tuple[Dynamics, World],
) -> None:
    _, world = far
    raised, update, _, _ = story()
    world.far.errors({"code": "0x80040224", "key": raised.id, "times": None})
    first, second = await world.deliver(raised, update)
    assert isinstance(first, Retryable)
    assert isinstance(second, Retryable)
    assert second.scope is Scope.ITEM


async def test_a_customer_without_account_in_the_identity_map_is_found_by_alternate_key(
    far: tuple[Dynamics, World],
) -> None:
    sandbox, world = far
    record = replace(CASE.record, ids={})
    [made] = await world.deliver(event(), record=record)
    assert isinstance(made, Delivered)
    assert case_of(sandbox)["customerid_account"] == ACCOUNT
    [gone] = await world.deliver(event("b"), record=replace(record, customer_id="C-2"))
    assert isinstance(gone, Rejected)
    assert gone.code == "dynamics.reference_key"
    none = world.connector(account_key="")
    [refused] = await world.deliver(event("c"), connector=none, record=record)
    assert isinstance(refused, Rejected)
    assert refused.code == "mapping.missing"


async def test_an_asset_is_bound_where_the_settings_say_by_which_lookup(
    far: tuple[Dynamics, World],
) -> None:
    sandbox, world = far
    own = "11111111-2222-3333-4444-555555555555"
    row = {"msdyn_customerassetid": own, "msdyn_name": "TRK-1"}
    sandbox.store.rows["msdyn_customerasset"][own] = row
    record = replace(CASE.record, ids={**CASE.ids, "dynamics.asset": own})
    bound = world.connector(asset_binding="fieldline_assetid:msdyn_customerassets")
    [made] = await world.deliver(event(), connector=bound, record=record)
    assert isinstance(made, Delivered)
    assert case_of(sandbox)["fieldline_assetid"] == own


@pytest.mark.parametrize("character", "/<>*%&:\\?+#\n")
async def test_a_key_that_breaks_addresses_is_refused_before_anything_is_sent(
    far: tuple[Dynamics, World], character: str
) -> None:
    _, world = far
    told = event(id=f"a{character}b")
    [refused] = await world.deliver(told)
    assert isinstance(refused, Rejected)
    assert refused.code == "mapping.unusable"
    record = replace(CASE.record, ids={}, customer_id=f"C{character}1")
    [refused] = await world.deliver(event(), record=record)
    assert isinstance(refused, Rejected)
    assert not world.writes()


async def test_a_key_with_a_quote_stays_one_key(far: tuple[Dynamics, World]) -> None:
    sandbox, world = far
    told = event(id="o'brien' or 'a' eq 'a")
    [made] = await world.deliver(told)
    assert isinstance(made, Delivered)
    assert case_of(sandbox)["fieldline_key"] == told.id
