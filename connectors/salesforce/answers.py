"""What Salesforce's answers mean: a table by error code, then by status. Pure.

A refusal is an array `[{"message", "errorCode", "fields"}]` (REST API Developer Guide, 'Status
Codes and Error Responses'); in collections, in composites and in Bulk results each record has
its own, under `statusCode` or as 'CODE:words'. All of them say that this record was not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx

from connectors.answers import (
    ANSWER_MAX,
    Kind,
    Row,
    json_of,
    message_of,
    outcome_of,
    retry_after,
    retryable,
    says,
    text_of,
    transport_row,
)
from connectors.auth import token_rows
from connectors.base import Reply
from pipeline.core.outcome import Outcome, Retryable

NAME, TITLE = "salesforce", "Salesforce"
_STATUS_CODE = "SOAP API Developer Guide, Core Data Types: StatusCode"
_EXCEPTION = "SOAP API Developer Guide, API Fault Element: ExceptionCode"
_REST = "REST API Developer Guide, Status Codes and Error Responses"
_BULK = "Bulk API 2.0 Developer Guide, Job States"


def _row(kind: Kind, reason: str, when: str, source: str = _STATUS_CODE, advice: str = "") -> Row:
    return Row(kind=kind, code=f"{NAME}.{reason}", when=when, source=source, advice=advice)


_CHECK = "run `fieldline connectors check salesforce`"
CODES = (
    _row(Kind.REFUSED, "required_field_missing", "REQUIRED_FIELD_MISSING"),
    _row(Kind.REFUSED, "validation_rule", "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
    _row(Kind.REFUSED, "string_too_long", "STRING_TOO_LONG"),
    _row(Kind.REFUSED, "duplicates_detected", "DUPLICATES_DETECTED", advice="see duplicate rules"),
    _row(Kind.REFUSED, "entity_is_deleted", "ENTITY_IS_DELETED"),
    _row(
        *(Kind.REFUSED, "invalid_cross_reference_key", "INVALID_CROSS_REFERENCE_KEY"),
        advice="correct the Id in the identity map",
    ),
    _row(
        *(Kind.REFUSED, "invalid_field", "INVALID_FIELD"),
        advice=f"a field, or a record with that external id, is not there: {_CHECK}",
    ),
    _row(
        *(Kind.REFUSED, "field_not_writeable", "INVALID_FIELD_FOR_INSERT_UPDATE"),
        advice=_CHECK,
    ),
    _row(Kind.REFUSED, "not_in_picklist", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
    _row(Kind.REFUSED, "field_integrity", "FIELD_INTEGRITY_EXCEPTION"),
    _row(Kind.REFUSED, "lookup_filter", "FIELD_FILTER_VALIDATION_EXCEPTION"),
    _row(Kind.REFUSED, "malformed_id", "MALFORMED_ID"),
    _row(Kind.REFUSED, "trigger_failed", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"),
    _row(
        *(Kind.REFUSED, "reference_not_shared", "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"),
    ),
    _row(Kind.REFUSED, "record_not_editable", "INSUFFICIENT_ACCESS_OR_READONLY"),
    _row(Kind.REFUSED, "record_locked", "ENTITY_IS_LOCKED", advice="an approval holds it"),
    _row(Kind.REFUSED, "malformed", "JSON_PARSER_ERROR", _REST),
    _row(
        *(Kind.REFUSED, "ambiguous_key", "DUPLICATE_EXTERNAL_ID"),
        advice="several records have this key: mark the field Unique",
    ),
    _row(
        *(Kind.RACED, "duplicate_value", "DUPLICATE_VALUE"),
        advice="a value that must be unique is another record's",
    ),
    _row(Kind.HELD, "row_locked", "UNABLE_TO_LOCK_ROW"),
    _row(Kind.HELD, "internal_error", "UNKNOWN_EXCEPTION"),
    _row(Kind.FAILED, "request_too_long", "REQUEST_RUNNING_TOO_LONG", _EXCEPTION),
    _row(Kind.EXPIRED, "session_expired", "INVALID_SESSION_ID", _EXCEPTION),
    _row(
        *(Kind.BUSY, "request_limit", "REQUEST_LIMIT_EXCEEDED", _EXCEPTION),
        advice="calls of 24 hours or calls at once are used up",
    ),
    _row(Kind.BUSY, "limit", "LIMIT_EXCEEDED", advice="see Setup, System Overview"),
    _row(Kind.BUSY, "unavailable", "SERVER_UNAVAILABLE", _EXCEPTION),
    _row(Kind.BUSY, "storage_full", "STORAGE_LIMIT_EXCEEDED", advice="make room in the org"),
    _row(
        *(Kind.BUSY, "api_disabled", "API_DISABLED_FOR_ORG", _EXCEPTION),
        advice="give the user the permission 'API Enabled'",
    ),
    _row(Kind.BUSY, "not_set_up", "NOT_FOUND", _REST, _CHECK),
    _row(Kind.BUSY, "object_not_visible", "INVALID_TYPE", _EXCEPTION, _CHECK),
)
_BY_CODE = {row.when: row for row in CODES} | {
    "API_CURRENTLY_DISABLED": next(row for row in CODES if row.code.endswith(".api_disabled"))
}
AMBIGUOUS = _BY_CODE["DUPLICATE_EXTERNAL_ID"]
DUPLICATE = _BY_CODE["DUPLICATE_VALUE"]
_LOCKED = _BY_CODE["UNABLE_TO_LOCK_ROW"]
_EXPIRED = _BY_CODE["INVALID_SESSION_ID"]
NO_RECORD = _row(
    Kind.REFUSED, "no_record", "no record with that key", "read by SOQL", "it was not raised here"
)
NO_QUERY = _row(
    *(Kind.BUSY, "no_query", "404 for a query", _REST, _CHECK),
)
"""What is raised goes without it: its upsert finds what is there by itself."""
REFUSED = _row(Kind.REFUSED, "refused", "any other errorCode: every one says that it was not taken")
FORBIDDEN = _row(Kind.BUSY, "forbidden", "403 with any other errorCode", _REST, _CHECK)
THROTTLED = _row(Kind.BUSY, "too_many_requests", "429", "RFC 6585, 4; of a proxy")
SERVER_ERROR = _row(Kind.FAILED, "server_error", "5xx", _REST)
UNCLEAR = _row(Kind.UNCLEAR, "unexpected_answer", "anything else", _REST)
INSTANCE = _row(
    *(Kind.BUSY, "instance_host", "an instance_url that settings do not allow"),
    *("connectors/salesforce/session.py", "add its host to instance_hosts"),
)
BULK_UNFINISHED = _row(
    Kind.UNCLEAR, "bulk_unfinished", "a job that is not over after bulk_polls", _BULK
)
BULK_UNPROCESSED = _row(
    *(Kind.BUSY, "bulk_unprocessed", "in unprocessedrecords: state Failed or Aborted", _BULK),
    _CHECK,
)
BULK_SILENT = _row(Kind.UNCLEAR, "bulk_silent", "in none of the three results", _BULK)
OTHERS = (
    *(NO_RECORD, NO_QUERY, REFUSED, FORBIDDEN, THROTTLED, SERVER_ERROR, UNCLEAR, INSTANCE),
    *(BULK_UNFINISHED, BULK_UNPROCESSED, BULK_SILENT),
)
_ROLLED_BACK = frozenset({"PROCESSING_HALTED", "ALL_OR_NONE_OPERATION_ROLLED_BACK"})
"""Said of the others of a composite where one was refused."""
_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why something was not done. `sent` False: the request that could do it never went out."""

    row: Row
    message: str
    answer: str = ""
    retry_after_s: float | None = None
    sent: bool = True

    def before(self) -> Failure:
        """The same, met before the write."""
        return replace(self, sent=False)


