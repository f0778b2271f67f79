"""What a reply of Tryton means: three tables and one function over them. Pure.

A call ends in one of these ways (trytond 8.2, protocols/dispatcher.py `_dispatch`,
protocols/jsonrpc.py `JSONProtocol.response`, wsgi.py `dispatch_request`):

- 200 with `result`: done, and committed before the answer was written;
- 200 with `error: [name, ...]`: an exception inside the transaction, rolled back;
- another status, in HTML: werkzeug's `abort` before the call, or a proxy's words;
- no answer, or half of one: nobody knows.

`Kind` is what follows from it; outcome() and trouble() turn it into the driver's terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from connectors import answers as kit
from connectors.base import Effect, Reply
from pipeline.core.outcome import Rejected, Retryable, Scope, Unknown

ANSWER_MAX, RETRY_AFTER_MAX_S = kit.ANSWER_MAX, kit.RETRY_AFTER_MAX_S


class Kind(StrEnum):
    """What follows from a call that gave no result."""

    BUSINESS = "business"
    """Refused by a rule of the business, and rolled back: sending it again is no use."""
    CONFLICT = "conflict"
    """Rolled back because of somebody else's change to the same record: again, this item."""
    BUSY = "busy"
    """Certainly not taken, and no item is to blame: again when the system can."""
    EXPIRED = "expired"
    """Not taken, for want of a valid session: log in again, once."""
    FAULT = "fault"
    """Tryton's own failure inside the transaction, which is over: look whether it was taken."""
    UNCLEAR = "unclear"
    """A write may have been taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A call without result. `answer` holds Tryton's words, cut to ANSWER_MAX."""

    kind: Kind
    code: str
    message: str
    answer: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the tables below; `source` says where it is written."""

    kind: Kind
    code: str
    source: str

    def failure(self, why: str) -> Failure:
        """What we find out ourselves, not Tryton's own words: one sentence."""
        what = self.code.partition(".")[2].replace("_", " ")
        return Failure(kind=self.kind, code=self.code, message=f"Tryton: {what}: {why}.")


@dataclass(frozen=True, slots=True)
class Result:
    """A call with result, as JSON gives it."""

    value: Any


def _row(kind: Kind, code: str, source: str) -> Row:
    return Row(kind=kind, code=f"tryton.{code}", source=source)


ERRORS: Mapping[str, Row] = {
    "UserError": _row(Kind.BUSINESS, "user_error", "exceptions.UserError"),
    "UserWarning": _row(Kind.BUSINESS, "user_warning", "exceptions.UserWarning"),
    "ConcurrencyException": _row(Kind.CONFLICT, "concurrency", "exceptions.ConcurrencyException"),
    "LoginException": _row(Kind.BUSY, "credentials", "exceptions.LoginException"),
}
"""`error[0]` of a 200. Any other name is FAULT: str() of an exception that Tryton did not
foresee (JSONProtocol.response), e.g. a KeyError for a model that is not activated."""

OTHER_ERROR = _row(Kind.FAULT, "fault", "jsonrpc.JSONProtocol.response, isinstance(Exception)")

_REDIRECT = _row(Kind.BUSY, "redirect", "werkzeug strict_slashes, or a proxy; never followed")
_REQUEST = _row(Kind.BUSY, "refused", "werkzeug abort() before the method is called")

STATUSES: Mapping[int, Row] = {
    301: _REDIRECT,
    302: _REDIRECT,
    303: _REDIRECT,
    307: _REDIRECT,
    308: _REDIRECT,
    400: _REQUEST,
    401: _row(
        Kind.EXPIRED, "session", "wsgi.auth_required, session_valid: checked before the call"
    ),
    403: _row(Kind.BUSY, "forbidden", "dispatcher._dispatch: method not in __rpc__"),
    404: _row(Kind.BUSY, "no_database", "wrappers.with_pool; dispatcher.login (locked, or absent)"),
    405: _REQUEST,
    413: _row(Kind.BUSINESS, "too_large", "request.max_size_authenticated; RPC._check_size_limits"),
    415: _REQUEST,
    422: _row(Kind.BUSY, "refused", "rpc.RPC.convert: arguments unfit"),
    429: _row(Kind.BUSY, "rate_limit", "RateLimitException in login, or a proxy's limit"),
    500: _row(Kind.UNCLEAR, "server_error", "werkzeug or a proxy: no word on the transaction"),
    502: _row(Kind.UNCLEAR, "bad_gateway", "a proxy: the call may have gone through"),
    503: _row(Kind.UNCLEAR, "unavailable", "wsgi: DatabaseOperationalError, perhaps at commit"),
    504: _row(Kind.UNCLEAR, "gateway_timeout", "dispatcher: TimeOutException, or a proxy"),
}
"""Any other status is UNCLEAR."""

OTHER_STATUS = _row(Kind.UNCLEAR, "unexpected_status", "none: not a status that Tryton gives")
LOCKED = _row(Kind.BUSY, "locked", "503 that says SQLite's 'database is locked': never committed")
GARBLED = _row(Kind.UNCLEAR, "garbled", "200 that is no whole JSON-RPC answer")

