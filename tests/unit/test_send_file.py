"""Events by hand: what a line must have, and how a bad one is told."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events import Action, Disposition, Severity, fingerprint
from pipeline.core.registry import DeviceRecord, Registry
from pipeline.ops import send_file
from pipeline.ops.send_file import DEFAULTS, MAX_LINE, Line, lines_of, read
from pipeline.settings import SettingsError

NOW_MS = 1_795_257_000_250
KNOWN = DeviceRecord(
    device_id="acme/truck-1",
    asset_id="TRK-1",
    asset_name="Truck 1",
    customer_id="C-1",
    customer_name="Acme",
    customer_tax_id="",
    active=True,
)
DEVICES = Registry({KNOWN.device_id: KNOWN})
ROW = {"asset_id": "A", "asset_name": "N", "customer_id": "C", "customer_name": "M"}
LEAST = {"device_id": "acme/truck-1", "summary": "Too hot"}


def lines(*given_lines: object) -> list[Line]:
    texts = [one if isinstance(one, str) else json.dumps(one) for one in given_lines]
    return read([f"{text}\n" for text in texts], DEVICES, now_ms=NOW_MS)


def line(**more: object) -> Line:
    [one] = lines({**LEAST, **more})
    return one


def error_of(*given_lines: object) -> str:
    with pytest.raises(SettingsError) as caught:
        lines(*given_lines)
    text = str(caught.value)
    assert re.fullmatch(r"[^\n]+\.", text), text
    return text


def test_device_and_summary_are_enough() -> None:
    one = line()
    told = one.event
    assert (one.number, one.record) == (1, KNOWN)
    assert (told.device_id, told.tenant, told.summary) == ("acme/truck-1", "acme", "Too hot")
    assert (told.occurred_at_ms, told.observed_at_ms) == (NOW_MS, NOW_MS)
    assert (told.type, told.severity, told.confidence) == (
        "fieldline.manual",
        Severity.WARNING,
        1.0,
    )
    assert (told.action, told.disposition, told.entity) == (
        Action.RAISE,
        Disposition.DELIVER,
        told.id,
    )
    assert told.correlation_id == told.id
    assert re.fullmatch(r"[a-z2-7]{24}", told.id)


def test_the_same_line_is_the_same_event_and_another_is_another() -> None:
    one, again, swapped, other = lines(
        LEAST, LEAST, dict(reversed(LEAST.items())), {**LEAST, "summary": "Too cold"}
    )
    assert one.event.id == again.event.id == swapped.event.id != other.event.id
    assert fingerprint(one.event) == fingerprint(again.event)
    assert line(record=ROW).event.id == one.event.id, "a row is not part of what happened"


@pytest.mark.parametrize("own", ["", None])
def test_an_empty_id_is_made_like_a_missing_one(own: str | None) -> None:
    assert line(id=own).event.id == line().event.id


def test_what_a_line_says_comes_before_the_defaults() -> None:
    told = line(
        id="own",
        tenant="other",
        severity="critical",
        occurred_at_ms=5,
        action="update",
        entity_id="raised",
        snapshot=[{"metric": "m", "value": 1, "baseline": None, "score": 2.5}],
    ).event
    assert (told.id, told.tenant, told.severity) == ("own", "other", Severity.CRITICAL)
    assert (told.occurred_at_ms, told.observed_at_ms) == (5, NOW_MS)
    assert (told.entity, told.correlation_id) == ("raised", "own")
    assert told.snapshot[0].score == 2.5


def test_later_lines_of_a_device_are_later_events() -> None:
    one, two, ten = (lines(*[LEAST] * 10)[n].event.version for n in (0, 1, 9))
    assert one < two < ten


def test_blank_lines_and_a_byte_order_mark_are_passed_over() -> None:
    found = lines("\ufeff" + json.dumps(LEAST), "", "   ", LEAST)
    assert [one.number for one in found] == [1, 4]


def test_a_record_of_the_line_comes_before_the_registry() -> None:
    full = {
        **ROW,
        "device_id": "acme/truck-1",
        "customer_tax_id": "T",
        "active": False,
        "device_class": "c",
        "site": "s",
        "region": "eu",
        "ids": {"sap.equipment": "10"},
    }
    found = line(record=full).record
    assert found == DeviceRecord(**full)  # type: ignore[arg-type]  # as given
    least = line(record=ROW).record
    assert least is not None
    assert (least.device_id, least.active, least.ids) == ("acme/truck-1", True, {})


def test_a_device_that_nobody_knows_has_no_record() -> None:
    assert line(device_id="acme/unknown").record is None
    assert line(record=None).record == KNOWN


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "Line 1: it is not JSON (Expecting property name enclosed in double quotes, at"),
        ("nothing", "it is not JSON (Expecting value, at character 1): correct it."),
        ("[" * 100_000, "it is not JSON"),
        (f"[{'1' * 5_000}]", "it is not JSON"),
        ("[]", "it is no JSON object: write {...}."),
        ("5", "it is no JSON object"),
        ("null", "it is no JSON object"),
        ('{"device_id": "a/b", "summary": "\\ud800"}', "lone surrogate"),
        ('{"device_id": "a/b", "summary": "x", "type": "\\udc00"}', "lone surrogate"),
        ({}, "device_id is missing"),
        ({"device_id": "a/b"}, "summary is missing"),
        ({**LEAST, "device_id": 5}, "device_id is missing: every event needs it, as a text."),
        ({**LEAST, "device_id": ""}, "device_id is missing"),
        ({**LEAST, "summary": None}, "summary is missing"),
        ({**LEAST, "nothing": 1}, "There is no field 'nothing': take it out."),
        ({**LEAST, "id": 5}, "id must be a text"),
        ({**LEAST, "severity": "bad"}, "severity must be info, warning or critical"),
        ({**LEAST, "action": "close"}, "action must be raise, update or clear"),
        ({**LEAST, "action": "clear"}, "entity_id is missing: name the event that raised"),
        ({**LEAST, "confidence": 2}, "confidence must be from 0 to 1"),
        ('{"device_id": "a", "summary": "b", "confidence": NaN}', "confidence must be a finite"),
        ({**LEAST, "occurred_at_ms": 2**63}, "occurred_at_ms must be a whole number"),
        ({**LEAST, "summary": "x" * 5_000}, "summary must be a text of at most"),
        ({**LEAST, "snapshot": [{"metric": "m"}]}, "snapshot.0.value is missing"),
        ({**LEAST, "record": []}, "record must be an object"),
        ({**LEAST, "record": {}}, "record.asset_id is missing"),
        ({**LEAST, "record": {**ROW, "no": 1}}, "record has no field 'no': there are active, "),
        ({**LEAST, "record": {**ROW, "site": 5}}, "must be a text"),
        ({**LEAST, "record": {**ROW, "active": "yes"}}, "record.active must be true or false"),
        ({**LEAST, "record": {**ROW, "ids": ["a"]}}, "record.ids must be an object of texts"),
        ({**LEAST, "record": {**ROW, "ids": {"a": 5}}}, "record.ids must be an object of texts"),
        ({**LEAST, "record": {**ROW, "device_id": "x/y"}}, "record.device_id must be the event's"),
    ],
)
def test_a_line_that_cannot_be_used_is_one_sentence(text: object, says: str) -> None:
    assert says in error_of(text)


def test_the_number_of_the_line_is_told() -> None:
    assert error_of(LEAST, "", LEAST, "{").startswith("Line 4: ")


def test_a_line_is_not_read_further_than_shows_that_it_is_too_long() -> None:
    class Endless(io.StringIO):
        taken = 0

        def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # as StringIO's
            assert 0 < size <= MAX_LINE + 1
            self.taken += size
            return "x" * size

    endless = Endless()
    with pytest.raises(SettingsError, match="Line 1: it is longer than 1,048,576 characters"):
        read(lines_of(endless), DEVICES, now_ms=NOW_MS)
    assert endless.taken == MAX_LINE + 1


def test_a_file_is_read_line_by_line_to_its_end() -> None:
    text = "".join(f"{json.dumps({**LEAST, 'summary': f's{n}'})}\n" for n in range(3))
    for given_text in (text, text.rstrip("\n")):
        found = read(lines_of(io.StringIO(given_text)), DEVICES, now_ms=NOW_MS)
        assert [one.event.summary for one in found] == ["s0", "s1", "s2"]
    assert not read(lines_of(io.StringIO("")), DEVICES, now_ms=NOW_MS)


def test_what_is_no_utf_8_is_one_sentence() -> None:
    file = io.TextIOWrapper(io.BytesIO(b'{"summary": "\xff"}'), encoding="utf-8")
    with pytest.raises(SettingsError, match="not UTF-8 text"):
        read(lines_of(file), DEVICES, now_ms=NOW_MS)


def test_more_events_than_may_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_file, "MAX_LINES", 2)
    assert len(lines(LEAST, "", LEAST)) == 2
    with pytest.raises(SettingsError, match="send them in parts"):
        lines(LEAST, LEAST, LEAST)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)
NAMES = st.sampled_from([*DEFAULTS, "id", "tenant", "action", "entity_id", "source", "record"])


@given(st.dictionaries(NAMES, JSON, max_size=4) | JSON)
def test_whatever_a_line_holds_it_is_an_event_or_one_error(more: Any) -> None:  # noqa: ANN401 - JSON
    try:
        [one] = lines(json.dumps({**LEAST, **more} if isinstance(more, dict) else more))
    except SettingsError:
        return
    assert one.event.id
    assert fingerprint(one.event)
    assert json.dumps(one.event.id, ensure_ascii=False).encode()
