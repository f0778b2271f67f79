"""ERPNext's /api/resource as frappe serves it (frappe/api/v1.py, frappe/exceptions.py).

A new document has the `name` it is given where its DocType is named by 'Prompt', and otherwise
one of its own; `__newname` is taken in both cases (frappe/model/naming.py and document.py).
"""

from __future__ import annotations

import hmac
import itertools
import json
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.journal import Op

API_KEY = "fieldline-key"
API_SECRET = "erpnext-secret-of-the-sandbox"
STATUS_OF = {
    "DuplicateEntryError": 409,
    "DoesNotExistError": 404,
    "PermissionError": 403,
    "AuthenticationError": 401,
    "TooManyRequestsError": 429,
    "InReadOnlyMode": 503,
    "SessionStopped": 503,
    "QueryDeadlockError": 500,
    "QueryTimeoutError": 500,
}
"""Everything else is a ValidationError, 417."""
FIELDS = {
    "Issue": {
        "name": 140,
        "subject": 140,
        "description": 65_535,
        "priority": 140,
        "status": 140,
        "customer": 140,
        "fieldline_asset": 140,
        "fieldline_customer_name": 140,
    },
    "Comment": {
        "name": 140,
        "content": 65_535,
        "reference_doctype": 140,
        "reference_name": 140,
        "comment_type": 140,
    },
}
MANDATORY = {"Issue": ("subject",), "Comment": ("comment_type",)}
STATUSES = {"Open", "Replied", "On Hold", "Resolved", "Closed"}
PRIORITIES = {"Low", "Medium", "High"}


class Erpnext(Sandbox):
    """One site with one user."""

    name = "erpnext"

    def __init__(self, *, prompt: bool = True) -> None:
        """`prompt`: whether DocTypes are named by 'Prompt', not by a series of their own."""
        super().__init__()
        self.prompt = prompt
        self.documents: dict[str, dict[str, dict[str, Any]]] = {}
        self._numbers = itertools.count(1)

    def routes(self) -> Sequence[BaseRoute]:
        """frappe's REST API, version 1."""
        return [
            Route("/api/method/frappe.auth.get_logged_user", self._who),
            Route("/api/resource/{doctype}", self._many, methods=["GET", "POST"]),
            Route("/api/resource/{doctype}/{name}", self._one, methods=["GET", "PUT", "DELETE"]),
        ]

    def forget(self) -> None:
        """No documents."""
        self.documents.clear()

    def expire(self) -> None:
        """API keys do not end."""

    def over_limit(self, request: Request, reset_s: float) -> Response:
        """frappe/rate_limiter.py."""
        del request
        return _error("TooManyRequestsError", "Too many requests", wait=reset_s)

    def _refuses(self, request: Request) -> Response | None:
        given = request.headers.get("authorization", "")
        if hmac.compare_digest(given.encode(), f"token {API_KEY}:{API_SECRET}".encode()):
            return None
        return _error("AuthenticationError", "Invalid API key or secret")

    async def _who(self, request: Request) -> Response:
        return self._refuses(request) or JSONResponse({"message": "fieldline@example.com"})

    async def _many(self, request: Request) -> Response:  # noqa: PLR0911 - as frappe does
        if refusal := self._refuses(request):
            return refusal
        doctype = request.path_params["doctype"]
        if doctype not in FIELDS:
            return _error("DoesNotExistError", f"DocType {doctype} not found")
        kept = self.documents.setdefault(doctype, {})
        if request.method == "GET":
            names = [{"name": name} for name in kept]
            return JSONResponse(
                {"data": names[: int(request.query_params.get("limit_page_length", 20))]}
            )
        given = await _document(request)
        if isinstance(given, Response):
            return given
        name = given.get("__newname") or (self.prompt and given.get("name"))
        name = name or f"{doctype.upper()}-{next(self._numbers):05}"
        if wrong := self._wrong(doctype, given | {"name": name}, new=True):
            return wrong
        if name in kept:
            return _error("DuplicateEntryError", f"{doctype} {name} already exists")
        made = {"doctype": doctype, "status": "Open", **_known(doctype, given), "name": name}
        kept[name] = made
        self.journal.note("create", doctype, name, name, _known(doctype, given))
        return JSONResponse({"data": made})

    async def _one(self, request: Request) -> Response:  # noqa: PLR0911 - as frappe does
        if refusal := self._refuses(request):
            return refusal
        doctype, name = request.path_params["doctype"], request.path_params["name"]
        kept = self.documents.get(doctype, {})
        if name not in kept:
            return _error("DoesNotExistError", f"{doctype} {name} not found")
        if request.method == "GET":
            return JSONResponse({"data": kept[name]})
        if request.method == "DELETE":
            del kept[name]
            self.journal.note("delete", doctype, name, name, {})
            return JSONResponse({"message": "ok"}, 202)
        given = await _document(request)
        if isinstance(given, Response):
            return given
        if wrong := self._wrong(doctype, kept[name] | given, new=False):
            return wrong
        before, changed = dict(kept[name]), _known(doctype, given)
        kept[name] |= changed
        if kept[name] != before:
            self.journal.note(_op(before, kept[name]), doctype, name, name, changed)
        return JSONResponse({"data": kept[name]})

    def _wrong(self, doctype: str, given: dict[str, Any], *, new: bool) -> Response | None:
        if code := self.knobs.error(json.dumps(given, ensure_ascii=False)):
            return _error(code, f"{code}, as told")
        for field, most in FIELDS[doctype].items():
            if len(str(given.get(field) or "")) > most:
                return _error("CharacterLengthExceededError", f"{field} is over {most} characters")
        missing = [field for field in MANDATORY[doctype] if new and not given.get(field)]
        if missing:
            return _error("MandatoryError", f"[{doctype}, {given['name']}]: {missing[0]}")
        if (
            given.get("status", "Open") not in STATUSES
            or given.get("priority", "Low") not in PRIORITIES
        ):
            return _error("ValidationError", "Status or Priority is not one of its options")
        return None


def _op(before: dict[str, Any], after: dict[str, Any]) -> Op:
    closed = {"Closed", "Resolved"}
    was, now = before.get("status") in closed, after.get("status") in closed
    if was == now:
        return "update"
    return "close" if now else "reopen"


def _known(doctype: str, given: dict[str, Any]) -> dict[str, Any]:
    """frappe drops what the DocType does not have, without a word."""
    return {k: v for k, v in given.items() if k in FIELDS[doctype]}


async def _document(request: Request) -> dict[str, Any] | Response:
    try:
        given = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        return _error("ValidationError", "Invalid JSON")
    return given if isinstance(given, dict) else _error("ValidationError", "not a document")


def _error(kind: str, text: str, *, wait: float = 0.0) -> Response:
    body = {
        "exc_type": kind,
        "exception": f"frappe.exceptions.{kind}: {text}",
        "_server_messages": json.dumps([json.dumps({"message": text})]),
    }
    headers = {"retry-after": str(max(1, round(wait + 0.5)))} if wait else {}
    return JSONResponse(body, STATUS_OF.get(kind, 417), headers=headers)


def make() -> Erpnext:
    """With the standard credentials."""
    return Erpnext()
