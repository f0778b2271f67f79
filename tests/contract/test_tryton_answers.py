from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Effect, Reply
from connectors.tryton.answers import (
    ANSWER_MAX,
    ERRORS,
    OTHER_STATUS,
    RETRY_AFTER_MAX_S,
    STATUSES,
    TRANSPORT,
    Failure,
    Kind,
    Result,
    outcome,
    read_reply,
    trouble,
)
from pipeline.core.outcome import Outcome, Rejected, Retryable, Scope, Unknown
from tests.contract.tryton_examples import error, ok, user_error

SYSTEM, ITEM = Scope.SYSTEM, Scope.ITEM

# What the tables must say, written down a second time from the brief and Tryton's source:
# reply → outcome after a plain write. After a read all of them are Retryable.
EXPECTED: dict[int | str | type[httpx.TransportError], type[Outcome] | Scope] = {
    "UserError": Rejected,
    "UserWarning": Rejected,
    "ConcurrencyException": ITEM,
    "LoginException": SYSTEM,
    **dict.fromkeys((301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 415, 422, 429), SYSTEM),
    413: Rejected,
    **dict.fromkeys((500, 502, 503, 504), Unknown),
    httpx.ConnectError: SYSTEM,
    httpx.ConnectTimeout: SYSTEM,
    httpx.PoolTimeout: SYSTEM,
    httpx.ProxyError: SYSTEM,
    httpx.UnsupportedProtocol: SYSTEM,
    httpx.ReadTimeout: Unknown,
    httpx.WriteTimeout: Unknown,
    httpx.ReadError: Unknown,
    httpx.WriteError: Unknown,
    httpx.CloseError: Unknown,
    httpx.RemoteProtocolError: Unknown,
    httpx.LocalProtocolError: Unknown,
    httpx.TimeoutException: Unknown,
    httpx.NetworkError: Unknown,
    httpx.ProtocolError: Unknown,
}
DETAILS: dict[str, object] = {
    "UserError": ["No.", "", None],
    "UserWarning": ["warning-1", "Sure?", ""],
    "ConcurrencyException": "Records were modified in the meanwhile",
    "LoginException": ["password", "Password for fieldline", "password"],
}


def reply_for(row: int | str | type[httpx.TransportError]) -> Reply:
    if isinstance(row, int):
        return httpx.Response(row, html="<!doctype html><title>An answer</title>")
    if isinstance(row, str):
        return error(row, DETAILS[row])
    return row("a transport error")


def subclasses(cls: type[httpx.TransportError]) -> Iterator[type[httpx.TransportError]]:
    for sub in cls.__subclasses__():
        if sub.__module__.startswith("httpx"):
            yield sub
            yield from subclasses(sub)


def failure_of(reply: Reply) -> Failure:
    read = read_reply(reply)
    assert isinstance(read, Failure)
    return read


def test_every_transport_error_of_httpx_has_a_row() -> None:
    assert set(subclasses(httpx.TransportError)) == set(TRANSPORT)


def test_every_row_of_the_tables_is_expected_here_and_no_other() -> None:
    assert set(EXPECTED) == {*ERRORS, *STATUSES, *TRANSPORT}


def test_every_row_names_its_source_and_a_code_of_this_connector() -> None:
    for row in (*ERRORS.values(), *STATUSES.values(), *TRANSPORT.values(), OTHER_STATUS):
        assert row.source
        assert row.code.startswith("tryton.")


@pytest.mark.parametrize("row", EXPECTED, ids=str)
def test_a_failed_write_becomes_what_the_table_says(
    row: int | str | type[httpx.TransportError],
) -> None:
    got = outcome(failure_of(reply_for(row)), Effect.WRITE)
    want = EXPECTED[row]
    if isinstance(want, Scope):
        assert isinstance(got, Retryable)
        assert got.scope is want
    else:
        assert type(got) is want


