"""Mappings as tables: sources, units, rules, and what a policy lets out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.fields import CONVERSIONS, MASK, Field, Overlong, Policy, Unit, clean_text
from connectors.sources import (
    KEYS,
    MILLISECONDS,
    SNAPSHOT_MAX,
    SOURCES,
    Care,
    snapshot_of,
    source,
    text_of,
)
from pipeline.core.events import Action, Severity, SnapshotEntry
from tests.unit.examples import event
from tests.unit.mapping_world import FIELDS, RECORD, facts, made, refused

# -- the sources


def test_every_source_tells_what_its_doc_says_of_an_event() -> None:
    told = facts(action=Action.UPDATE, entity_id="e" * 24)
    values = {name: one.value(told) for name, one in SOURCES.items()}
    assert values == {
        "event.key": "a" * 24,
        "event.entity": "e" * 24,
        "event.version": f"{7:019d}.{0:010d}",
        "event.type": "fieldline.limit.exceeded",
        "event.tenant": "acme",
        "event.action": "update",
        "event.severity": "critical",
        "event.confidence": 0.9,
        "event.summary": "T50 at or above its limit",
        "event.text": text_of(told.event),
        "event.snapshot": snapshot_of(told.event),
        "event.detector": "limit",
        "event.metric": "T50",
        "event.rule": "default@1",
        "event.correlation": "a" * 24,
        "event.occurred_at": 1_763_700_000_123,
        "event.observed_at": 1_763_700_000_456,
        "event.open": True,
        "device.id": "acme/engine-001",
        "device.class": "turbofan",
        "asset.id": "ESN-1",
        "asset.name": "Engine 1",
        "site.id": "Ghent",
        "customer.id": "C-1",
        "customer.name": "Acme Air",
        "customer.tax_id": "BE0403019261",
    }
    assert all(one.doc for one in SOURCES.values())


def test_what_names_a_person_is_personal_and_what_is_a_customers_is_business() -> None:
    by_care = {care: {n for n, one in SOURCES.items() if one.care is care} for care in Care}
    assert by_care[Care.PERSONAL] == {"customer.name", "customer.tax_id"}
    assert by_care[Care.BUSINESS] == {"site.id", "customer.id"}


def test_the_identity_map_is_a_source_and_an_unknown_name_is_found_at_import() -> None:
    one = source("ids.salesforce.account")
    assert (one.value(facts()), one.care) == ("001x", Care.BUSINESS)
    assert source("ids.sap.equipment").value(facts()) is None
    with pytest.raises(KeyError):
        Field("x", "event.nothing")


def test_a_snapshot_is_json_whatever_was_measured() -> None:
    odd = SnapshotEntry(metric="a\ud800b", value=math.nan, baseline=None, score=math.inf)
    assert json.loads(snapshot_of(event(snapshot=(odd,)))) == [
        {"metric": "a?b", "value": None, "baseline": None, "score": None}
    ]
    many = tuple(replace(odd, metric=str(n)) for n in range(SNAPSHOT_MAX + 5))
    assert len(json.loads(snapshot_of(event(snapshot=many)))) == SNAPSHOT_MAX
    assert text_of(event(snapshot=many)).endswith("- and 5 more")


def test_the_text_for_people_has_a_fact_a_line() -> None:
    assert text_of(event()).splitlines() == [
        "T50 at or above its limit",
        "",
        "Occurred: 2025-11-21T04:40:00.123Z",
        "Device: acme/engine-001",
        "Event: fieldline.limit.exceeded aaaaaaaaaaaaaaaaaaaaaaaa",
        "Metric: T50",
        "Detector: limit",
        "Rule: default@1",
        "Confidence: 90%",
        "",
        "Readings:",
        "- T50: 1426.9, usually 1400",
        "- P2: 14.62",
    ]
    assert f"Occurred: {2**62} ms since 1970" in text_of(event(occurred_at_ms=2**62))


# -- units


def at(ms: int) -> datetime:
    """Exact, without the rounding of floats."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


EXPECTED: Mapping[Unit, Callable[[int], object]] = {
    Unit.ISO: lambda ms: at(ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}Z",
    Unit.SECONDS: lambda ms: ms / 1000,
    Unit.DATE: lambda ms: at(ms).strftime("%Y-%m-%d"),
    Unit.SPACED: lambda ms: at(ms).strftime("%Y-%m-%d %H:%M:%S"),
    Unit.ODATA_V2: lambda ms: f"/Date({ms})/",
    Unit.ODATA_V2_TIME: lambda ms: at(ms).strftime("PT%HH%MM%SS"),
    Unit.MILLISECONDS: lambda ms: ms,
    Unit.AS_IS: lambda ms: ms,
}
YEAR_1900, YEAR_2200 = -2_208_988_800_000, 7_258_118_400_000


@given(st.integers(YEAR_1900, YEAR_2200))
def test_a_time_in_every_unit_is_what_a_calendar_says(ms: int) -> None:
    for unit, expected in EXPECTED.items():
        value = made(Field("at", "event.occurred_at", unit=unit), of=facts(occurred_at_ms=ms))
        assert value == {"at": expected(ms)}, unit


