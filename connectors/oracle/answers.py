"""What Oracle Fusion's answers mean (D; the weakest evidence of all connectors).

Errors are `{"title", "status", "detail", "o:errorCode"}`, with details in `o:errorDetails` from
REST-Framework-Version 4 on. Codes are the application's own and many: the status decides.
"""

from __future__ import annotations

from typing import Any

import httpx

from connectors.answers import Kind, Row, json_of, row_by_status, text_of, transport_row
from connectors.base import Reply

NAME = "oracle"
_DOC = "Oracle REST API for Supply Chain, Status Codes (D)"
_RIGHTS = "check the user's or application's roles for Maintenance Management"


def _row(kind: Kind, reason: str, when: str, source: str = _DOC, advice: str = "") -> Row:
    return Row(kind=kind, code=f"{NAME}.{reason}", when=when, source=source, advice=advice)


STATUSES = (
    _row(Kind.REFUSED, "refused", "400"),
    _row(Kind.EXPIRED, "login", "401", advice="check user, password or token, and its roles"),
    _row(Kind.BUSY, "permission", "403", advice=_RIGHTS),
    _row(Kind.REFUSED, "not_found", "404"),
    _row(Kind.HELD, "conflict", "409"),
    _row(Kind.RACED, "changed_meanwhile", "412", "ADF REST, stale ETag (D)"),
    _row(Kind.BUSY, "too_many_requests", "429"),
    _row(Kind.FAILED, "server_error", "500"),
    _row(Kind.FAILED, "bad_gateway", "502"),
    _row(Kind.BUSY, "unavailable", "503", "maintenance windows: may last hours (D)"),
    _row(Kind.FAILED, "gateway_timeout", "504"),
)
UNREADABLE = _row(Kind.UNCLEAR, "unreadable", "a success that is not of the form told")
MISSING = _row(Kind.UNCLEAR, "part_missing", "a batch's answer without one of its parts")
QUERY = _row(
    Kind.BUSY,
    "query_refused",
    "400 or 404 for a query",
    advice="check that the reference field can be filtered by q=",
)
NO_RECORD = _row(
    Kind.REFUSED,
    "no_record",
    "a look-up that does not find what is to be changed",
    "this connector; final for a clear",
)
_OWN_WORDS = frozenset({"400", "404", "409", "412"})
"""Statuses that say something of one record: only in Oracle's own form, not in a proxy's page."""


def trouble(reply: Reply) -> Row:
    """What an answer that is no success means."""
    if isinstance(reply, httpx.TransportError):
        return transport_row(NAME, reply)
    if reply.is_success:
        return UNREADABLE
    row = row_by_status(STATUSES, reply.status_code, NAME)
    if row.when in _OWN_WORDS and not _error(reply):
        return row_by_status((), reply.status_code, NAME)
    return row


def words(reply: Reply) -> str:
    """What Oracle says to a person."""
    error = _error(reply) if isinstance(reply, httpx.Response) else {}
    code = text_of(error.get("o:errorCode"), 64)
    said = text_of(error.get("detail")) or text_of(error.get("title")) or ""
    return f"{code}: {said}" if code and said else said or code or ""


def _error(reply: httpx.Response) -> dict[str, Any]:
    """The first detail where there are details, else the error itself; {} where it is none."""
    body = json_of(reply)
    if not isinstance(body, dict) or not ({"title", "detail", "o:errorCode"} & body.keys()):
        return {}
    details = body.get("o:errorDetails")
    first = details[0] if isinstance(details, list) and details else None
    return first if isinstance(first, dict) and first.get("detail") else body