NUMBER_RACE = _row(Kind.CONFLICT, "number_race", "project/message.xml, msg_work_number_unique")
NO_COMPANY = _row(Kind.BUSY, "no_company", "company/res.py, User.get_preferences")
NO_RIGHTS = _row(Kind.BUSY, "no_rights", "ir.model.access, get_access")
NO_DONE_STATUS = _row(Kind.BUSY, "no_done_status", "project/work.py, WorkStatus")
NO_OPEN_STATUS = _row(Kind.BUSY, "no_open_status", "project/work.py, WorkStatus")
NO_UNIT = _row(Kind.BUSY, "no_unit", "product/uom.xml")
TOO_MANY = _row(Kind.BUSY, "too_many", "more records than one search may give")
VANISHED = _row(Kind.CONFLICT, "vanished", "made, and not found by the search after it")
OTHER_CUSTOMER = _row(
    Kind.BUSINESS, "equipment_of_other_customer", "party of the project, and the registry's"
)
INACTIVE_CUSTOMER = _row(Kind.BUSINESS, "inactive_customer", "party.party, active")
NO_PRODUCT = _row(Kind.BUSINESS, "no_product", "product.product, code and salable")
_OURS: Mapping[str, Row] = {
    "UserError with Tryton's sentence for a number taken": NUMBER_RACE,
    "the user's companies": NO_COMPANY,
    "the user's rights": NO_RIGHTS,
    "no status of 100 % for tasks": NO_DONE_STATUS,
    "no default status for tasks": NO_OPEN_STATUS,
    "no unit of measure 'Unit'": NO_UNIT,
    "a search with too many records": TOO_MANY,
    "a record that is not found again": VANISHED,
    "equipment of another customer": OTHER_CUSTOMER,
    "a customer that is deactivated": INACTIVE_CUSTOMER,
    "a product that is not there, or not for sale": NO_PRODUCT,
}
"""What we find out by looking."""

_KINDS: Mapping[Kind, kit.Kind] = {
    Kind.BUSINESS: kit.Kind.REFUSED,
    Kind.CONFLICT: kit.Kind.HELD,
    Kind.BUSY: kit.Kind.BUSY,
    Kind.EXPIRED: kit.Kind.EXPIRED,
    Kind.FAULT: kit.Kind.HELD,  # after a look-up: the transaction is over
    Kind.UNCLEAR: kit.Kind.UNCLEAR,
}


def rows() -> tuple[kit.Row, ...]:
    """All tables, as `fieldline connectors contract` prints them."""
    tables = (
        *((f"error {name}", row) for name, row in ERRORS.items()),
        ("any other error", OTHER_ERROR),
        *((f"status {status}", row) for status, row in STATUSES.items()),
        ("503 'database is locked'", LOCKED),
        ("any other status", OTHER_STATUS),
        ("200 that cannot be read", GARBLED),
        *((kind.__name__, row) for kind, row in TRANSPORT.items()),
        *_OURS.items(),
    )
    return tuple(
        kit.Row(
            kind=_KINDS[row.kind],
            code=row.code,
            when=when,
            source=row.source,
            advice=_ADVICE.get(row.code, ""),
        )
        for when, row in tables
    )


IN_BAND = frozenset({Kind.BUSINESS, Kind.FAULT})
"""Kinds after which the transaction is over, so that a look-up tells the truth."""

_NOT_SENT = "httpx: before the request is written"
_CUT_OFF = "httpx: after writing began"

TRANSPORT: Mapping[type[httpx.TransportError], Row] = {
    httpx.ConnectError: _row(Kind.BUSY, "unreachable", _NOT_SENT),
    httpx.ConnectTimeout: _row(Kind.BUSY, "unreachable", _NOT_SENT),
    httpx.PoolTimeout: _row(Kind.BUSY, "no_connection_free", _NOT_SENT),
    httpx.ProxyError: _row(Kind.BUSY, "proxy", _NOT_SENT),
    httpx.UnsupportedProtocol: _row(Kind.BUSY, "refused", _NOT_SENT),
    httpx.ReadTimeout: _row(Kind.UNCLEAR, "timeout", _CUT_OFF),
    httpx.WriteTimeout: _row(Kind.UNCLEAR, "timeout", _CUT_OFF),
    httpx.ReadError: _row(Kind.UNCLEAR, "connection_lost", _CUT_OFF),
    httpx.WriteError: _row(Kind.UNCLEAR, "connection_lost", _CUT_OFF),
    httpx.CloseError: _row(Kind.UNCLEAR, "connection_lost", _CUT_OFF),
    httpx.RemoteProtocolError: _row(Kind.UNCLEAR, "connection_lost", _CUT_OFF),
    httpx.LocalProtocolError: _row(Kind.UNCLEAR, "connection_lost", _CUT_OFF),
    # Their parents, should httpx ever raise one itself.
    httpx.TimeoutException: _row(Kind.UNCLEAR, "timeout", _CUT_OFF),
    httpx.NetworkError: _row(Kind.UNCLEAR, "connection_lost", _CUT_OFF),
    httpx.ProtocolError: _row(Kind.UNCLEAR, "connection_lost", _CUT_OFF),
}
OTHER_TRANSPORT = _row(Kind.UNCLEAR, "connection_lost", "an error httpx did not have before")

