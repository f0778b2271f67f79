"""What Odoo's answers mean. Pure.

Odoo rolls a call back that ends in an exception (service/model.py, `retrying`), so every error
with an exception's name says that nothing was written. JSON-2 gives the name with a status
(http.py, Json2Dispatcher.handle_error), JSON-RPC under `error.data` with HTTP 200
(JsonRPCDispatcher). `load` gives no name at all: a list of sentences, see `message_row`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx

from connectors.answers import Kind, Row, json_of, row_by_status, text_of, transport_row
from connectors.base import Reply

NAME = "odoo"
_NAMES, _HTTP, _LOAD = "odoo/exceptions.py", "odoo/http.py", "odoo/orm/models.py, load"


def _row(kind: Kind, reason: str, when: str, source: str, advice: str = "") -> Row:
    return Row(kind=kind, code=f"{NAME}.{reason}", when=when, source=source, advice=advice)


_CREDENTIALS = "check ODOO_API_KEY, its end, and ODOO_USERNAME"
_RIGHTS = "give the key's user the right to create and change maintenance requests and equipment"
_THERE = "check ODOO_URL, ODOO_DATABASE, and that the module Maintenance is installed"
EXCEPTIONS = (
    _row(Kind.BUSY, "credentials", "odoo.exceptions.AccessDenied", _NAMES, _CREDENTIALS),
    _row(Kind.BUSY, "credentials", "werkzeug.exceptions.Unauthorized", _HTTP, _CREDENTIALS),
    _row(Kind.BUSY, "credentials", "odoo.http.SessionExpiredException", _HTTP, _CREDENTIALS),
    _row(Kind.BUSY, "no_rights", "odoo.exceptions.AccessError", _NAMES, _RIGHTS),
    _row(Kind.REFUSED, "refused", "odoo.exceptions.UserError", _NAMES),
    _row(Kind.REFUSED, "refused", "odoo.exceptions.RedirectWarning", _NAMES),
    _row(Kind.REFUSED, "refused", "odoo.exceptions.ValidationError", _NAMES),
    _row(Kind.HELD, "vanished", "odoo.exceptions.MissingError", _NAMES),
    _row(Kind.HELD, "locked", "odoo.exceptions.LockError", f"{_NAMES}, HTTP 409"),
    _row(Kind.HELD, "locked", "odoo.exceptions.ConcurrencyError", _NAMES),
    _row(Kind.HELD, "locked", "psycopg2.errors.SerializationFailure", "service/model.py"),
    _row(Kind.HELD, "locked", "psycopg2.errors.LockNotAvailable", "service/model.py"),
    _row(Kind.HELD, "locked", "psycopg2.errors.DeadlockDetected", "service/model.py"),
    _row(Kind.BUSY, "not_found", "werkzeug.exceptions.NotFound", _HTTP, _THERE),
    _row(Kind.BUSY, "arguments", "werkzeug.exceptions.UnprocessableEntity", _HTTP, _THERE),
    _row(Kind.BUSY, "arguments", "werkzeug.exceptions.BadRequest", _HTTP, _THERE),
    _row(Kind.BUSY, "forbidden", "werkzeug.exceptions.Forbidden", _HTTP, _THERE),
)
FAULT = _row(Kind.FAILED, "fault", "any other exception's name", _HTTP)
STATUSES = (
    *(
        _row(Kind.BUSY, "redirect", str(status), "a proxy; never followed", "check ODOO_URL")
        for status in (301, 302, 303, 307, 308)
    ),
    _row(Kind.BUSY, "arguments", "400", _HTTP, _THERE),
    _row(Kind.BUSY, "credentials", "401", _HTTP, _CREDENTIALS),
    _row(Kind.BUSY, "forbidden", "403", _HTTP, _THERE),
    _row(Kind.BUSY, "not_found", "404", _HTTP, _THERE),
    _row(Kind.HELD, "locked", "409", f"{_NAMES}, LockError"),
    _row(Kind.REFUSED, "too_large", "413", "a proxy, or Odoo's limit on a body"),
    _row(Kind.REFUSED, "refused", "422", _NAMES),
    _row(Kind.BUSY, "rate_limit", "429", "a proxy; Odoo itself has no limit"),
    _row(Kind.FAILED, "server_error", "500", _HTTP),
    _row(Kind.FAILED, "bad_gateway", "502", "a proxy"),
    _row(Kind.BUSY, "unavailable", "503", "Odoo while its registry loads, or a proxy"),
    _row(Kind.FAILED, "gateway_timeout", "504", "a proxy"),
)
UNREADABLE = _row(Kind.UNCLEAR, "unreadable", "200 that is not what the method gives", _HTTP)
REFUSED_ROW = _row(Kind.REFUSED, "refused", "a message of type 'error'", _LOAD)
LOCKED_ROW = _row(Kind.HELD, "locked", "a message with PostgreSQL's words for a lock", _LOAD)
BROKEN_ROW = _row(
    Kind.HELD, "import_failed", "a message 'Unknown error during import'", _LOAD, "see Odoo's log"
)
SKIPPED_ROW = _row(Kind.HELD, "skipped", "an id fewer than rows, and no error", _LOAD)
NO_RIGHTS = _row(Kind.BUSY, "no_rights", "has_access says false", "odoo/orm/models.py", _RIGHTS)
NO_STAGE = _row(
    Kind.BUSY,
    "no_stage",
    "no stage with the setting's external id",
    "odoo/addons/base/models/ir_model.py",
    "set ODOO_OPEN_STAGE and ODOO_DONE_STAGE to external ids of stages",
)
_DATA = "odoo/addons/base/models/ir_model.py"
NO_RECORD = _row(Kind.REFUSED, "no_record", "no request with the external id", _DATA)
NO_EQUIPMENT = _row(
    Kind.REFUSED, "no_equipment", "no equipment with the identity map's external id", _DATA
)
ROWS = (
    *(*EXCEPTIONS, FAULT, *STATUSES, UNREADABLE),
    *(REFUSED_ROW, LOCKED_ROW, BROKEN_ROW, SKIPPED_ROW, NO_RIGHTS, NO_STAGE),
    *(NO_RECORD, NO_EQUIPMENT),
)
_LOCKS = re.compile(
    r"could not serialize access|deadlock detected|could not obtain lock|concurrent update"
)
_UNFORESEEN = "Unknown error during import"


@dataclass(frozen=True, slots=True)
class Value:
    """A call that Odoo did, and the method's value, as JSON gives it: still to be validated."""

    value: Any