def outcome(failure: Failure, *, keyed: bool = True) -> Outcome:
    """What a failure means for one event. `keyed`: the write may be sent again at once."""
    if not failure.sent:
        return again(failure)
    return outcome_of(
        failure.row,
        keyed=keyed,
        message=failure.message,
        answer=failure.answer,
        retry_after_s=failure.retry_after_s,
    )


def again(failure: Failure) -> Retryable:
    """What a failure means that came of reading, or before the write."""
    return retryable(failure.row, message=failure.message, retry_after_s=failure.retry_after_s)


def early(trouble: Retryable) -> Failure:
    """A token that could not be had, as a failure before the write."""
    rows = (*token_rows(NAME), INSTANCE)
    row = next((row for row in rows if row.code == trouble.code), None)
    if row is None:  # trouble on the way to the token endpoint
        row = Row(kind=Kind.BUSY, code=trouble.code, when="", source="httpx")
    return Failure(
        row=row, message=trouble.message, retry_after_s=trouble.retry_after_s, sent=False
    )


def unlike(reply: Reply, now_s: float) -> Failure:
    """The failure that an answer tells of which is not what was hoped for."""
    if isinstance(reply, httpx.TransportError):
        row = transport_row(NAME, reply)
        return Failure(row=row, message=message_of(TITLE, row))
    errors = errors_of(json_of(reply))
    row = _row_of(reply.status_code, errors)
    return Failure(
        row=row,
        message=message_of(TITLE, row, _words(errors), reply.status_code),
        answer=says(reply),
        retry_after_s=retry_after(reply.headers.get("retry-after"), now_s),
    )


