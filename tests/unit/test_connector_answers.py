"""What all systems' answers have in common: trouble on the way, tables, words, waits."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.answers import (
    ANSWER_MAX,
    RETRY_AFTER_MAX_S,
    WORDS_MAX,
    Kind,
    Row,
    clean,
    hide,
    json_of,
    message_of,
    outcome_of,
    retry_after,
    retryable,
    row_by_status,
    says,
    text_of,
    transport_row,
    transport_rows,
    within,
)
from pipeline.core.outcome import Outcome, Rejected, Retryable, Scope, Unknown

NOW_S = 1_795_257_000.0
NOT_SENT = {
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
}
"""What httpx says before a byte of the request is written (wire-formats, last part)."""


def row(kind: Kind = Kind.REFUSED, **changes: Any) -> Row:  # noqa: ANN401 - any field
    made = {"kind": kind, "code": "erp.no_room", "when": "400", "source": "a document"}
    return Row(**{**made, **changes})


def subclasses(of: type[httpx.TransportError]) -> Iterator[type[httpx.TransportError]]:
    yield of
    for one in of.__subclasses__():
        yield from subclasses(one)


class GrownError(httpx.NetworkError):
    """Trouble that a later httpx may know."""


# -- trouble on the way


@pytest.mark.parametrize(
    "trouble", sorted(set(subclasses(httpx.TransportError)) - {GrownError}, key=str)
)
def test_all_trouble_of_httpx_has_a_row_that_is_sure_only_where_nothing_was_sent(
    trouble: type[httpx.TransportError],
) -> None:
    made = transport_row("erp", trouble("secret words"))
    assert made.code.startswith("erp.")
    assert made.when == trouble.__name__
    assert made.source
    assert made.kind is (Kind.BUSY if trouble in NOT_SENT else Kind.UNCLEAR)


def test_trouble_that_httpx_may_yet_grow_is_unclear() -> None:
    for trouble in (GrownError("x"), type("Odd", (httpx.ConnectError,), {})("x")):
        assert transport_row("erp", trouble).kind is Kind.UNCLEAR


def test_the_contract_lists_all_trouble_that_httpx_raises() -> None:
    bare = {
        httpx.TransportError,
        httpx.TimeoutException,
        httpx.NetworkError,
        httpx.ProtocolError,
        GrownError,
    }
    raised = {
        one.__name__ for one in subclasses(httpx.TransportError) if one.__module__ == "httpx"
    } - {one.__name__ for one in bare}
    assert {one.when for one in transport_rows("erp")} == raised


# -- what follows

UNKNOWN, REJECTED = "unknown", "rejected"
FOLLOWS = {
    (Kind.REFUSED, False): REJECTED,
    (Kind.REFUSED, True): REJECTED,
    (Kind.HELD, False): Scope.ITEM,
    (Kind.HELD, True): Scope.ITEM,
    (Kind.BUSY, False): Scope.SYSTEM,
    (Kind.BUSY, True): Scope.SYSTEM,
    (Kind.FAILED, False): UNKNOWN,
    (Kind.FAILED, True): Scope.SYSTEM,
    (Kind.UNCLEAR, False): UNKNOWN,
    (Kind.UNCLEAR, True): UNKNOWN,
    (Kind.EXPIRED, False): Scope.SYSTEM,
    (Kind.EXPIRED, True): Scope.SYSTEM,
    (Kind.RACED, False): Scope.ITEM,
    (Kind.RACED, True): Scope.ITEM,
}


def kind_of(outcome: Outcome) -> object:
    if isinstance(outcome, Rejected):
        return REJECTED
    if isinstance(outcome, Unknown):
        return UNKNOWN
    assert isinstance(outcome, Retryable), outcome
    return outcome.scope


@pytest.mark.parametrize(("kind", "keyed"), itertools.product(Kind, (False, True)))
def test_each_kind_means_one_outcome(kind: Kind, *, keyed: bool) -> None:
    outcome = outcome_of(
        row(kind), keyed=keyed, message="No room.", answer="a" * 9_000, retry_after_s=7.0
    )
    assert kind_of(outcome) == FOLLOWS[kind, keyed]
    assert getattr(outcome, "code", "") == "erp.no_room"
    assert getattr(outcome, "message", "") == "No room."
    if isinstance(outcome, Rejected):
        assert outcome.answer == "a" * ANSWER_MAX
        assert not outcome.final
    if isinstance(outcome, Retryable):
        assert outcome.retry_after_s == 7.0


def test_a_refusal_without_words_has_no_answer() -> None:
    outcome = outcome_of(row(), keyed=True, message="No room.")
    assert isinstance(outcome, Rejected)
    assert outcome.answer is None


@pytest.mark.parametrize("kind", Kind)
def test_after_a_request_that_only_reads_everything_is_tried_again(kind: Kind) -> None:
    outcome = retryable(row(kind), message="No room.", retry_after_s=3.0)
    own = kind in {Kind.REFUSED, Kind.HELD, Kind.RACED}
    assert outcome == Retryable(
        code="erp.no_room",
        message="No room.",
        scope=Scope.ITEM if own else Scope.SYSTEM,
        retry_after_s=3.0,
    )


def test_a_status_that_no_row_knows_is_unclear() -> None:
    rows = (row(when="400"), row(Kind.BUSY, when="503", code="erp.away"))
    assert row_by_status(rows, 503, "erp").code == "erp.away"
    for status in (200, 299, 302, 404, 418, 500, 599, 40, 4001):
        found = row_by_status(rows, status, "erp")
        assert (found.kind, found.code) == (Kind.UNCLEAR, "erp.unexpected_answer")


# -- words


def one_sentence(text: str) -> bool:
    return (
        text.isprintable() and text.endswith(".") and not text.endswith("..") and "  " not in text
    )


@given(st.text(max_size=400), st.integers(0, 999), st.sampled_from(["", "check the key"]))
def test_a_message_is_one_line_that_ends_once(said: str, status: int, advice: str) -> None:
    text = message_of("ERP", row(advice=advice), said, status)
    assert one_sentence(text), text
    assert text.startswith("ERP: no room")
    assert (f"(status {status})" in text) == bool(status)
    assert advice in text
    assert len(text) < WORDS_MAX + 100


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("", "ERP: no room: check the key."),
        ("It is full!", "ERP: no room: It is full: check the key."),
        ("It\r\nis\tfull...", "ERP: no room: It is full: check the key."),
        ("\x1b[31mred\x00", "ERP: no room: [31mred: check the key."),
        ("\x00\n .", "ERP: no room: check the key."),
    ],
)
def test_the_systems_words_stand_between_what_happened_and_what_to_do(said: str, text: str) -> None:
    assert message_of("ERP", row(advice="check the key"), said) == text


@given(st.binary(max_size=200))
def test_whatever_stands_in_an_answer_it_can_be_read(content: bytes) -> None:
    reply = httpx.Response(200, content=content)
    found = json_of(reply)
    if found is not None:
        assert json.loads(content) == found
    assert len(says(reply)) <= ANSWER_MAX
    assert isinstance(text_of(found), str | None)


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b'{"a":', b"NaN", b"\xff\xfe", b"[" * 100_000, b'"\\ud800"']
)
def test_an_answer_that_is_no_json_is_nothing(content: bytes) -> None:
    assert json_of(httpx.Response(200, content=content)) is None


def test_words_are_cut_and_trouble_says_nothing() -> None:
    assert says(httpx.Response(400, content=b"\xffa" * 9_000)) == "�a" * (ANSWER_MAX // 2)
    assert says(httpx.ReadTimeout("secret words")) == ""
    assert json_of(httpx.Response(200, content=b" " * 10_000 + b"1")) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (5, "5"),
        (0, "0"),
        ("x" * 600, "x" * 512),
        ("", None),
        (None, None),
        (True, None),
        (1.5, None),
        ([1], None),
        ({"id": "a"}, None),
    ],
)
def test_an_id_is_text_or_a_whole_number(value: object, text: str | None) -> None:
    assert text_of(value) == text


# -- secrets

VISIBLE = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), min_size=6, max_size=30)


@given(VISIBLE, st.sampled_from([str, json.dumps, lambda t: quote(t, safe=""), "escaped"]))
def test_no_form_of_a_secret_stays_in_an_answer(secret: str, form: Any) -> None:  # noqa: ANN401 - a function
    slashed = json.dumps(secret, ensure_ascii=False)[1:-1].replace("/", "\\/")
    shown = slashed if form == "escaped" else form(secret)
    reply = httpx.Response(
        400,
        headers={"content-type": "application/json", "x-csrf-token": "kept"},
        content=f"before {shown} after".encode(),
    )
    made = clean(reply, ["", secret])
    assert isinstance(made, httpx.Response)
    assert shown.encode().strip(b'"') not in made.content
    assert b"***" in made.content
    assert made.content.startswith(b"before ")
    assert made.content.endswith(b" after")
    assert (made.status_code, made.headers["x-csrf-token"]) == (400, "kept")
    assert secret not in hide(f"before {secret} after", [secret])


def test_a_secret_within_another_leaves_nothing_of_either() -> None:
    reply = httpx.Response(400, content=b"session=abcdef; abcdef")
    made = clean(reply, ["abcdef", "session=abcdef"])
    assert isinstance(made, httpx.Response)
    assert made.content == b"***; ***"


def test_an_answer_without_secrets_is_the_same_and_trouble_too() -> None:
    reply, lost = httpx.Response(400, content=b"all is well"), httpx.ReadError("x")
    assert clean(reply, ["hunter2"]) is reply
    assert clean(lost, ["hunter2"]) is lost


def test_an_answer_that_was_packed_is_not_unpacked_twice() -> None:
    odd = [(b"x-odd", "é".encode("latin-1"))]
    reply = httpx.Response(400, headers=odd, content=b"it was hunter2")
    reply.headers["content-encoding"] = "gzip"
    made = clean(reply, ["hunter2"])
    assert isinstance(made, httpx.Response)
    assert made.content == b"it was ***"
    assert made.headers["x-odd"] == "é"


# -- waits


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("3601", RETRY_AFTER_MAX_S),
        ("9" * 400, RETRY_AFTER_MAX_S),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("nan", None),
        ("²", None),
        ("soon", None),
        ("Sat, 21 Nov 2026 11:50:10 GMT", 610.0),
        ("Sat, 21 Nov 2026 12:50:10 +0100", 610.0),
        ("Sat, 21 Nov 2026 11:50:10", 610.0),
        ("Fri, 20 Nov 2026 11:50:10 GMT", 0.0),
        ("Sun, 21 Nov 2027 11:50:10 GMT", RETRY_AFTER_MAX_S),
        ("Sat, 99 Nov 2026 11:50:10 GMT", None),
        ("Sat, 21 Nov 99999 11:50:10 GMT", None),
        ("Sat, 21 Nov 2026 11:50:10 +9999999999", None),
    ],
)
def test_a_wish_for_a_wait_is_seconds_or_a_date_and_at_most_an_hour(
    text: str | None, seconds: float | None
) -> None:
    now = datetime(2026, 11, 21, 11, 40, tzinfo=UTC).timestamp()
    assert retry_after(text, now) == seconds


@given(
    st.text(max_size=60)
    | st.integers().map(str)
    | st.datetimes(timezones=st.just(UTC)).map(format_datetime)
    | st.from_regex(
        r"\A(Mon|Xxx)?,? ?[0-9]{1,3} ?(Nov|Abc|-) ?[0-9]{1,6} [0-9:.]{0,9} ?(GMT|[+-][0-9]{1,6})?\Z"
    )
)
def test_no_wish_raises_or_is_out_of_bounds(text: str) -> None:
    made = retry_after(text, NOW_S)
    assert made is None or 0.0 <= made <= RETRY_AFTER_MAX_S


@given(st.floats())
def test_a_number_of_seconds_is_kept_within_an_hour(seconds: float) -> None:
    made = within(seconds)
    if math.isfinite(seconds):
        assert made == pytest.approx(sorted((0.0, seconds, RETRY_AFTER_MAX_S))[1])
    else:
        assert made is None