_ADVICE: Mapping[str, str] = {
    "tryton.credentials": "Tryton refuses the login: check TRYTON_USER and TRYTON_PASSWORD",
    "tryton.session": "Tryton refuses a session it has just given: check its address and clock",
    "tryton.redirect": "Tryton's address answers with a redirect: set TRYTON_URL to where it is",
    "tryton.no_database": "Tryton does not open the database: check TRYTON_URL's last part",
    "tryton.forbidden": "Tryton does not offer the method: check its version and modules",
    "tryton.unreachable": "Tryton cannot be reached: check that it runs, and TRYTON_URL",
}


def read_reply(reply: Reply) -> Result | Failure:
    """The result, or what the failure means. Never raises on what a server may send."""
    if isinstance(reply, httpx.TransportError):
        row = TRANSPORT.get(type(reply), OTHER_TRANSPORT)
        return _failure(row, f"{type(reply).__name__} while calling Tryton")
    if reply.status_code == httpx.codes.OK:
        return _read_json(reply)
    row = STATUSES.get(reply.status_code, OTHER_STATUS)
    if reply.status_code == httpx.codes.SERVICE_UNAVAILABLE and "database is locked" in reply.text:
        row = LOCKED
    return _failure(
        row,
        f"Tryton answers with status {reply.status_code}",
        answer=reply.text or None,
        retry_after_s=_retry_after(reply),
    )


def outcome(failure: Failure, effect: Effect) -> Rejected | Retryable | Unknown:
    """What a failed call means for an event whose effect hung on it.

    A read or a keyed write may be repeated, so UNCLEAR and FAULT are only Retryable there;
    a FAULT in a keyed write counts against the item, for it may be its data that Tryton
    stumbles over.
    """
    code, message = failure.code, failure.message
    if effect is Effect.WRITE and failure.kind in {Kind.UNCLEAR, Kind.FAULT}:
        return Unknown(code=code, message=message)
    if effect is not Effect.READ and failure.kind is Kind.BUSINESS:
        return Rejected(code=code, message=message, answer=failure.answer)
    if effect is Effect.KEYED_WRITE and failure.kind is Kind.FAULT:
        return Retryable(code=code, message=message, scope=Scope.ITEM)
    return trouble(failure)


def trouble(failure: Failure) -> Retryable:
    """A failed read, or a call that was not taken. SYSTEM, unless one record is contended."""
    return Retryable(
        code=failure.code,
        message=failure.message,
        scope=Scope.ITEM if failure.kind is Kind.CONFLICT else Scope.SYSTEM,
        retry_after_s=failure.retry_after_s,
    )


def garbled() -> Failure:
    """A result that has not the shape the method gives."""
    return _failure(GARBLED, "Tryton's answer cannot be read")


def _failure(
    row: Row, what: str, answer: str | None = None, retry_after_s: float | None = None
) -> Failure:
    return Failure(
        kind=row.kind,
        code=row.code,
        message=f"{_ADVICE.get(row.code, what)}.",
        answer=answer[:ANSWER_MAX] if answer else None,
        retry_after_s=retry_after_s,
    )


def _read_json(reply: httpx.Response) -> Result | Failure:
    try:
        body = reply.json()
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict):
        if "result" in body and "error" not in body:
            return Result(body["result"])
        error = body.get("error")
        if isinstance(error, list) and error and isinstance(error[0], str):
            return _read_error(error)
    return _failure(GARBLED, "Tryton's answer cannot be read", answer=reply.text or None)


def _read_error(error: list[Any]) -> Failure:
    """`[name, details]`; details' shape is the exception's args (trytond/exceptions.py)."""
    row = ERRORS.get(error[0], OTHER_ERROR)
    details = error[1] if len(error) > 1 else None
    words = [w for w in details if isinstance(w, str) and w] if isinstance(details, list) else []
    if error[0] == "UserWarning":
        words = words[1:]  # the first names the warning, for a client to tick off
    if isinstance(details, str) and row.kind is not Kind.FAULT:
        words = [details]
    if row.kind is Kind.FAULT:
        words = [error[0]]  # its details are a traceback: of no use here, and they show paths
    said = " ".join(" ".join(words).split())
    what = said.rstrip(".") or f"Tryton answers {error[0]}"
    if row.kind is Kind.FAULT:
        what = f"Tryton failed inside: {what}"
    return _failure(row, what[: ANSWER_MAX // 4], answer="\n".join(words) or None)


def _retry_after(reply: httpx.Response) -> float | None:
    """Seconds of Retry-After, within an hour; its date form is not used by Tryton's neighbours."""
    text = reply.headers.get("Retry-After", "").strip()
    return kit.retry_after(text, now_s=0.0) if text.isdigit() else None