def test_every_unit_is_tested_and_has_a_conversion() -> None:
    times = {unit for unit in Unit if unit is not Unit.PERCENT}
    assert set(EXPECTED) == times
    converted = {unit for one, unit in CONVERSIONS if one == MILLISECONDS}
    assert converted == times - {Unit.AS_IS, Unit.MILLISECONDS}


CALENDARS = (Unit.ISO, Unit.DATE, Unit.SPACED, Unit.ODATA_V2, Unit.ODATA_V2_TIME)


@pytest.mark.parametrize("unit", CALENDARS)
@pytest.mark.parametrize(
    "ms", [-(2**63), -(2**60), -62_135_596_800_001, 253_402_300_800_000, 2**62]
)
def test_a_time_beyond_any_calendar_is_refused_by_field_and_rule(unit: Unit, ms: int) -> None:
    one = refused(Field("At__c", "event.occurred_at", unit=unit), of=facts(occurred_at_ms=ms))
    assert one.code == "mapping.unusable"
    assert "At__c" in one.message
    assert str(ms) in one.message
    assert unit.value in one.message


def test_an_old_year_keeps_its_four_digits() -> None:
    ms = -61_000_000_000_000  # the year 36
    assert at(ms).isoformat() == "0036-12-26T11:33:20+00:00"
    for unit, text in ((Unit.DATE, "0036-12-26"), (Unit.SPACED, "0036-12-26 11:33:20")):
        field = Field("at", "event.occurred_at", unit=unit)
        assert made(field, of=facts(occurred_at_ms=ms)) == {"at": text}


@given(st.floats(0, 1))
def test_a_share_is_told_in_percent(share: float) -> None:
    field = Field("p", "event.confidence", unit=Unit.PERCENT)
    assert made(field, of=facts(confidence=share))["p"] == pytest.approx(share * 100, abs=1e-6)


@pytest.mark.parametrize("share", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("unit", [Unit.AS_IS, Unit.PERCENT])
def test_what_is_no_number_is_left_out_or_missing_but_never_sent(share: float, unit: Unit) -> None:
    told = facts(confidence=share)
    assert made(Field("p", "event.confidence", unit=unit), of=told) == {}
    one = refused(Field("p", "event.confidence", unit=unit, required=True), of=told)
    assert one.code == "mapping.missing"
    odd = Field("p", "event.summary", make=lambda _: share)
    assert made(odd, of=told) == {}


@pytest.mark.parametrize("name", ["event.summary", "event.open", "customer.name", "asset.id"])
@pytest.mark.parametrize("unit", [Unit.ISO, Unit.PERCENT])
def test_a_value_without_a_unit_is_in_the_wrong_one(name: str, unit: Unit) -> None:
    one = refused(Field("x", name, unit=unit))
    assert one.code == "mapping.wrong_unit"
    assert unit.value in one.message


def test_a_share_is_no_time_and_a_time_no_share() -> None:
    assert refused(Field("x", "event.confidence", unit=Unit.ISO)).code == "mapping.wrong_unit"
    assert refused(Field("x", "event.occurred_at", unit=Unit.PERCENT)).code == "mapping.wrong_unit"


# -- rules


def fails(_: object) -> str:
    raise ValueError("it has no digits")


@pytest.mark.parametrize(
    ("field", "told", "code", "rule"),
    [
        (Field("F", "customer.name", required=True), "", "missing", "required"),
        (Field("F", "customer.name", required=True), " \x00\n", "missing", "required"),
        (Field("F", "customer.name", limit=3), "four", "too_long", "at most 3 characters"),
        (Field("F", "customer.name", choices={"a": 1}), "b", "unmapped", "one of its choices"),
        (Field("F", "customer.name", make=fails), "b", "unusable", "its format"),
        (Field("F", "customer.name", unit=Unit.ISO), "b", "wrong_unit", "unit ISO 8601, UTC"),
    ],
)
def test_a_rejection_names_field_source_and_rule(
    field: Field, told: str, code: str, rule: str
) -> None:
    one = refused(field, of=facts(replace(RECORD, customer_name=told)))
    assert one.code == f"mapping.{code}"
    assert one.message.startswith(f"Field F (from customer.name; rule: {rule}): ")
    assert one.message.endswith(".")
    assert not one.final


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("four", 4, "four"),
        ("fours", 4, "fou…"),
        ("fo rs", 4, "fo…"),
        ("fours", 1, "…"),
        ("\x00fours\n", 5, "fours"),
        ("ü" * 9, 3, "üü…"),
    ],
)
def test_a_text_that_may_be_cut_ends_with_an_ellipsis(text: str, limit: int, cut: str) -> None:
    field = Field("F", "event.summary", limit=limit, overlong=Overlong.CUT)
    assert made(field, of=facts(summary=text)) == {"F": cut}


