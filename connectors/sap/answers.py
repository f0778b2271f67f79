"""What SAP's answers mean: statuses, and message classes with their numbers ('IM/416').

An error's `code` is either a message of an application (CLASS/NNN), which refuses for a
business reason, or the gateway's own (32 hexadecimal digits, or a class in the namespaces
/IWFND/ and /IWBEP/). Which message says what is the application's matter: only those below
are told apart, and the rest keep their code in the message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx

from connectors.answers import Kind, Row, json_of, text_of, transport_row
from connectors.base import Reply

NAME = "sap"
DETAILS_MAX = 3
"""Most of an error's details that are told beside its own message."""
_D = "wire-formats.md, SAP (D)"
_SDK = "SAP Cloud SDK, csrf token handling (S)"
_MESSAGES = "SAP's message texts as listed by third parties (3)"
_CODE = re.compile(r"(/[A-Z0-9_]{1,10}/)?[A-Z0-9_]{1,20}/\d{3}")
_GATEWAY = re.compile(r"/IW(FND|BEP)/.*|[0-9A-F]{32}")
_HEX = re.compile(r"[0-9A-F]{32}")
_LOCKED = re.compile(r"\blocked by\b", re.IGNORECASE)


def _row(kind: Kind, reason: str, when: str, source: str, advice: str = "") -> Row:
    return Row(kind=kind, code=f"{NAME}.{reason}", when=when, source=source, advice=advice)


