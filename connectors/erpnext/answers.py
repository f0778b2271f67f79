"""What ERPNext's answers mean. Types and statuses: frappe/exceptions.py (S in wire-formats).

An error names its exception: `exc_type` under /api/resource, `errors[0].type` in version 2 of
the API (frappe/utils/response.py, report_error). What is rolled back then was not taken.
"""

from __future__ import annotations

from typing import Any

import httpx
import orjson

from connectors.answers import Kind, Row, json_of, row_by_status, text_of, transport_row
from connectors.base import Reply

NAME = "erpnext"
_SOURCE = "frappe/exceptions.py"


def _row(kind: Kind, reason: str, when: str, advice: str = "") -> Row:
    return Row(kind=kind, code=f"{NAME}.{reason}", when=when, source=_SOURCE, advice=advice)


_CREDENTIALS = "check ERPNEXT_API_KEY, ERPNEXT_API_SECRET and the user's roles"
TYPES = (
    _row(Kind.RACED, "exists", "DuplicateEntryError"),
    _row(Kind.REFUSED, "no_record", "DoesNotExistError", "the document is not there"),
    _row(Kind.REFUSED, "mandatory", "MandatoryError"),
    _row(Kind.REFUSED, "link", "LinkValidationError", "the document it points at is not there"),
    _row(Kind.REFUSED, "too_long", "CharacterLengthExceededError"),
    _row(Kind.REFUSED, "submitted", "UpdateAfterSubmitError"),
    _row(Kind.HELD, "changed_meanwhile", "TimestampMismatchError"),
    _row(Kind.HELD, "locked", "DocumentLockedError"),
    _row(Kind.HELD, "deadlock", "QueryDeadlockError"),
    _row(Kind.HELD, "lock_timeout", "QueryTimeoutError"),
    _row(Kind.BUSY, "read_only", "InReadOnlyMode"),
)
STATUSES = (
    _row(Kind.BUSY, "credentials", "401", _CREDENTIALS),
    _row(Kind.BUSY, "permission", "403", _CREDENTIALS),
    _row(Kind.BUSY, "not_found", "404", "it is no word of ERPNext: check ERPNEXT_URL"),
    _row(Kind.REFUSED, "validation", "417"),
    _row(Kind.BUSY, "rate_limit", "429"),
    _row(Kind.FAILED, "server_error", "500"),
    _row(Kind.FAILED, "bad_gateway", "502"),
    _row(Kind.BUSY, "unavailable", "503"),
    _row(Kind.FAILED, "gateway_timeout", "504"),
)
BROKEN = _row(Kind.UNCLEAR, "unreadable", "a success that is not the document")


def document(reply: Reply, name: str) -> dict[str, Any] | Row:
    """The document of that name that an answer shows, or what the answer means instead."""
    if row := trouble(reply):
        return row
    fields = _fields(reply)
    data = fields.get("data")
    return data if isinstance(data, dict) and data.get("name") == name else BROKEN


def trouble(reply: Reply) -> Row | None:
    """What an answer means that is no success; None for one that is."""
    if isinstance(reply, httpx.TransportError):
        return transport_row(NAME, reply)
    if reply.status_code == httpx.codes.OK:
        return None
    kind = _type(_fields(reply))
    return next((row for row in TYPES if row.when == kind), None) or row_by_status(
        STATUSES, reply.status_code, NAME
    )


def words(reply: Reply) -> str:
    """What ERPNext says to a person."""
    fields = _fields(reply)
    error = _first(fields.get("errors"))
    told = (error.get("message"), fields.get("exception"), _message(fields), _type(fields))
    return next(filter(None, map(text_of, told)), "")


def _fields(reply: Reply) -> dict[str, Any]:
    body = json_of(reply) if isinstance(reply, httpx.Response) else None
    return body if isinstance(body, dict) else {}


def _type(fields: dict[str, Any]) -> str:
    return text_of(_first(fields.get("errors")).get("type") or fields.get("exc_type")) or ""


def _message(fields: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """What it shows to a person: JSON within JSON (frappe/utils/response.py, _make_logs_v1)."""
    return _first(_parsed(fields.get("_server_messages"))).get("message")


def _first(many: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    first = many[0] if isinstance(many, list) and many else None
    first = _parsed(first) if isinstance(first, str) else first
    return first if isinstance(first, dict) else {}


def _parsed(text: Any) -> Any:  # noqa: ANN401 - JSON
    try:
        return orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        return None
