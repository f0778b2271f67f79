"""By what a case is found, and what it stands with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from pipeline.core.outcome import Delivered, Found, Outcome, Rejected, Undecidable, Unknown
from tests.contract import salesforce_examples
from tests.contract.case import RECORD
from tests.contract.salesforce_examples import READ, Org, talk
from tests.contract.world import event, many

there = salesforce_examples.there


async def test_a_case_stands_with_its_account_asset_and_entitlement(there: Org) -> None:
    account = there.add("Account", Name="Acme", Customer_Id__c="C-1")
    asset = there.add("Asset", Name="Truck", Asset_Id__c="TRK-1", AccountId=account)
    cover = there.add("Entitlement", Name="Gold", AccountId=account)
    record = replace(RECORD, ids={"salesforce.entitlement": cover})
    connector = there.world.connector(
        account_external_id_field="Customer_Id__c", asset_external_id_field="Asset_Id__c"
    )
    for told in ([event()], many(3)):
        await there.world.deliver(*told, connector=connector, record=record)
    assert len(there.cases()) == 4
    for case in there.cases():
        assert [case[n] for n in ("AccountId", "AssetId", "EntitlementId")] == [
            account,
            asset,
            cover,
        ]


async def test_an_account_that_salesforce_does_not_have_is_a_business_refusal(there: Org) -> None:
    outcome = await there.deliver(event(), account_external_id_field="Customer_Id__c")
    assert isinstance(outcome, Rejected)
    assert outcome.code == "salesforce.invalid_field"
    assert "Foreign key" in outcome.message


# -- keys


async def test_versions_before_46_answer_an_update_with_204_and_no_id(there: Org) -> None:
    # Two workers: both read nothing, the second one's upsert updates.
    connectors = [there.world.connector(api_version="45.0") for _ in range(2)]
    delivery = there.world.delivery(event())
    conversations = [made.deliver([delivery]) for made in connectors]
    outcomes: list[Outcome] = []
    async with httpx.AsyncClient() as client:
        calls = [next(talk) for talk in conversations]
        while any(call.step != "upsert" for call in calls):
            calls = [
                call if call.step == "upsert" else talk.send(await client.send(call.request))
                for talk, call in zip(conversations, calls, strict=True)
            ]
        for talk, first in zip(conversations, calls, strict=True):
            try:
                call = first
                while True:
                    call = talk.send(await client.send(call.request))
            except StopIteration as end:
                outcomes += end.value
    own_id = there.case()["Id"]
    assert outcomes == [
        Delivered(target_id=own_id, created=True),
        Delivered(target_id=own_id, created=False),
    ]


async def test_a_key_that_several_have_is_refused_and_a_person_decides(there: Org) -> None:
    for _ in range(2):
        there.add("Case", Legacy_Key__c=event().id)
    values: dict[str, Any] = {"external_id_field": "Legacy_Key__c"}
    outcome = await there.deliver(event(), **values)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "salesforce.ambiguous_key"
    [answer] = await there.world.look_up(event(), connector=there.world.connector(**values))
    assert isinstance(answer, Undecidable)
    assert len(there.cases()) == 2


@pytest.mark.parametrize(("text", "kind"), [("[]", Rejected), ("oops", Unknown)])
def test_300_is_a_refusal_only_with_its_list(text: str, kind: type) -> None:
    [outcome], _ = talk([event()], READ, httpx.Response(300, text=text))
    assert isinstance(outcome, kind)


@pytest.mark.parametrize("name", ["a/b", "it's", 'a"b', "a\\", "ü?&=#%", "x.inc", "ключ 🔑"])
async def test_any_key_is_found_again_as_it_is(there: Org, name: str) -> None:
    told = event(id=name)
    assert isinstance(await there.deliver(told), Delivered)
    assert there.case()["Fieldline_Key__c"] == name
    [answer] = await there.world.look_up(told)
    assert answer == Found(target_id=there.case()["Id"])
    assert await there.deliver(told) == Delivered(target_id=there.case()["Id"], created=False)


async def test_a_key_that_differs_only_in_case_is_refused_not_written_over(there: Org) -> None:
    await there.deliver(event(id="Key-A"))
    outcome = await there.deliver(event(id="key-a", summary="another trouble"))
    assert isinstance(outcome, Rejected)
    assert outcome.code == "salesforce.ambiguous_key"
    assert there.case()["Subject"] == event().summary


async def test_two_hundred_long_keys_are_read_in_addresses_that_are_short_enough(
    there: Org,
) -> None:
    told = [event(id=f"{n:03}" + "ключ" * 15, device_id=f"acme/t-{n}") for n in range(200)]
    outcomes = await there.world.deliver(*told, connector=there.world.connector(bulk_from=0))
    assert all(isinstance(one, Delivered) for one in outcomes)
    assert max(len(str(call.request.url)) for call in there.world.calls) < 16_000