CREDENTIALS = _row(
    Kind.BUSY, "credentials", "401", _D, "check user, password, client and certificate"
)
CSRF = _row(Kind.EXPIRED, "csrf", "403 with x-csrf-token: Required", _SDK)
FORBIDDEN = _row(
    Kind.BUSY, "forbidden", "403 of the gateway", _D, "check the user's roles for the service"
)
NOT_AUTHORIZED = _row(
    Kind.HELD,
    "not_authorized",
    "403 with CLS/NNN of an application",
    "none: a right that is missing for this record only (unverified)",
    "check the user's authorizations for plant and notification type",
)
NO_SERVICE = _row(
    Kind.BUSY, "no_service", "404", _D, "check SAP_URL and that the service is activated"
)
GONE = _row(Kind.RACED, "gone", "404 of one notification", _D, "it was archived meanwhile")
CHANGED = _row(Kind.RACED, "changed", "412 or 428 (older: 412 for both)", _D)
THROTTLED = _row(Kind.BUSY, "throttled", "429", _D)
UNAVAILABLE = _row(Kind.BUSY, "unavailable", "503", _D)
BROKEN = _row(Kind.FAILED, "server_error", "any other 5xx", _D)
LOCKED = _row(
    Kind.HELD, "locked", "IM/416, MC/601, or 4xx with the words 'locked by' (unverified)", _MESSAGES
)
DELETED = _row(Kind.REFUSED, "deletion_flag", "IM/406, or phase 5 (DLFL)", _MESSAGES)
REFUSED = _row(Kind.REFUSED, "refused", "400 with any other CLS/NNN", _D)
BAD_REQUEST = _row(
    Kind.REFUSED,
    "bad_request",
    "400 with a code of the gateway",
    "SAP Gateway: 32 hexadecimal digits, seen in public error reports (3)",
    "the service's $metadata may have changed",
)
REPEAT_REJECTED = _row(
    Kind.UNCLEAR,
    "repeat_rejected",
    "RepeatabilityResult: rejected",
    "SAP Gateway, idempotent services; /IWBEP/CM_COS/005: it was done before (D)",
)
REPEAT_UNSUPPORTED = _row(
    Kind.BUSY,
    "repeat_unsupported",
    "RepeatabilityResult: unsupported",
    "SAP Gateway, idempotent services (D)",
    "unset repeatable_requests, or have it enabled",
)
NO_RECORD = _row(
    Kind.REFUSED, "no_record", "no notification with that reference", "our own look-up"
)
UNEXPECTED = _row(Kind.UNCLEAR, "unexpected_answer", "anything else", "none that this table knows")
TABLE = (
    *(CREDENTIALS, CSRF, FORBIDDEN, NOT_AUTHORIZED, NO_SERVICE, GONE, CHANGED, THROTTLED),
    *(UNAVAILABLE, BROKEN, LOCKED, DELETED, REFUSED, BAD_REQUEST, REPEAT_REJECTED),
    *(REPEAT_UNSUPPORTED, NO_RECORD, UNEXPECTED),
)
_BY_STATUS_ALONE = frozenset({401, 412, 428, 429})
_BY_MESSAGE = {"IM/416": LOCKED, "MC/601": LOCKED, "IM/406": DELETED}
_BY_REPEAT = {"rejected": REPEAT_REJECTED, "unsupported": REPEAT_UNSUPPORTED}
_BY_STATUS = {
    401: CREDENTIALS,
    404: NO_SERVICE,
    412: CHANGED,
    428: CHANGED,
    429: THROTTLED,
    503: UNAVAILABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """An answer that is no success: its line of the table, and the answer without secrets.

    `sent` is False where it came of what goes before the request itself (token, CSRF).
    """

    row: Row
    reply: Reply
    sent: bool = True


def trouble_of(reply: Reply) -> Row | None:
    """What an answer means that is no success; None for one that is.

    Warnings on a success (header sap-message) are no trouble.
    """
    if isinstance(reply, httpx.TransportError):
        return transport_row(NAME, reply)
    if reply.is_success:
        return None
    repeated = reply.headers.get("repeatabilityresult", "").lower()
    status = reply.status_code
    if repeated in _BY_REPEAT:
        return _BY_REPEAT[repeated]
    if status == httpx.codes.FORBIDDEN and _csrf_required(reply):
        return CSRF
    row = _by_words(reply) if reply.is_client_error else None
    return row or _BY_STATUS.get(status, BROKEN if reply.is_server_error else UNEXPECTED)


def _csrf_required(reply: httpx.Response) -> bool:
    return bool(reply.headers.get("x-csrf-token", "").lower() == "required")


def _by_words(reply: httpx.Response) -> Row | None:
    """By the error in the body, where it says more than the status does."""
    code, told = _error(reply)
    status = reply.status_code
    if status in _BY_STATUS_ALONE:
        return None
    for one, text in told:
        if one in _BY_MESSAGE or _LOCKED.search(text):
            return _BY_MESSAGE.get(one, LOCKED)
    gateway = bool(_GATEWAY.fullmatch(code))
    business = bool(_CODE.fullmatch(code)) and not gateway
    if status == httpx.codes.FORBIDDEN:
        return NOT_AUTHORIZED if business else FORBIDDEN
    if status == httpx.codes.BAD_REQUEST and (business or gateway):
        return BAD_REQUEST if _HEX.fullmatch(code) else REFUSED
    return None


def of_record(row: Row, reply: Reply) -> Row:
    """The line for an answer to a request about one notification: 404 is about it, then."""
    if row is not NO_SERVICE or not isinstance(reply, httpx.Response):
        return row
    code, _ = _error(reply)
    return row if not code or code.startswith("/IWFND/MED/") else GONE


def words(reply: Reply) -> str:
    """What SAP says to a person: code and message, and details that say more."""
    if isinstance(reply, httpx.TransportError):
        return ""
    _, told = _error(reply)
    parts: list[str] = []
    for code, text in told[: DETAILS_MAX + 1]:
        part = f"{code}: {text}" if code else text
        if part and part not in parts:
            parts.append(part)
    return "; ".join(parts)


def says_error(reply: httpx.Response) -> bool:
    """Whether a success carries a message of severity 'error' in its header sap-message.

    Seen with some services (pyodata's vendor hook, S): such an answer is checked by reading.
    """
    return '"severity":"error"' in reply.headers.get("sap-message", "").replace(" ", "").lower()


def entity(reply: httpx.Response) -> dict[str, Any] | None:
    """The one entity of an answer: {"d":{…}}; None where there is none."""
    body = json_of(reply)
    found = body.get("d") if isinstance(body, dict) else None
    return found if isinstance(found, dict) and "results" not in found else None


def entities(reply: httpx.Response) -> list[dict[str, Any]] | None:
    """The entities of a list: {"d":{"results":[…]}}, older {"d":[…]}.

    None where there is no list to read, or where a further page has more.
    """
    body = json_of(reply)
    found = body.get("d") if isinstance(body, dict) else None
    if isinstance(found, dict):
        found = None if "__next" in found else found.get("results")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        return None
    return found


def _error(reply: httpx.Response) -> tuple[str, list[tuple[str, str]]]:
    """Code of an answer's error, and (code, message) of it and its details."""
    body = json_of(reply)
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "", []
    code = text_of(error.get("code")) or ""
    said = error.get("message")
    text = text_of(said.get("value") if isinstance(said, dict) else said) or ""
    told = [(code, text)] if code or text else []
    inner = error.get("innererror")
    details = inner.get("errordetails") if isinstance(inner, dict) else None
    told += [
        (text_of(one.get("code")) or "", text_of(one.get("message")) or "")
        for one in (details if isinstance(details, list) else [])
        if isinstance(one, dict) and one.get("severity", "error") in {"error", "abort"}
    ]
    return code, told[:64]
