"""What a Case gets, and what a change leaves to the people who work in it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Delivery
from connectors.fields import OPEN, Policy
from connectors.salesforce.mapping import (
    LOG,
    LOG_MAX,
    SEVERITY,
    SNAPSHOT,
    VERSION,
    Mapper,
    Seen,
    Wanted,
    after,
    changes,
    done,
    with_line,
)
from pipeline.core.events import Action, BusinessEvent, Severity
from pipeline.core.outcome import Rejected
from tests.contract.case import RECORD
from tests.contract.salesforce_examples import settings
from tests.contract.world import event, key, story

ACCOUNT, ASSET = "001000000000001AAA", "02i000000000001AAA"
SETTINGS = settings()
STAMP = f"{{:019d}}.0000000000@{event().occurred_at_ms}"
THERE = Seen(
    id="500000000000001AAA",
    priority="High",
    status="New",
    closed=False,
    version=f"{event().version}@{event().occurred_at_ms}",
    severity="critical",
    log="",
)


def wanted(
    told: BusinessEvent,
    *,
    ids: dict[str, str] | None = None,
    **values: Any,  # noqa: ANN401 - settings
) -> Wanted | Rejected:
    delivery = Delivery(event=told, key=told.id, record=replace(RECORD, ids=ids or {}))
    return Mapper(settings(**values), OPEN).wanted(delivery)


def change(told: BusinessEvent) -> Wanted:
    made = wanted(told)
    assert isinstance(made, Wanted)
    return made


def test_a_new_case_has_what_a_person_needs_and_what_we_need() -> None:
    made = change(event())
    assert made.fields["Subject"] == "Coolant at 112 °C, limit 105 °C"
    assert made.fields["Priority"] == "High"
    assert made.fields["Status"] == "New"
    assert made.fields["Origin"] == "Web"
    assert made.fields["Fieldline_Key__c"] == made.key
    assert made.fields[SEVERITY] == "critical"
    assert "Readings:" in made.fields["Description"]
    assert json.loads(made.fields[SNAPSHOT])[0]["value"] == 112.0
    assert LOG not in made.fields


@pytest.mark.parametrize(
    ("ids", "values", "expected"),
    [
        ({}, {}, {}),
        (
            {
                "salesforce.account": ACCOUNT,
                "salesforce.asset": ASSET,
                "salesforce.entitlement": "550000000000001",
            },
            {},
            {"AccountId": ACCOUNT, "AssetId": ASSET, "EntitlementId": "550000000000001"},
        ),
        (
            {},
            {"account_external_id_field": "Customer_Id__c", "asset_external_id_field": "Tag__c"},
            {"Account": {"Customer_Id__c": "C-1"}, "Asset": {"Tag__c": "TRK-1"}},
        ),
        (
            {"salesforce.account": ACCOUNT},
            {"account_external_id_field": "Customer_Id__c", "asset_external_id_field": "Tag__c"},
            {"AccountId": ACCOUNT, "Asset": {"Tag__c": "TRK-1"}},
        ),
    ],
)
def test_account_asset_and_entitlement_are_named_by_id_or_by_external_id(
    ids: dict[str, str], values: dict[str, Any], expected: dict[str, Any]
) -> None:
    made = wanted(event(), ids=ids, **values)
    assert isinstance(made, Wanted)
    parents = {"AccountId", "AssetId", "EntitlementId", "Account", "Asset"}
    assert {k: v for k, v in made.fields.items() if k in parents} == expected


def test_an_id_that_is_none_is_refused_before_anything_is_sent() -> None:
    made = wanted(event(), ids={"salesforce.account": "ACME"})
    assert isinstance(made, Rejected)
    assert made.code == "mapping.unusable"
    assert "AccountId" in made.message


@pytest.mark.parametrize("name", ["", "x" * 65, " a", "a\n"])
def test_a_key_that_salesforce_would_not_keep_as_it_is_is_refused(name: str) -> None:
    made = wanted(event(id=name))
    assert isinstance(made, Rejected)
    assert made.code.startswith("mapping.")


def test_another_object_gets_no_fields_that_only_a_case_has() -> None:
    made = wanted(event(), object="WorkOrder")
    assert isinstance(made, Wanted)
    assert not {"Origin", "SuppliedCompany"} & set(made.fields)


def test_a_change_of_an_unregistered_device_is_refused() -> None:
    told = story()[1]
    made = Mapper(SETTINGS, OPEN).wanted(Delivery(event=told, key=told.id, record=None))
    assert isinstance(made, Rejected)
    assert made.code == "mapping.unregistered_device"


def test_a_withheld_name_is_not_in_the_case() -> None:
    delivery = Delivery(event=event(), key=event().id, record=RECORD)
    made = Mapper(SETTINGS, Policy(withheld=frozenset({"personal"}))).wanted(delivery)
    assert isinstance(made, Wanted)
    assert "SuppliedCompany" not in made.fields


# -- changes

OURS = {SEVERITY, VERSION, LOG, SNAPSHOT}


@pytest.mark.parametrize(
    ("seen", "action", "written"),
    [
        (THERE, Action.UPDATE, {"Priority": "Medium"}),
        (replace(THERE, priority="Low"), Action.UPDATE, {}),
        (replace(THERE, priority=""), Action.UPDATE, {"Priority": "Medium"}),
        (replace(THERE, severity="?"), Action.UPDATE, {}),
        (
            replace(THERE, status="Closed", closed=True),
            Action.UPDATE,
            {"Priority": "Medium", "Status": "New"},
        ),
        (replace(THERE, status="Working"), Action.UPDATE, {"Priority": "Medium"}),
        (THERE, Action.CLEAR, {"Status": "Closed"}),
        (replace(THERE, status="Working"), Action.CLEAR, {}),
        (replace(THERE, status="Closed", closed=True), Action.CLEAR, {}),
    ],
)
def test_a_change_writes_priority_and_status_only_where_they_are_ours(
    seen: Seen, action: Action, written: dict[str, str]
) -> None:
    told = event("change", offset=5, action=action, entity_id=key("one"), severity=Severity.WARNING)
    values = changes(change(told), seen, SETTINGS)
    assert {k: v for k, v in values.items() if k not in OURS} == written
    assert values[LOG].endswith(f"[{told.id}]")
    assert "Cleared" in values[LOG] if action is Action.CLEAR else "Now warning" in values[LOG]


@given(
    st.builds(
        Seen,
        id=st.just("500000000000001AAA"),
        priority=st.sampled_from(["", "High", "Medium", "Low", "P0"]),
        status=st.sampled_from(["", "New", "Working", "Closed"]),
        closed=st.booleans(),
        version=st.sampled_from(["", "x", "@", "1@x", STAMP.format(4), STAMP.format(5)]),
        severity=st.sampled_from(["", "info", "critical", "nonsense"]),
        log=st.text(max_size=200),
    ),
    st.sampled_from([Action.UPDATE, Action.CLEAR]),
)
def test_a_change_that_was_made_is_known_and_never_made_again(seen: Seen, action: Action) -> None:
    one = change(event("change", offset=5, action=action, entity_id=key("one")))
    values = changes(one, seen, SETTINGS)
    assert set(values) <= OURS | {"Priority", "Status"}
    now = after(one, seen, values, seen.id)
    assert done(one, now)
    # A later one is not taken for it; an earlier one is not made any more.
    assert not done(replace(one, key="later", version=event(offset=6).version), now)
    assert done(replace(one, key="earlier", version=event(offset=4).version), now)


@given(st.lists(st.text(alphabet="abc \n\r\u2028", max_size=900), max_size=30))
def test_the_log_keeps_the_newest_lines_and_never_grows_over_its_field(lines: list[str]) -> None:
    log = ""
    for line in lines:
        log = with_line(log, " ".join(line.split()) + "[k]")
        assert log.endswith("[k]")
        assert len(log) <= LOG_MAX + 1_000
    assert len(log) <= max(LOG_MAX, 904)


def test_a_change_that_occurred_later_is_made_though_its_version_is_lower() -> None:
    seen = replace(THERE, version=STAMP.format(900))
    at_ms = event().occurred_at_ms
    for told_ms, older in ((at_ms - 1, True), (at_ms, True), (at_ms + 1, False)):
        told = event(
            "new topic", offset=1, action=Action.UPDATE, entity_id="e", occurred_at_ms=told_ms
        )
        assert done(change(told), seen) is older


def test_two_changes_with_one_version_are_both_made() -> None:
    first = change(event("a", offset=5, action=Action.UPDATE, entity_id=key("one")))
    second = change(event("b", offset=5, action=Action.UPDATE, entity_id=key("one")))
    now = after(first, THERE, changes(first, THERE, SETTINGS), THERE.id)
    assert not done(second, now)
