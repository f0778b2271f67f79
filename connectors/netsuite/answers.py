"""What NetSuite's answers mean.

Form (R): 400, `application/vnd.oracle.resource+json; type=error`, and in `o:errorDetails` the
code and the words. Help, Error Handling in REST Web Services: 4xx is the request's fault, 5xx
the system's. What only third parties tell of is marked (3), and is unverified.
"""

from __future__ import annotations

from typing import Any

import httpx

from connectors.answers import Kind, Row, json_of, row_by_status, text_of, transport_row
from connectors.base import Reply
from connectors.speech import Speech

NAME = "netsuite"
_HELP = "NetSuite help, Error Handling in REST Web Services"
_THIRD = "(3) other clients' sources; unverified"


def _row(kind: Kind, reason: str, when: str, source: str, advice: str = "") -> Row:
    return Row(kind=kind, code=f"{NAME}.{reason}", when=when, source=source, advice=advice)


_RIGHTS = "check the integration's role: REST Web Services, SuiteAnalytics Workbook, Cases"
CODES = (
    _row(Kind.REFUSED, "refused", "USER_ERROR", "recordings (R)"),
    _row(Kind.REFUSED, "content", "INVALID_CONTENT", _HELP, "check the names of custom fields"),
    _row(Kind.REFUSED, "parameter", "INVALID_PARAMETER", _HELP),
    _row(Kind.REFUSED, "header", "INVALID_HEADER", _HELP),
    _row(Kind.REFUSED, "no_such_id", "NONEXISTENT_ID", _HELP, "what it points at is not there"),
    _row(Kind.REFUSED, "gone", "RCRD_DSNT_EXIST", _THIRD, "the record is not there any more"),
    _row(Kind.HELD, "changed_meanwhile", "RCRD_HAS_BEEN_CHANGED", _THIRD),
    _row(Kind.EXPIRED, "login", "INVALID_LOGIN", _HELP, "check credentials, role and clock"),
    _row(Kind.BUSY, "permission", "INSUFFICIENT_PERMISSION", _HELP, _RIGHTS),
    _row(Kind.BUSY, "concurrency", "CONCURRENCY_LIMIT_EXCEEDED", "(3) 429 without Retry-After"),
    _row(Kind.BUSY, "request_limit", "SSS_REQUEST_LIMIT_EXCEEDED", _THIRD),
    _row(Kind.FAILED, "unexpected_error", "UNEXPECTED_ERROR", _HELP),
)
REFUSED_OTHERWISE = _row(Kind.REFUSED, "refused_otherwise", "400 or 404 with any other code", _HELP)
STATUSES = (
    _row(Kind.EXPIRED, "unauthorized", "401", _HELP, "check credentials, role and clock"),
    _row(Kind.BUSY, "forbidden", "403", _HELP, _RIGHTS),
    _row(Kind.BUSY, "too_many_requests", "429", "(3)"),
    _row(Kind.FAILED, "server_error", "500", _HELP),
    _row(Kind.FAILED, "bad_gateway", "502", _HELP),
    _row(Kind.BUSY, "unavailable", "503", _HELP),
    _row(Kind.FAILED, "gateway_timeout", "504", _HELP),
)
IGNORED = _row(
    Kind.REFUSED,
    "fields_ignored",
    "2xx with X-NetSuite-PropertyValidation",
    "recordings (R)",
    "the record is there without those fields: mend the names in the settings, then replay",
)
UNREADABLE = _row(Kind.UNCLEAR, "unreadable", "a success that is not of the form told", _HELP)
RUNNING = _row(
    Kind.UNCLEAR,
    "job_running",
    "a job that is not completed after so many looks",
    "NetSuite help, Polling for the Status of a Completed Asynchronous Request",
)
QUERY = _row(
    Kind.BUSY,
    "query_refused",
    "400 for a SuiteQL query",
    "NetSuite help, Executing SuiteQL Queries Through REST Web Services",
    "check the record type, the names of custom fields and the role's right to SuiteAnalytics",
)
NO_QUERY = _row(
    Kind.BUSY,
    "no_query",
    "404 for a SuiteQL query",
    "NetSuite help, Executing SuiteQL Queries Through REST Web Services",
    "what is raised goes without it; check the address and the account's features",
)
DUPLICATE = _row(
    Kind.RACED,
    "same_job",
    "IDEMPOTENCY_ERROR",
    "NetSuite help, Using the Idempotency Key; its Location is followed to the earlier job",
)
NO_RECORD = _row(
    Kind.REFUSED,
    "no_record",
    "a look-up that does not find what is to be changed",
    "this connector; final for a clear",
)
BUSY_S = 1.0
"""Wait after 429, which comes without Retry-After: places are free when other requests end."""
REFUSES = frozenset({httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND})


def trouble(reply: Reply) -> Row:
    """What an answer that is no success means.

    Statuses that refuse count only in NetSuite's own words: a page of some proxy refuses nothing.
    """
    if isinstance(reply, httpx.TransportError):
        return transport_row(NAME, reply)
    code = code_of(reply)
    if code and not reply.is_success:
        for row in CODES:
            if row.when == code:
                return row
        if reply.status_code in REFUSES:
            return REFUSED_OTHERWISE
    if reply.is_success:
        return UNREADABLE
    return row_by_status(STATUSES, reply.status_code, NAME)


def ignored(reply: httpx.Response) -> str:
    """The properties that a success says it left out; '' where it says nothing of the kind."""
    return str(reply.headers.get("x-netsuite-propertyvalidation", "")).strip()


def code_of(reply: Reply) -> str:
    """NetSuite's own code, of the first detail; '' where there is none."""
    return text_of(_detail(reply).get("o:errorCode"), 64) or ""


def words(reply: Reply) -> str:
    """What NetSuite says to a person."""
    if isinstance(reply, httpx.Response) and reply.is_success and (names := ignored(reply)):
        return names
    detail = _detail(reply)
    path = text_of(detail.get("o:errorPath"), 64)
    said = text_of(detail.get("detail")) or code_of(reply)
    return f"{path}: {said}" if path and said else said


class Words(Speech):
    """How NetSuite's answers are told; 429 says no time, so we do."""

    def wish(self, reply: Reply) -> float | None:
        """The answer's Retry-After, seconds."""
        told = super().wish(reply)
        limited = isinstance(reply, httpx.Response) and reply.status_code == 429  # noqa: PLR2004
        return BUSY_S if limited and told is None else told


def _detail(reply: Reply) -> dict[str, Any]:
    body = json_of(reply) if isinstance(reply, httpx.Response) else None
    details = body.get("o:errorDetails") if isinstance(body, dict) else None
    first = details[0] if isinstance(details, list) and details else None
    return first if isinstance(first, dict) else {}
