"""What people did stays, and so does what another worker wrote first."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from pipeline.core.events import Severity
from pipeline.core.outcome import Delivered, Rejected, Retryable, Scope, Unknown
from tests.contract import salesforce_examples
from tests.contract.conversation import steps
from tests.contract.salesforce_examples import ID, READ, Org, row, rows, talk
from tests.contract.world import event, story

there = salesforce_examples.there


async def test_a_case_that_people_changed_is_not_written_over_by_its_raise(there: Org) -> None:
    await there.deliver(event())
    there.edit(Subject="Pump, again", Description="mine", Status="Working", Priority="Low")
    outcome = await there.deliver(event(summary="another wording"))
    assert outcome == Delivered(target_id=there.case()["Id"], created=False)
    assert [there.case()[n] for n in ("Subject", "Description", "Status", "Priority")] == [
        *("Pump, again", "mine", "Working", "Low")
    ]


async def test_what_people_write_survives_updates_and_clears(there: Org) -> None:
    raised, update, clear, again = story()
    await there.deliver(raised)
    there.edit(Subject="Pump, again", Description="mine", Status="Working", Priority="Low")
    for told in (replace(update, severity=Severity.WARNING), clear, again):
        assert isinstance(await there.deliver(told), Delivered)
    case = there.case()
    assert [case[n] for n in ("Subject", "Description", "Status", "Priority")] == [
        *("Pump, again", "mine", "Working", "Low")
    ]
    log = case["Fieldline_Log__c"].splitlines()
    assert [line.rsplit(" ", 1)[1] for line in log] == [f"[{e.id}]" for e in (update, clear, again)]


async def test_a_case_is_closed_and_opened_as_the_trouble_goes_and_comes(there: Org) -> None:
    raised, _, clear, again = story()
    await there.deliver(raised)
    await there.deliver(clear)
    assert there.case()["IsClosed"]
    await there.deliver(replace(again, severity=Severity.WARNING))
    assert not there.case()["IsClosed"]
    assert there.case()["Status"] == "New"
    assert there.case()["Priority"] == "Medium"


async def test_an_older_change_does_not_undo_a_newer_one(there: Org) -> None:
    raised, update, clear, _ = story()
    await there.deliver(raised)
    await there.deliver(clear)
    before = dict(there.case())
    assert await there.deliver(update) == Delivered(target_id=before["Id"], created=False)
    assert there.case() == before


async def test_a_deleted_case_is_not_made_again_by_a_change(there: Org) -> None:
    raised, update, clear, _ = story()
    await there.deliver(raised)
    there.sandbox.rest.store.delete("Case", there.case()["Id"])
    for told, final in ((update, False), (clear, True)):
        outcome = await there.deliver(told)
        assert isinstance(outcome, Rejected)
        assert (outcome.code, outcome.final) == ("salesforce.no_record", final)
    assert there.cases() == []


async def test_a_case_that_goes_between_reading_and_writing_is_told_as_deleted(there: Org) -> None:
    raised, update, _, _ = story()
    await there.deliver(raised)
    connector = there.world.connector()
    conversation = connector.deliver([there.world.delivery(update)])
    async with httpx.AsyncClient() as client:
        call = next(conversation)
        while call.step != "update":
            call = conversation.send(await client.send(call.request))
        there.sandbox.rest.store.delete("Case", there.case()["Id"])
        with pytest.raises(StopIteration) as end:
            conversation.send(await client.send(call.request))
    [outcome] = end.value.value
    assert isinstance(outcome, Rejected)
    assert outcome.code == "salesforce.entity_is_deleted"
    assert there.cases() == []


async def test_without_queries_what_is_raised_goes_by_its_upsert_alone_and_a_change_waits(
    there: Org,
) -> None:
    there.world.far.faults({"path": "/query", "status": 404, "times": None})
    raised, update, _, _ = story()
    [made] = await there.world.deliver(raised)
    [again] = await there.world.deliver(raised)
    [change] = await there.world.deliver(update)
    assert isinstance(made, Delivered)
    assert made.created
    assert again == replace(made, created=False)
    assert isinstance(change, Retryable)
    assert change.code == "salesforce.no_query"
    assert len(there.cases()) == 1


# -- races


RACED = httpx.Response(
    400, json=[{"errorCode": "DUPLICATE_VALUE", "message": "duplicate value found", "fields": []}]
)


def test_who_loses_a_race_looks_again_and_leaves_what_is_there() -> None:
    [outcome], calls = talk([event()], READ, RACED, rows(row(event())))
    assert outcome == Delivered(target_id=ID, created=False)
    assert steps(calls) == ["token", "read", "upsert", "read_again"]


def test_a_duplicate_of_another_value_is_refused() -> None:
    [outcome], _ = talk([event()], READ, RACED, READ)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "salesforce.duplicate_value"


def test_a_change_that_loses_a_race_is_made_once_more_and_no_oftener() -> None:
    told = story()[1]
    refused = httpx.Response(
        200, json=[{"success": False, "errors": [{"statusCode": "DUPLICATE_VALUE"}]}]
    )
    done = httpx.Response(200, json=[{"id": ID, "success": True, "errors": []}])
    there = rows(row(told))
    [outcome], calls = talk([told], there, refused, there, done)
    assert outcome == Delivered(target_id=ID, created=True)
    assert steps(calls)[1:] == ["read", "update", "read_again", "update"]
    [outcome], _ = talk([told], there, refused, there, refused)
    assert isinstance(outcome, Retryable)
    assert outcome.scope is Scope.ITEM


def test_after_a_raise_that_is_not_through_its_changes_wait() -> None:
    raised, update, clear, _ = story()
    outcomes, calls = talk([raised, update, clear], READ, httpx.ReadTimeout("slow"))
    assert isinstance(outcomes[0], Unknown)
    assert all(isinstance(one, Retryable) for one in outcomes[1:])
    assert steps(calls) == ["token", "read", "upsert"]
