from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Delivery
from connectors.fields import Policy
from connectors.tryton.mapping import (
    ID_MAX,
    NAME_MAX,
    SNAPSHOT_MAX,
    Change,
    Order,
    equipment_prefix,
    one_line,
    order_prefix,
    to_change,
    to_lead,
    to_order,
)
from connectors.tryton.records import customer_values, escape_like
from pipeline.core.events import Action, SnapshotEntry
from pipeline.core.outcome import Rejected
from pipeline.core.registry import DeviceRecord
from tests.contract.tryton_examples import RECORD, event, key

KEY = key("one")


def order_of(record: DeviceRecord = RECORD, **changes: Any) -> Order:  # noqa: ANN401 - any field
    made = to_order(Delivery(event=event(**changes), key=KEY, record=record))
    assert isinstance(made, Order)
    return made


def refused(record: DeviceRecord | None, **changes: Any) -> Rejected:  # noqa: ANN401 - any field
    made = to_order(Delivery(event=event(**changes), key=KEY, record=record))
    assert isinstance(made, Rejected)
    return made


def test_an_order_carries_the_key_first_and_then_what_a_person_needs() -> None:
    order = order_of()
    assert order.name == f"FL-{KEY} · critical · Coolant at 112 °C, limit 105 °C"
    assert order.equipment_name == "TRK_1 · Reefer truck 1"
    assert order.comment.splitlines() == [
        "Occurred: 2026-11-21T10:30:00.250Z",
        "Device: acme/truck-1",
        f"Event: fieldline.limit.exceeded {KEY}",
        "Metric: coolant_c",
        "Detector: limit",
        "Rule: coolant@3",
        "Confidence: 97%",
        f"Correlation: {KEY}",
        "",
        "metric | value | baseline | z-score",
        "coolant_c | 112 | 88.25 | 6.5",
        "rpm | 1800 | - | -",
    ]


def test_an_unregistered_device_is_refused_until_it_is_registered() -> None:
    assert refused(None).code == "mapping.unregistered_device"
    assert not refused(None).final


def test_a_retired_asset_is_refused_for_good() -> None:
    rejected = refused(replace(RECORD, active=False))
    assert (rejected.code, rejected.final) == ("mapping.retired_asset", True)


def test_a_device_that_moved_to_another_asset_is_for_a_person_to_decide() -> None:
    assert refused(RECORD, asset_id="TRK_9").code == "mapping.asset_changed"
    assert order_of(asset_id="TRK_1")


@pytest.mark.parametrize("bad", ["", " A", "A · B", "A\nB", "A\\B", "A" * (ID_MAX + 1)])
@pytest.mark.parametrize("field", ["asset_id", "customer_id"])
def test_an_id_that_could_not_be_found_again_is_refused(field: str, bad: str) -> None:
    changes: dict[str, Any] = {field: bad}
    assert refused(replace(RECORD, **changes)).code == "mapping.unusable_id"


def test_no_backslash_is_in_a_name_for_it_parts_tasks_in_tryton() -> None:
    order = order_of(replace(RECORD, asset_name="Bay\\4"), summary="C:\\x is hot")
    assert order.name.endswith("C:/x is hot")
    assert order.equipment_name == "TRK_1 · Bay/4"


def test_what_the_policy_withholds_or_masks_does_not_go_out() -> None:
    told = Delivery(event=event(), key=KEY, record=replace(RECORD, site="Ghent"))
    personal = frozenset({"personal"})
    order = to_order(told, Policy(withheld=personal | {"site.id", "event.text"}))
    assert isinstance(order, Order)
    assert (order.customer_name, order.customer_tax_id) == (RECORD.customer_id, "")
    assert (order.site, order.comment) == ("", "")
    masked = to_order(told, Policy(masked=personal | {"event.summary"}))
    assert isinstance(masked, Order)
    assert (masked.customer_name, masked.customer_tax_id) == ("***", "")
    assert masked.name == f"FL-{KEY} · critical · ***"
    change = to_change(
        event=event(action=Action.CLEAR, entity_id=KEY),
        key=KEY,
        policy=Policy(withheld=frozenset({"event.summary"})),
    )
    assert isinstance(change, Change)
    assert "Coolant" not in change.line


@pytest.mark.parametrize("policy", [{"masked"}, {"withheld"}])
def test_an_id_that_the_policy_hides_is_refused_for_nothing_could_be_found_again(
    policy: set[str],
) -> None:
    told = Delivery(event=event(), key=KEY, record=RECORD)
    refusal = to_order(told, Policy(**{name: frozenset({"asset.id"}) for name in policy}))
    assert isinstance(refusal, Rejected)
    assert refusal.code == "mapping.unusable_id"
    business = Policy(**{name: frozenset({"customer.id"}) for name in policy})
    assert to_lead(told, business) is None


def test_a_customer_without_tax_id_gets_no_identifier() -> None:
    assert "identifiers" not in customer_values(order_of(replace(RECORD, customer_tax_id=" ")))
    assert customer_values(order_of())["identifiers"] == [
        ["create", [{"type": "eu_vat", "code": "BE0403019261"}]]
    ]


def test_equipment_without_a_name_is_still_found_by_its_prefix() -> None:
    assert order_of(replace(RECORD, asset_name="")).equipment_name == "TRK_1 · TRK_1"


def test_a_long_snapshot_is_cut_and_says_so() -> None:
    entry = SnapshotEntry(metric="m", value=1.0, baseline=None, score=None)
    comment = order_of(snapshot=(entry,) * (SNAPSHOT_MAX + 3)).comment
    assert comment.endswith("and 3 more")
    assert comment.count("m | 1") == SNAPSHOT_MAX


def test_a_time_beyond_any_calendar_is_told_as_a_number() -> None:
    assert f"Occurred: {2**62} ms since 1970-01-01" in order_of(occurred_at_ms=2**62).comment


@given(summary=st.text(), name=st.text(), customer=st.text(), value=st.floats())
def test_names_are_one_bounded_line_that_begins_with_its_reference(
    summary: str, name: str, customer: str, value: float
) -> None:
    record = replace(RECORD, asset_name=name, customer_name=customer)
    entry = SnapshotEntry(metric=name, value=value, baseline=value, score=None)
    order = order_of(record, summary=summary, snapshot=(entry,))
    assert f"{order.name} ".startswith(order_prefix(KEY))
    assert order.equipment_name.startswith(equipment_prefix("TRK_1"))
    for text in (order.name, order.equipment_name, order.customer_name):
        assert 0 < len(text) <= NAME_MAX
        assert text.isprintable()
        assert text == text.strip()


@given(st.text(), st.integers(1, 50))
def test_one_line_is_idempotent(text: str, most: int) -> None:
    line = one_line(text, most)
    assert one_line(line, most) == line


def test_like_wildcards_are_searched_as_themselves() -> None:
    assert escape_like("50%_a\\b") == "50\\%\\_a\\\\b"
