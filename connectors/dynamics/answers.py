"""What Dataverse's answers mean.

Names of codes: Microsoft Learn, 'Web service error codes'; statuses: 'Compose HTTP requests and
handle errors'; limits: 'Service protection API limits'. `code` in an answer is often empty
(conditional requests), so the status decides where no code is known.
"""

from __future__ import annotations

import re
from typing import Any

import httpx

from connectors.answers import Kind, Row, json_of, row_by_status, text_of, transport_row
from connectors.base import Reply

NAME = "dynamics"
_CODES = "Microsoft Learn: Dataverse web service error codes"
_STATUSES = "Microsoft Learn: Compose HTTP requests and handle errors"
_LIMITS = "Microsoft Learn: Service protection API limits"
GOOD = frozenset({httpx.codes.OK, httpx.codes.CREATED, httpx.codes.NO_CONTENT})


def _row(kind: Kind, reason: str, when: str, advice: str = "", source: str = _CODES) -> Row:
    return Row(kind=kind, code=f"{NAME}.{reason}", when=when, source=source, advice=advice)


_RIGHTS = "check the application user and its security roles"
_SETUP = "check DYNAMICS_ENTITY_SET and DYNAMICS_KEY_ATTRIBUTE, and that the key is active"
CODES = (
    _row(Kind.BUSY, "requests_limit", "0x80072322", source=_LIMITS),
    _row(Kind.BUSY, "time_limit", "0x80072321", source=_LIMITS),
    _row(Kind.BUSY, "concurrency_limit", "0x80072326", source=_LIMITS),
    _row(Kind.RACED, "duplicate", "0x80040237"),
    _row(Kind.RACED, "duplicate_key", "0x80060892"),
    _row(Kind.RACED, "changed_meanwhile", "0x80060882"),
    _row(Kind.RACED, "resolved", "0x800404cf"),
    _row(Kind.REFUSED, "reference", "0x80040217", "what the record points at is not there"),
    _row(Kind.REFUSED, "reference_key", "0x80060891", "no row has that key"),
    _row(Kind.REFUSED, "too_long", "0x80044331"),
    _row(Kind.REFUSED, "choice", "0x8004431a"),
    _row(Kind.REFUSED, "payload", "0x80048d19", "check that every column of the mapping is there"),
    _row(Kind.REFUSED, "argument", "0x80040203"),
    _row(Kind.REFUSED, "plugin", "0x80040265", "a plug-in of the environment refuses it"),
    _row(Kind.HELD, "plugin_failed", "0x80040224"),
    _row(Kind.HELD, "unexpected", "0x80040216"),
    _row(Kind.HELD, "database", "0x80044150"),
    _row(Kind.HELD, "database_timeout", "0x80044151"),
    _row(Kind.BUSY, "privilege", "0x80040220", _RIGHTS),
    _row(Kind.BUSY, "privilege_of_role", "0x80048306", _RIGHTS),
    _row(Kind.BUSY, "no_member", "0x80072560", _RIGHTS),
    _row(Kind.BUSY, "setup", "0x8006088a", _SETUP),
    _row(Kind.BUSY, "setup_key", "0x80060888", _SETUP),
)
STATUSES = (
    _row(Kind.REFUSED, "refused", "400", "", _STATUSES),
    _row(Kind.EXPIRED, "token", "401", "check client id, secret and tenant", _STATUSES),
    _row(Kind.BUSY, "forbidden", "403", _RIGHTS, _STATUSES),
    _row(Kind.REFUSED, "not_found", "404", "", _STATUSES),
    _row(Kind.RACED, "precondition", "412", "", _STATUSES),
    _row(Kind.REFUSED, "too_large", "413", "", _STATUSES),
    _row(Kind.BUSY, "rate_limit", "429", "", _LIMITS),
    _row(Kind.FAILED, "server_error", "500", "", _STATUSES),
    _row(Kind.FAILED, "bad_gateway", "502", "", _STATUSES),
    _row(Kind.BUSY, "unavailable", "503", "", _STATUSES),
    _row(Kind.FAILED, "gateway_timeout", "504", "", _STATUSES),
)
NO_RECORD = _row(Kind.REFUSED, "no_record", "404 on the record of a change", "", _STATUSES)
BROKEN = _row(Kind.UNCLEAR, "unreadable", "a success that does not say what it must", "", _STATUSES)
_ABSENT = frozenset({"", "0x80040217", "0x80060891"})
_SPOKEN = frozenset({400, 404})
"""Statuses that are Dataverse's word only with an OData error in the body."""
_ENTITY = re.compile(r"\(([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\)")


def trouble(reply: Reply) -> Row | None:
    """What an answer means that is no success; None for one that is."""
    if isinstance(reply, httpx.TransportError):
        return transport_row(NAME, reply)
    if reply.status_code in GOOD:
        return None
    error = _error(reply)
    code = (text_of((error or {}).get("code")) or "").lower()
    named = next((row for row in CODES if row.when == code), None)
    if named is not None and reply.is_error:
        return named
    spoken = error is not None or reply.status_code not in _SPOKEN
    return row_by_status(STATUSES if spoken else (), reply.status_code, NAME)


def absent(reply: Reply) -> bool:
    """Whether Dataverse itself says that the row asked for is not there."""
    if isinstance(reply, httpx.TransportError) or reply.status_code != httpx.codes.NOT_FOUND:
        return False
    error = _error(reply)
    return error is not None and (text_of(error.get("code")) or "").lower() in _ABSENT


def row_of(reply: Reply) -> dict[str, Any] | None:
    """The row that a success shows."""
    body = json_of(reply) if isinstance(reply, httpx.Response) else None
    return body if isinstance(body, dict) else None


def id_of(reply: Reply, attribute: str) -> str | None:
    """The id of the row that a write made or changed: from the body, else from OData-EntityId."""
    if isinstance(reply, httpx.TransportError):
        return None
    told = text_of((row_of(reply) or {}).get(attribute))
    if told is None and reply.status_code == httpx.codes.NO_CONTENT:
        found = _ENTITY.search(reply.headers.get("odata-entityid", "")[:2_048])
        told = found[1] if found else None
    return told


def words(reply: Reply) -> str:
    """What Dataverse says to a person."""
    error = _error(reply) or {}
    return text_of(error.get("message")) or ""


def _error(reply: Reply) -> dict[str, Any] | None:
    error = (row_of(reply) or {}).get("error")
    return error if isinstance(error, dict) else None