@dataclass(frozen=True, slots=True)
class Trouble:
    """A call that gave no value."""

    row: Row
    reply: Reply


def read_json2(reply: Reply) -> Value | Trouble:
    """The bare value of a JSON-2 call."""
    if isinstance(reply, httpx.TransportError):
        return Trouble(transport_row(NAME, reply), reply)
    body = json_of(reply)
    if reply.status_code == httpx.codes.OK:
        if body is None and reply.content != b"null":
            return Trouble(UNREADABLE, reply)
        return Value(body)
    name = body.get("name") if isinstance(body, dict) else None
    return Trouble(_named(name, reply.status_code), reply)


def read_jsonrpc(reply: Reply) -> Value | Trouble:
    """`result` of a JSON-RPC call, None where it is left out, which is how Odoo says None."""
    if isinstance(reply, httpx.TransportError):
        return Trouble(transport_row(NAME, reply), reply)
    if reply.status_code != httpx.codes.OK:
        return Trouble(row_by_status(STATUSES, reply.status_code, NAME), reply)
    body = json_of(reply)
    if not isinstance(body, dict) or "jsonrpc" not in body:
        return Trouble(UNREADABLE, reply)
    if "error" not in body:
        return Value(body.get("result"))
    data = _data(body)
    return Trouble(_named(data.get("name"), 0), reply)


def message_row(said: str) -> Row:
    """What a sentence of `load` about one row means; they are English, for we ask for en_US."""
    if _LOCKS.search(said):
        return LOCKED_ROW
    return BROKEN_ROW if said.startswith(_UNFORESEEN) else REFUSED_ROW


def words(reply: Reply) -> str:
    """What Odoo says to a person. Never `debug`: it is a traceback."""
    body = json_of(reply) if isinstance(reply, httpx.Response) else None
    if not isinstance(body, dict):
        return ""
    said = (_data(body) if "error" in body else body).get("message")
    return text_of(said) or ""


def _named(name: Any, status: int) -> Row:  # noqa: ANN401 - JSON
    known = next((row for row in EXCEPTIONS if row.when == name), None)
    if known is not None:
        return known
    if isinstance(name, str) and name and status in {0, httpx.codes.INTERNAL_SERVER_ERROR}:
        return FAULT
    return row_by_status(STATUSES, status, NAME) if status else FAULT


def _data(body: dict[str, Any]) -> dict[str, Any]:
    error = body.get("error")
    data = error.get("data") if isinstance(error, dict) else None
    return data if isinstance(data, dict) else {}
