from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events import Severity
from pipeline.ops.edit import (
    FIXED,
    MAX_DOCUMENT,
    SCHEMA,
    EditError,
    as_json,
    changes,
    with_document,
    with_settings,
)
from pipeline.wire.avro import Codec, schema
from pipeline.wire.records import decode_event, encode_event
from tests.unit.examples import event

CODEC = Codec()
NAMES = [field["name"] for field in schema(SCHEMA)["fields"]]


def record(**fields: object) -> dict[str, Any]:
    return CODEC.decode(SCHEMA, encode_event(CODEC, event(**fields)))


def test_fields_are_set_by_their_type_and_the_result_is_an_event() -> None:
    before = record()
    after = with_settings(
        before,
        [
            "summary=T50 = too hot",
            "severity=info",
            "confidence=0.25",
            "occurred_at_ms=1763700000999",
            "asset_id=null",
            "customer_id=C-1007",
            "snapshot.0.value=3",
            "snapshot.1.baseline=14.5",
        ],
    )
    edited = decode_event(CODEC, CODEC.encode(SCHEMA, after))
    assert edited.summary == "T50 = too hot"
    assert (edited.severity, edited.confidence) == (Severity.INFO, 0.25)
    assert (edited.asset_id, edited.customer_id) == (None, "C-1007")
    assert edited.occurred_at_ms == 1_763_700_000_999
    assert (edited.snapshot[0].value, edited.snapshot[1].baseline) == (3.0, 14.5)
    assert edited.id == event().id
    assert changes(before, after)["severity"] == "critical → info"
    assert changes(before, after)["asset_id"] == "ESN-1 → none"
    assert changes(before, after)["snapshot.1.baseline"] == "none → 14.5"
    assert changes(before, before) == {}
    assert before == record(), "what was given is left alone"


@pytest.mark.parametrize("name", FIXED)
def test_what_makes_the_key_cannot_be_changed(name: str) -> None:
    path = "source.offset" if name == "source" else name
    with pytest.raises(EditError, match=f"{name} cannot be changed"):
        with_settings(record(), [f"{path}=1"])
    document = record()
    if name == "source":
        document["source"]["offset"] = 99
    else:
        document[name] = "update" if name == "action" else "other"
    with pytest.raises(EditError, match=f"{name} cannot be changed"):
        with_document(record(), json.dumps(document))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("summary", "write field=value"),
        ("=x", "write field=value"),
        ("colour=red", "no field 'colour': there are type, asset_id"),
        ("summary.x=red", "no field 'summary.x'"),
        ("severity=worst", "info, warning or critical"),
        ("confidence=high", "must be a number"),
        ("confidence=NaN", "a finite number"),
        ("confidence=1e999", "a finite number"),
        ("confidence=true", "a finite number"),
        ("confidence=2", "from 0 to 1"),
        ("occurred_at_ms=1.5", "a whole number"),
        ("occurred_at_ms=99999999999999999999", "a whole number"),
        ("occurred_at_ms=null", "a whole number"),
        ("snapshot.9.value=1", "a list of 2: count from 0"),
        ("snapshot.x.value=1", "a list of 2: count from 0"),
        ("snapshot.0=1", "a record of fields"),
        ("snapshot=[1]", "snapshot.0 must be a record"),
        ('snapshot=[{"metric": "x"}]', "snapshot.0.value is missing"),
        ("summary=" + "x" * 5_000, "at most 4,096 characters"),
    ],
)
def test_what_does_not_fit_is_one_sentence(setting: str, says: str) -> None:
    with pytest.raises(EditError, match=says) as error:
        with_settings(record(), [setting])
    assert "\n" not in str(error.value)


def test_a_document_is_taken_as_it_was_edited() -> None:
    before = record()
    text = as_json(before).replace("T50 at or above its limit", "Blade rub")
    after = with_document(before, text)
    assert changes(before, after) == {"summary": "T50 at or above its limit → Blade rub"}
    assert with_document(before, as_json(before)) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "the event must be a record"),
        ("{}", "id is missing"),
        ("[" * 100_000, "is not JSON"),
        (" " * (MAX_DOCUMENT + 1), "shorten it"),
    ],
)
def test_a_document_that_cannot_be_used_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(EditError, match=says):
        with_document(record(), text)


def test_a_field_that_there_is_not_is_refused() -> None:
    with pytest.raises(EditError, match="no field 'colour'"):
        with_document(record(), json.dumps({**record(), "colour": "red"}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.sampled_from(NAMES), JSON)
def test_any_document_is_an_event_of_the_same_id_or_one_sentence(name: str, value: object) -> None:
    before = record()
    try:
        after = with_document(before, json.dumps({**before, name: value}))
    except EditError:
        return
    assert decode_event(CODEC, CODEC.encode(SCHEMA, after)).id == event().id


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_setting_is_an_event_of_the_same_id_or_one_sentence(path: str, text: str) -> None:
    try:
        after = with_settings(record(), [f"{path}={text}"])
    except EditError:
        return
    assert decode_event(CODEC, CODEC.encode(SCHEMA, after)).id == event().id
