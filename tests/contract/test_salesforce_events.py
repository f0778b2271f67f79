"""Platform events: published once, with the Case or not at all."""

from __future__ import annotations

import httpx
import pytest

from connectors.base import Effect
from pipeline.core.outcome import Delivered, Found, NotFound, Rejected, Retryable, Scope, Unknown
from tests.contract import salesforce_examples
from tests.contract.salesforce_examples import READ, Org, talk
from tests.contract.world import event, many, story

there = salesforce_examples.there
EVENT = "Fieldline_Event__e"


async def test_each_change_is_published_once_with_the_id_of_its_case(there: Org) -> None:
    connector = there.world.connector(platform_event=EVENT)
    assert not connector.keyed
    for told in story():
        for _ in range(2):
            [outcome] = await there.world.deliver(told, connector=connector)
            assert isinstance(outcome, Delivered), outcome
    published = there.sandbox.rest.store.events
    assert [one["Key__c"] for one in published] == [told.id for told in story()]
    assert [one["Action__c"] for one in published] == ["raise", "update", "clear", "update"]
    assert {one["Record__c"] for one in published} == {there.case()["Id"]}
    effects = {call.effect for call in there.world.calls if call.step == "publish"}
    assert effects == {Effect.WRITE}


async def test_where_the_case_is_refused_nothing_is_published(there: Org) -> None:
    told = many(3)
    there.world.far.errors({"code": "STRING_TOO_LONG", "key": told[1].id, "times": None})
    connector = there.world.connector(platform_event=EVENT)
    outcomes = await there.world.deliver(*told, connector=connector)
    assert [type(one) for one in outcomes] == [Delivered, Rejected, Delivered]
    keys = [one["Key__c"] for one in there.sandbox.rest.store.events]
    assert keys == [told[0].id, told[2].id]


async def test_where_the_event_is_refused_there_is_no_case(there: Org) -> None:
    there.world.far.errors({"code": "LIMIT_EXCEEDED", "key": '"Key__c"', "times": None})
    outcomes = await there.world.deliver(
        *many(2), connector=there.world.connector(platform_event=EVENT)
    )
    for outcome in outcomes:
        assert isinstance(outcome, Retryable)
        assert (outcome.code, outcome.scope) == ("salesforce.limit", Scope.SYSTEM)
    assert there.cases() == there.sandbox.rest.store.events == []
    assert there.steps() == ["read", "publish"]


async def test_a_lost_answer_to_an_event_is_looked_up_by_its_case(there: Org) -> None:
    connector = there.world.connector(platform_event=EVENT)
    assert await there.world.look_up(event(), connector=connector) == [NotFound()]
    there.world.far.faults({"path": "/composite", "mode": "drop_after"})
    [outcome] = await there.world.deliver(event(), connector=connector)
    assert isinstance(outcome, Unknown)
    assert await there.world.look_up(event(), connector=connector) == [
        Found(target_id=there.case()["Id"])
    ]
    assert len(there.sandbox.rest.store.events) == 1


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, json={"compositeResponse": []}),
        httpx.Response(200, json={"compositeResponse": [{"referenceId": "record"}, 5]}),
        httpx.Response(200, json=[]),
        httpx.Response(500),
        httpx.ReadTimeout("slow"),
    ],
)
def test_an_unreadable_answer_to_an_event_is_unknown(
    reply: httpx.Response | httpx.TransportError,
) -> None:
    [outcome], _ = talk([event()], READ, reply, platform_event=EVENT)
    assert isinstance(outcome, Unknown)