@pytest.mark.parametrize("row", EXPECTED, ids=str)
def test_a_failed_read_is_always_retryable(row: int | str | type[httpx.TransportError]) -> None:
    failure = failure_of(reply_for(row))
    assert isinstance(outcome(failure, Effect.READ), Retryable)
    assert isinstance(trouble(failure), Retryable)


@pytest.mark.parametrize("row", EXPECTED, ids=str)
def test_a_failed_keyed_write_is_never_unknown(row: int | str | type[httpx.TransportError]) -> None:
    got = outcome(failure_of(reply_for(row)), Effect.KEYED_WRITE)
    assert isinstance(got, Rejected if EXPECTED[row] is Rejected else Retryable)


@pytest.mark.parametrize("status", [204, 418, 499, 507, 599])
def test_a_status_tryton_never_gives_is_unknown_after_a_write(status: int) -> None:
    assert isinstance(outcome(failure_of(httpx.Response(status)), Effect.WRITE), Unknown)


def test_a_locked_sqlite_database_was_certainly_not_written() -> None:
    failure = failure_of(httpx.Response(503, html="<p>database is locked</p>"))
    got = outcome(failure, Effect.WRITE)
    assert got == Retryable(code="tryton.locked", message=failure.message, scope=SYSTEM)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!doctype html><title>Welcome to the hotel</title>",
        b'{"id": 1, "result": [4',
        b'{"id": 1}',
        b'{"id": 1, "error": null}',
        b'{"id": 1, "error": []}',
        b'{"id": 1, "error": [7]}',
        b'{"id": 1, "result": [4], "error": ["UserError", []]}',
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=repr,
)
def test_a_200_that_is_no_whole_answer_is_unknown_after_a_write(content: bytes) -> None:
    read = read_reply(httpx.Response(200, content=content))
    assert isinstance(read, Failure)
    if b"UserError" not in content:
        assert isinstance(outcome(read, Effect.WRITE), Unknown)


def test_a_result_of_null_is_a_result() -> None:
    assert read_reply(ok(None)) == Result(None)


def test_a_user_error_keeps_trytons_words_and_drops_the_domain() -> None:
    got = outcome(
        failure_of(error("UserError", ["Not valid.", "Ask Anna", [["a", "=", 1]]])), Effect.WRITE
    )
    assert got == Rejected(
        code="tryton.user_error", message="Not valid. Ask Anna.", answer="Not valid.\nAsk Anna"
    )


def test_a_user_warning_keeps_its_sentence_without_its_technical_name() -> None:
    got = outcome(failure_of(error("UserWarning", ["w-1", "Similar party.", ""])), Effect.WRITE)
    assert isinstance(got, Rejected)
    assert got.answer == "Similar party."


def test_an_unforeseen_exception_is_a_fault_without_its_traceback() -> None:
    failure = failure_of(error("'project.work'", "Traceback, secret paths"))
    assert failure.kind is Kind.FAULT
    assert "Traceback" not in f"{failure}"
    assert isinstance(outcome(failure, Effect.WRITE), Unknown)
    after_look_up = outcome(failure, Effect.KEYED_WRITE)
    assert isinstance(after_look_up, Retryable)
    assert after_look_up.scope is ITEM


def test_long_words_are_cut() -> None:
    failure = failure_of(user_error("long " * ANSWER_MAX))
    assert failure.answer is not None
    assert len(failure.answer) == ANSWER_MAX
    assert len(failure.message) <= ANSWER_MAX


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("999999", RETRY_AFTER_MAX_S), ("-1", None), ("soon", None), ("", None)],
)
def test_retry_after_is_passed_on_within_bounds(header: str, seconds: float | None) -> None:
    got = trouble(failure_of(httpx.Response(429, headers={"Retry-After": header})))
    assert got.retry_after_s == seconds


@given(
    status=st.integers(200, 599),
    content=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "result", "error", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(lambda value: httpx.Response(200, json=value).content),
)
def test_no_reply_makes_it_raise_or_call_a_failure_a_success(status: int, content: bytes) -> None:
    read = read_reply(httpx.Response(status, content=content))
    if status != httpx.codes.OK:
        assert isinstance(read, Failure)
