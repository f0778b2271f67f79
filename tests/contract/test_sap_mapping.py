"""SAP: the reference, texts and their lengths, batches as bytes, answers as a table."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.answers import Kind
from connectors.fields import Policy
from connectors.sap.answers import TABLE, entities, entity, trouble_of, words
from connectors.sap.batch import Op, decode, encode
from connectors.sap.mapping import (
    LONG_TEXT_MAX,
    PRIORITIES,
    TEXT_MAX,
    cut,
    date_literal,
    marks,
    reference,
    request_id,
    to_change,
    to_notification,
    units,
    with_line,
)
from connectors.system import OPEN
from pipeline.core.events import Action, Severity
from pipeline.core.outcome import Rejected
from tests.contract.sap_examples import delivery, error
from tests.contract.world import event
from tests.sandboxes.sap.odata import Reply
from tests.sandboxes.sap.parts import Part, parse, render

TEXTS = st.text(max_size=300)

# -- the key


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("", "4OYMIQUY7QOBJGX36TEA"),
        ("3vln4qjxsuozzetidmbuc3wb", "TVGDTDGLNMEYO52BF5MA"),
        ("a", "ZKLYCEWKDO64V6WCGGZQ"),
    ],
)
def test_references_are_those_of_earlier_releases(key: str, wanted: str) -> None:
    assert reference(key) == wanted


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_reference_fits_its_field_and_survives_upper_case(key: str) -> None:
    made = reference(key)
    assert len(made) == 20
    assert made == made.upper()
    assert made.isalnum()
    assert len(request_id(key)) == 32


# -- texts


@given(TEXTS, st.integers(2, 50))
def test_a_text_is_cut_to_utf16_units_and_stays_text(text: str, most: int) -> None:
    made = cut(text, most)
    assert units(made) <= max(most, 0)
    assert made == text or made.endswith("…")


@given(TEXTS)
def test_whatever_the_event_says_the_notification_fits(summary: str) -> None:
    made = to_notification(delivery(event(summary=summary)), OPEN, PRIORITIES)
    assert isinstance(made, dict)
    assert 0 < units(made["NotificationText"]) <= TEXT_MAX
    assert units(made["MaintNotifLongTextForEdit"]) <= LONG_TEXT_MAX
    assert made["NotificationText"].isprintable()
    json.dumps(made).encode()


@given(TEXTS)
def test_a_device_cannot_say_that_a_change_was_made(summary: str) -> None:
    forged = f"[FL-{reference('x')}] {summary} [FL-{reference('x')}]"
    made = to_notification(delivery(event(summary=forged)), OPEN, PRIORITIES)
    assert isinstance(made, dict)
    assert marks(made["MaintNotifLongTextForEdit"]) == []
    told = event(summary=forged, action=Action.UPDATE, entity_id="e")
    change = to_change(delivery(told), OPEN, PRIORITIES)
    assert not isinstance(change, Rejected)
    assert marks(change.line) == [reference(told.id)]


@given(st.lists(TEXTS, max_size=6), st.integers(1, 40))
def test_a_line_more_never_costs_what_people_wrote(theirs: list[str], count: int) -> None:
    text = "\n".join(line.strip() for line in theirs)
    before = text.rstrip()
    for n in range(count):
        line = f"Now critical: it is {n} [FL-{reference(str(n))}]"
        made = with_line(text, line)
        if made is None:
            break
        assert units(made) <= LONG_TEXT_MAX
        assert made.endswith(line)
        text = made
    assert "\n".join(line for line in text.split("\n") if not marks(line)) == before


def test_marks_are_found_where_sap_has_wrapped_the_line() -> None:
    mark = reference("a")
    assert marks(f"Now critical: hot [FL-{mark[:7]}\n{mark[7:]}] and more") == [mark]


def test_dates_of_urls_are_none_where_there_is_no_date() -> None:
    assert date_literal("/Date(1542758400000)/") == "datetime'2018-11-21T00:00:00'"
    assert date_literal("***") == ""
    assert date_literal("/Date(999999999999999)/") == ""


@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        ({"sap.equipment": "E1", "sap.functional_location": "F1"}, ("E1", "EAMS_EQUI")),
        ({"sap.functional_location": "F1"}, ("F1", "EAMS_FL")),
        ({"crm.account": "A"}, ("TRK-1", "EAMS_EQUI")),
    ],
)
def test_the_technical_object_is_what_the_identity_map_calls_it(
    ids: dict[str, Any], wanted: tuple[str, str]
) -> None:
    made = to_notification(delivery(**ids), OPEN, PRIORITIES)
    assert isinstance(made, dict)
    assert (made["TechnicalObject"], made["TechObjIsEquipOrFuncnlLoc"]) == wanted


def test_an_object_id_that_does_not_fit_is_refused_by_name_and_rule() -> None:
    ids: dict[str, Any] = {"sap.equipment": "x" * 41}
    made = to_notification(delivery(**ids), OPEN, PRIORITIES)
    assert isinstance(made, Rejected)
    assert made.code == "mapping.too_long"
    assert "TechnicalObject" in made.message


def test_what_the_policy_masks_is_not_sent_and_nothing_fails_for_it() -> None:
    policy = Policy(masked=frozenset({"event.occurred_at", "event.summary"}))
    told = event(action=Action.CLEAR, entity_id="e", severity=Severity.INFO)
    change = to_change(delivery(told), policy, PRIORITIES)
    assert not isinstance(change, Rejected)
    assert told.summary not in change.line
    assert date_literal(change.date) == ""


# -- batches

OPS = st.lists(
    st.builds(
        Op,
        step=st.just("create"),
        method=st.sampled_from(["POST", "PATCH", "GET"]),
        path=st.sampled_from(["MaintenanceNotification", "MaintenanceNotification('1')?$top=1"]),
        body=st.one_of(st.none(), st.dictionaries(st.sampled_from(["a", "b"]), st.text())),
        headers=st.sampled_from([{}, {"If-Match": "W/\"'1'\""}]),
    ).filter(lambda op: op.method != "GET" or op.body is None),
    min_size=1,
    max_size=6,
)


@given(OPS)
def test_a_batch_is_read_by_the_other_side_as_it_was_meant(ops: list[Op]) -> None:
    kind, content = encode(ops)
    assert encode(ops) == (kind, content), "the same bytes each time"
    for op, piece in zip(ops, parse(kind, content), strict=True):
        part = piece[0] if isinstance(piece, list) else piece
        assert isinstance(part, Part)
        assert (part.method, part.path) == (op.method, op.path)
        assert isinstance(piece, list) is (op.method != "GET")
        assert (json.loads(part.body) if part.body else None) == op.body
        assert part.headers.get("if-match") == op.headers.get("If-Match")


BODIES = st.one_of(st.none(), st.text(), st.dictionaries(st.text(max_size=5), st.text(max_size=30)))
ANSWERS = st.lists(
    st.builds(Reply, status=st.sampled_from([200, 201, 204, 400, 412]), body=BODIES),
    max_size=6,
)


@given(ANSWERS, st.data())
def test_a_batch_answer_is_read_as_it_was_written_and_never_when_it_was_cut(
    answers: list[Reply], data: st.DataObject
) -> None:
    wrapped: list[Reply | list[Reply]] = [
        [one] if one.status < 300 and data.draw(st.booleans()) else one for one in answers
    ]
    kind, content = render(wrapped)
    read = decode(httpx.Response(202, headers={"content-type": kind}, content=content))
    assert read is not None
    assert [one.status_code for one in read] == [one.status for one in answers]
    for got, one in zip(read, answers, strict=True):
        assert (json.loads(got.content) if got.content else None) == one.body
    short = content[: data.draw(st.integers(0, len(content) - len(b"--\r\n") - 1))]
    assert decode(httpx.Response(202, headers={"content-type": kind}, content=short)) is None


@given(st.binary(max_size=300), st.text(max_size=60))
def test_whatever_comes_as_a_batch_answer_nothing_is_raised(content: bytes, kind: str) -> None:
    said = kind.encode("utf-8", "replace").replace(b"\r", b"").replace(b"\n", b"")
    headers = [(b"content-type", b"multipart/mixed; boundary=" + said)]
    framed = b"--" + said + b"\r\n" + content + b"\r\n--" + said + b"--\r\n"
    for whole in (content, framed):
        decode(httpx.Response(202, headers=headers, content=whole))


def test_a_batch_with_more_parts_than_anybody_asked_for_is_not_read() -> None:
    kind, content = render([Reply(status=204)] * 1_200)
    assert decode(httpx.Response(202, headers={"content-type": kind}, content=content)) is None


# -- answers

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "code", "message", "value", "innererror", "errordetails", "d"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(ANY_JSON, st.integers(200, 599))
def test_whatever_sap_says_it_is_a_line_of_the_table_or_a_success(
    said: object, status: int
) -> None:
    reply = httpx.Response(status, json=said)
    row = trouble_of(reply)
    assert (row is None) is (200 <= status < 300)
    assert row is None or row in TABLE
    assert isinstance(words(reply), str)
    entity(reply)
    entities(reply)


@pytest.mark.parametrize(
    ("status", "code", "text", "kind"),
    [
        (400, "IM/118", "no", Kind.REFUSED),
        (400, "/ISDFPS/FDP/012", "no", Kind.REFUSED),
        (400, "ZZ/001", "Object is locked by user SMITH", Kind.HELD),
        (423, "", "Notification 1 locked by SMITH", Kind.HELD),
        (400, "what ever", "no", Kind.UNCLEAR),
        (403, "IM/118", "no", Kind.HELD),
        (403, "/IWFND/CM_BEC/026", "no", Kind.BUSY),
        (412, "IM/416", "locked by SMITH", Kind.RACED),
        (500, "IM/416", "locked by SMITH", Kind.FAILED),
        (409, "IM/118", "no", Kind.UNCLEAR),
    ],
)
def test_a_code_means_something_only_with_its_status(
    status: int, code: str, text: str, kind: Kind
) -> None:
    row = trouble_of(error(status, code, text))
    assert row is not None
    assert row.kind is kind


def test_details_that_say_more_are_told_and_warnings_are_not() -> None:
    details = [
        {"code": "IM/001", "message": "The plant is closed", "severity": "error"},
        {"code": "IM/002", "message": "It is late", "severity": "warning"},
    ]
    body = {
        "error": {
            "code": "/IWBEP/CM_MGW_RT/022",
            "message": {"lang": "en", "value": "Exception raised"},
            "innererror": {"errordetails": details},
        }
    }
    reply = httpx.Response(400, json=body)
    assert words(reply) == "/IWBEP/CM_MGW_RT/022: Exception raised; IM/001: The plant is closed"