def test_a_required_field_is_refused_where_the_limit_leaves_nothing_of_the_meaning() -> None:
    field = Field("F", "event.summary", required=True, limit=4)
    assert made(field, of=facts(summary="four")) == {"F": "four"}
    one = refused(field, of=facts(summary="fours"))
    assert "5 characters" in one.message


def test_choices_map_what_is_there_and_nothing_else() -> None:
    field = Field("p", "event.severity", choices={"critical": 1, "warning": 2})
    assert made(field, of=facts(severity=Severity.WARNING)) == {"p": 2}
    one = refused(field, of=facts(severity=Severity.INFO))
    assert one.message.endswith("'info' is none of critical, warning.")
    opened = Field("s", "event.open", choices={"True": "Open", "False": "Closed"})
    assert made(opened) == {"s": "Open"}
    assert made(opened, of=facts(action=Action.CLEAR)) == {"s": "Closed"}


def test_a_field_is_sent_for_its_actions_only() -> None:
    field = Field("p", "event.severity", on=("raise", "update"))
    assert made(field) == {"p": "critical"}
    assert made(field, of=facts(action=Action.CLEAR)) == {}


def test_dots_nest() -> None:
    fields = (
        Field("message.text", "event.summary"),
        Field("message.of.id", "event.key"),
        Field("open", "event.open"),
        Field("empty.inner", "site.id"),
    )
    assert made(*fields, of=facts(replace(RECORD, site=""))) == {
        "message": {"text": "T50 at or above its limit", "of": {"id": "a" * 24}},
        "open": True,
    }


def test_a_false_or_a_zero_is_a_value() -> None:
    fields = (Field("o", "event.open", required=True), Field("c", "event.confidence"))
    told = facts(action=Action.CLEAR, confidence=0.0)
    assert made(*fields, of=told) == {"o": False, "c": 0.0}


@pytest.mark.parametrize(
    ("text", "line", "lines"),
    [
        ("a\x00b", "a b", "a b"),
        ("a\r\nb\tc", "a b c", "a\nb\tc"),
        ("  a  b \n", "a b", "a  b"),
        ("\x1b[31m", "[31m", "[31m"),
        ("\u202eabc", "abc", "abc"),
        ("x\ud800y", "x y", "x y"),
        ("過熱 🔥", "過熱 🔥", "過熱 🔥"),
        ("", "", ""),
    ],
)
def test_texts_lose_what_steers_and_what_no_encoding_carries(
    text: str, line: str, lines: str
) -> None:
    assert clean_text(text, lines=False) == line
    assert clean_text(text, lines=True) == lines


# -- what may leave


def test_what_is_withheld_is_left_out_and_refused_where_it_is_required() -> None:
    held = Policy(withheld=frozenset({"customer.name", "business"}))
    assert made(*FIELDS, policy=held) == {"tax": "BE0403019261", "key": "a" * 24}
    one = refused(*FIELDS, policy=Policy(withheld=frozenset({"personal"})))
    assert one.code == "mapping.missing"
    assert "policy withholds it" in one.message
    assert "BE0403019261" not in one.message


def test_what_is_masked_goes_out_as_stars() -> None:
    masked = Policy(masked=frozenset({"personal", "site.id"}))
    assert made(*FIELDS, policy=masked) == {
        "name": MASK,
        "tax": MASK,
        "site": MASK,
        "key": "a" * 24,
    }
    nobody = facts(replace(RECORD, customer_name="", customer_tax_id="x"))
    assert "name" not in made(*FIELDS, policy=masked, of=nobody)


@pytest.mark.parametrize(
    "field",
    [
        Field("F", "event.confidence"),
        Field("F", "event.open"),
        Field("F", "event.occurred_at", unit=Unit.ISO),
        Field("F", "event.severity", choices={"critical": "High"}),
        Field("F", "event.summary", limit=2, overlong=Overlong.CUT),
    ],
)
def test_what_cannot_be_stars_is_withheld(field: Field) -> None:
    masked = Policy(masked=frozenset({"technical"}))
    assert made(field, policy=masked) == {}
    one = refused(replace(field, required=True), policy=masked)
    assert one.code == "mapping.missing"
    assert "masks it" in one.message


@pytest.mark.parametrize("name", sorted(KEYS))
def test_no_policy_hides_a_key_for_two_events_would_become_one_record(name: str) -> None:
    field = Field("K", name, required=True)
    for names in ({name}, {"technical"}):
        for policy in (Policy(masked=frozenset(names)), Policy(withheld=frozenset(names))):
            assert made(field, policy=policy) == made(field)


def test_an_asset_of_another_region_is_refused_for_good_before_any_field() -> None:
    there = Policy(regions=frozenset({"eu", "uk"}))
    assert made(*FIELDS, policy=there)
    for region in ("us", ""):
        one = refused(*FIELDS, policy=there, of=facts(replace(RECORD, region=region)))
        assert (one.code, one.final) == ("mapping.region", True)
        assert "eu, uk" in one.message
