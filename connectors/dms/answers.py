"""What a repository's answers mean.

CMIS: exceptions and their statuses, CMIS 1.1, 2.2.1.4 and 5.2.10 (as Apache Chemistry's server
sends them, CmisBrowserBindingServlet). WebDAV: RFC 4918 and RFC 9110; a 207 hides each
property's own status in its body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from connectors.answers import Kind, Row, json_of, row_by_status, text_of, transport_row
from connectors.base import Reply

NAME = "dms"
_CMIS = "CMIS 1.1, 2.2.1.4"
_DAV = "RFC 4918, 11; RFC 9110, 15"
_HTTP = "RFC 9110, 15"


def _row(kind: Kind, reason: str, when: str, source: str, advice: str = "") -> Row:
    return Row(kind=kind, code=f"{NAME}.{reason}", when=when, source=source, advice=advice)


_USER = "check the user and its rights in the folder"
EXCEPTIONS = (
    _row(Kind.REFUSED, "invalid_argument", "invalidArgument", _CMIS, "check types and properties"),
    _row(Kind.REFUSED, "object_not_found", "objectNotFound", _CMIS, "check the folder"),
    _row(Kind.REFUSED, "constraint", "constraint", _CMIS),
    _row(Kind.REFUSED, "stream", "streamNotSupported", _CMIS, "the type takes no content"),
    _row(Kind.RACED, "name_taken", "nameConstraintViolation", _CMIS),
    _row(Kind.RACED, "content_there", "contentAlreadyExists", _CMIS),
    _row(Kind.RACED, "update_conflict", "updateConflict", _CMIS),
    _row(Kind.RACED, "versioning", "versioning", _CMIS),
    _row(Kind.BUSY, "permission", "permissionDenied", _CMIS, _USER),
    _row(Kind.BUSY, "not_supported", "notSupported", _CMIS, "check what the repository can do"),
    _row(Kind.BUSY, "storage", "storage", _CMIS, "check the space of the repository"),
    _row(Kind.FAILED, "runtime", "runtime", _CMIS),
)
STATUSES = (
    _row(Kind.EXPIRED, "unauthorized", "401", _HTTP, "check user and password, or the client"),
    _row(Kind.BUSY, "forbidden", "403", _HTTP, _USER),
    _row(Kind.REFUSED, "too_large", "413", _HTTP),
    _row(Kind.BUSY, "rate_limit", "429", "RFC 6585, 4"),
    _row(Kind.FAILED, "server_error", "500", _HTTP),
    _row(Kind.FAILED, "bad_gateway", "502", _HTTP),
    _row(Kind.BUSY, "unavailable", "503", _HTTP),
    _row(Kind.FAILED, "gateway_timeout", "504", _HTTP),
)
DAV_STATUSES = (
    *STATUSES,
    _row(Kind.REFUSED, "bad_request", "400", _DAV),
    _row(Kind.REFUSED, "not_found", "404", _DAV, "check the address"),
    _row(Kind.BUSY, "method", "405", _DAV, "the address is no WebDAV collection"),
    _row(Kind.RACED, "collection_missing", "409", _DAV, "check the collection"),
    _row(Kind.RACED, "there", "412", _DAV),
    _row(Kind.REFUSED, "media_type", "415", _DAV),
    _row(Kind.HELD, "locked", "423", _DAV, "somebody has it open"),
    _row(Kind.HELD, "failed_dependency", "424", _DAV),
    _row(Kind.BUSY, "full", "507", _DAV, "check the space of the store"),
)
BROKEN = _row(Kind.UNCLEAR, "unreadable", "a success that does not say what it must", _CMIS)
RENAMED = _row(
    Kind.REFUSED,
    "renamed",
    "a new document with another name than was asked for",
    "CMIS 1.1, 2.2.4.1 leaves names to the repository",
    "the repository renames what is there already: delete the copy and have names kept unique",
)
CHECKED_OUT = _row(
    Kind.HELD, "checked_out", "the document is checked out by somebody else", "CMIS 1.1, 2.2.7"
)
NO_REPOSITORY = _row(
    Kind.BUSY,
    "repository",
    "the service document without our repository",
    "CMIS 1.1, 5.3.1",
    "check DMS_URL and DMS_REPOSITORY",
)
NO_RECORD = _row(Kind.REFUSED, "no_record", "the document of a change is not there", _CMIS)


def trouble(reply: Reply, good: Sequence[int]) -> Row | None:
    """What a CMIS answer means whose status is not among those; None for one that is."""
    if isinstance(reply, httpx.TransportError):
        return transport_row(NAME, reply)
    if reply.status_code in good:
        return None
    told = exception(reply)
    named = next((row for row in EXCEPTIONS if row.when == told), None)
    return named if named and reply.is_error else row_by_status(STATUSES, reply.status_code, NAME)


def dav_trouble(reply: Reply, good: Sequence[int]) -> Row | None:
    """The same of WebDAV."""
    if isinstance(reply, httpx.TransportError):
        return transport_row(NAME, reply)
    if reply.status_code in good:
        return None
    return row_by_status(DAV_STATUSES, reply.status_code, NAME)


def dav_row(status: int) -> Row:
    """What a status within a 207 means."""
    return row_by_status(DAV_STATUSES, status, NAME)


def exception(reply: Reply) -> str:
    """The name of the CMIS exception that an answer tells of."""
    return text_of(fields_of(reply).get("exception")) or ""


def words(reply: Reply) -> str:
    """What the repository says to a person."""
    return text_of(fields_of(reply).get("message")) or ""


def fields_of(reply: Reply) -> dict[str, Any]:
    """The answer's JSON object; empty where it is none."""
    body = json_of(reply) if isinstance(reply, httpx.Response) else None
    return body if isinstance(body, dict) else {}


def properties_of(reply: Reply) -> dict[str, Any] | None:
    """The object that an answer shows in succinct form (CMIS 1.1, 5.2.11)."""
    told = fields_of(reply).get("succinctProperties")
    return told if isinstance(told, dict) else None
