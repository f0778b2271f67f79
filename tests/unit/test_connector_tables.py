"""Every mapping, of any event: JSON or a rejection in words, and nothing raises."""

from __future__ import annotations

import json
from dataclasses import replace

import orjson
import pytest
from hypothesis import given

from connectors import registry
from connectors.base import Delivery
from connectors.fields import CONVERSIONS, MASK, Field, Policy, Unit, payload
from connectors.mapped import facts_of, mapped
from connectors.sources import Facts, source
from pipeline.core.events import Action, BusinessEvent
from pipeline.core.outcome import Rejected
from pipeline.core.registry import DeviceRecord
from tests.unit.examples import event
from tests.unit.mapping_world import EVENTS, FIELDS, POLICIES, RECORD, RECORDS, TABLES, made


@given(TABLES, EVENTS, RECORDS, POLICIES)
def test_any_event_by_any_table_is_json_or_a_rejection_in_words(
    fields: list[Field], told: BusinessEvent, record: DeviceRecord, policy: Policy
) -> None:
    found = payload(fields, Facts(event=told, key=told.id, record=record), policy)
    if isinstance(found, Rejected):
        assert found.code.startswith("mapping.")
        named = any(
            f"Field {one.target} (from {one.source}; rule: " in found.message for one in fields
        )
        assert named or found.code == "mapping.region"
        return
    assert json.loads(orjson.dumps(found)) == json.loads(json.dumps(found, allow_nan=False))
    for value in leaves(found):
        assert value is not None
        assert value != ""


def leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    return [value]


# -- every connector's own tables

OBJECTS = [
    pytest.param(spec.fields, id=f"{name}-{target}")
    for name in registry.names()
    for target, spec in registry.system(name).objects.items()
]


@pytest.mark.parametrize("fields", OBJECTS)
def test_no_field_of_a_connectors_table_stands_within_another(fields: tuple[Field, ...]) -> None:
    for action in Action:
        targets = [one.target for one in fields if not one.on or action.value in one.on]
        within = [(a, b) for a in targets for b in targets if b.startswith(f"{a}.")]
        assert not within


@pytest.mark.parametrize("fields", OBJECTS)
def test_no_field_of_a_connectors_table_asks_for_a_unit_that_cannot_be_had(
    fields: tuple[Field, ...],
) -> None:
    for one in fields:
        unit = source(one.source).unit
        same = one.unit is Unit.AS_IS or one.unit.value == unit
        assert same or (unit, one.unit) in CONVERSIONS, one.target
        assert one.limit is None or one.limit > len(MASK), one.target


@pytest.mark.parametrize("fields", OBJECTS)
@given(told=EVENTS, record=RECORDS)
def test_any_event_by_a_connectors_table_is_json_or_a_rejection(
    fields: tuple[Field, ...], told: BusinessEvent, record: DeviceRecord
) -> None:
    found = payload(fields, Facts(event=told, key=told.id, record=record))
    if not isinstance(found, Rejected):
        assert orjson.dumps(found)


# -- events and their devices


def delivery(record: DeviceRecord | None = RECORD, **changes: object) -> Delivery:
    told = event(**changes)
    return Delivery(event=told, key=told.id, record=record)


CHANGES = [Action.UPDATE, Action.CLEAR]
RETIRED = replace(RECORD, active=False)


@pytest.mark.parametrize("action", Action)
def test_a_device_that_nobody_registered_is_not_mapped(action: Action) -> None:
    found = mapped(FIELDS, delivery(None, action=action))
    assert isinstance(found, Rejected)
    assert (found.code, found.final) == ("mapping.unregistered_device", False)
    assert "acme/engine-001" in found.message


def test_a_retired_asset_raises_nothing_but_what_was_raised_may_change() -> None:
    found = facts_of(delivery(RETIRED))
    assert isinstance(found, Rejected)
    assert (found.code, found.final) == ("mapping.retired_asset", True)
    for action in CHANGES:
        assert isinstance(facts_of(delivery(RETIRED, action=action)), Facts)


def test_a_device_that_moved_raises_nothing_on_the_wrong_asset() -> None:
    found = facts_of(delivery(asset_id="ESN-2"))
    assert isinstance(found, Rejected)
    assert (found.code, found.final) == ("mapping.asset_changed", False)
    assert "ESN-1" in found.message
    assert "ESN-2" in found.message
    assert isinstance(facts_of(delivery(asset_id=None)), Facts)
    for action in CHANGES:
        assert isinstance(facts_of(delivery(asset_id="ESN-2", action=action)), Facts)


def test_what_is_mapped_is_the_payload_of_the_facts() -> None:
    one = delivery()
    assert facts_of(one) == Facts(event=one.event, key=one.key, record=RECORD)
    assert mapped(FIELDS, one) == made(*FIELDS)
    held = Policy(withheld=frozenset({"customer.name"}))
    assert mapped(FIELDS, one, held) == made(*FIELDS, policy=held)