def refused(errors: Any) -> Failure:  # noqa: ANN401 - JSON
    """The failure of one record of several; UNCLEAR where it does not say why.

    Its answer is its own errors: the others' are other events', maybe other tenants'.
    """
    found = errors_of(errors)
    row = _coded(found) if found else UNCLEAR
    words = _words(found)
    return Failure(row=row, message=message_of(TITLE, row, words), answer=words[:ANSWER_MAX])


def told(row: Row, said: str = "") -> Failure:
    """A failure that we found ourselves."""
    return Failure(row=row, message=message_of(TITLE, row, said))


def errors_of(body: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - JSON
    """(code, words) of each error, those that only say that others failed left out; [] for none."""
    entries = body if isinstance(body, list) else [body]
    found = []
    for one in entries:
        if isinstance(one, Mapping):
            code = text_of(one.get("errorCode")) or text_of(one.get("statusCode")) or ""
            if _CODE.fullmatch(code):
                found.append((code, text_of(one.get("message"), 1_000) or ""))
    return [one for one in found if one[0] not in _ROLLED_BACK]


def bulk_errors(text: str) -> list[dict[str, str]]:
    """A Bulk result's sf__Error, 'CODE:words:fields --', as an error array."""
    code, _, words = text.partition(":")
    return [{"statusCode": code.strip(), "message": words.strip()}]


def is_success(errors: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether an array of errors is none: empty, or the OPERATION_ENQUEUED of a platform event."""
    return all(code == "OPERATION_ENQUEUED" for code, _ in errors_of(errors))


def _row_of(status: int, errors: list[tuple[str, str]]) -> Row:
    if status == httpx.codes.UNAUTHORIZED:
        return _EXPIRED
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return THROTTLED
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        row = _coded(errors) if errors else SERVER_ERROR
        return row if row.kind is Kind.BUSY or row is _LOCKED else SERVER_ERROR
    if not errors or status < httpx.codes.BAD_REQUEST:
        return UNCLEAR
    row = _coded(errors)
    return FORBIDDEN if row is REFUSED and status == httpx.codes.FORBIDDEN else row


def _coded(errors: Iterable[tuple[str, str]]) -> Row:
    """The line of the first error that the table has; a lock within a trigger is a lock."""
    rows = []
    for code, words in errors:
        if _LOCKED.when in words:
            return _LOCKED
        rows.append(_BY_CODE.get(code, REFUSED))
    return next((row for row in rows if row is not REFUSED), REFUSED)


def _words(errors: list[tuple[str, str]]) -> str:
    return "; ".join(f"{code}: {words}" if words else code for code, words in errors)
