"""`fieldline connectors check salesforce`: what is wrong with an org is said, nothing written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from connectors.base import Checked, Effect
from tests.contract.salesforce_examples import Org, org
from tests.sandboxes.salesforce import schema
from tests.sandboxes.salesforce.app import DAILY
from tests.sandboxes.salesforce.schema import Column


async def check(there: Org, **values: Any) -> dict[str, Checked]:  # noqa: ANN401 - settings
    exchange = await there.world.hold(there.world.connector(**values).check())
    assert all(call.effect is Effect.READ for call in there.world.calls)
    assert there.world.far.journal() == []
    assert exchange.result is not None
    for one in exchange.result:
        assert one.detail.endswith("."), one
    return {one.what: one for one in exchange.result}


async def test_a_good_org_is_well_in_all_points() -> None:
    with org() as there:
        found = await check(there, platform_event="Fieldline_Event__e")
        assert list(found) == [
            "credentials",
            "API version",
            "object Case",
            "key field",
            "fields",
            "platform event Fieldline_Event__e",
            "requests of the day",
        ]
        assert all(one.ok for one in found.values()), found


KEY = schema.CASE["Fieldline_Key__c"]
LOG = schema.CASE["Fieldline_Log__c"]


@pytest.mark.parametrize(
    ("field", "column", "what", "words"),
    [
        ("Fieldline_Key__c", replace(KEY, unique=False), "key field", "Unique"),
        ("Fieldline_Key__c", replace(KEY, external=False), "key field", "External ID"),
        ("Fieldline_Key__c", replace(KEY, length=20), "fields", "holds 20 characters"),
        ("Fieldline_Log__c", None, "fields", "Fieldline_Log__c is missing"),
        ("Fieldline_Log__c", replace(LOG, update=False), "fields", "not updateable"),
        ("Subject", Column(length=255, create=False), "fields", "not createable"),
        ("IsClosed", None, "fields", "IsClosed is missing"),
    ],
)
async def test_a_field_that_is_not_as_it_must_be_is_named(
    monkeypatch: pytest.MonkeyPatch, field: str, column: Column | None, what: str, words: str
) -> None:
    columns: dict[str, Column] = {
        name: one for name, one in schema.OBJECTS["Case"].items() if name != field
    }
    if column is not None:
        columns[field] = column
    changed: Mapping[str, Mapping[str, Column]] = {**schema.OBJECTS, "Case": columns}
    monkeypatch.setattr(schema, "OBJECTS", changed)
    with org() as there:
        found = await check(there)
    assert found[what].ok is False
    assert words in found[what].detail


@pytest.mark.parametrize(
    ("values", "what", "words"),
    [
        ({"api_version": "99.0"}, "API version", "not served"),
        ({"object": "Ticket__c"}, "object Ticket__c", "not set up"),
        ({"platform_event": "No_Such__e"}, "platform event No_Such__e", "not set up"),
        ({"platform_event": "Account"}, "platform event Account", "Key__c is missing"),
        ({"client_id": "someone"}, "credentials", "invalid"),
    ],
)
async def test_a_setting_that_does_not_fit_the_org_is_told(
    values: dict[str, str], what: str, words: str
) -> None:
    with org() as there:
        found = await check(there, **values)
    assert found[what].ok is False
    assert words in found[what].detail


async def test_a_day_whose_requests_are_nearly_used_up_is_told() -> None:
    with org() as there:
        there.sandbox.used = DAILY - 100
        found = await check(there)
    assert found["requests of the day"].ok is False
    assert "of 100000 are left" in found["requests of the day"].detail
