"""A receiver of webhooks: Standard Webhooks 1.0.0 beside our own X-Signature, Idempotency-Key.

Both signatures are computed here anew, from their specifications. A key under way answers 409,
a key with another payload 422 (draft-ietf-httpapi-idempotency-key-header-07, 2.6), both as
application/problem+json (RFC 9457); a key that was there before gives the first answer again
with `Idempotency-Replayed: true`. An event of CloudEvents is known by the `id` in its signed
body; where the unsigned header disagrees with that it is refused.

| request | what it is |
|---|---|
| POST /events | one CloudEvent, or a batch of them (application/cloudevents-batch+json) |
| GET /events/{key} | what it has of that key: {"id", "target_id"} |
| POST /tickets, PUT /tickets/{name} | any JSON object, for templates; PUT names the record |
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import Sandbox
from tests.sandboxes.journal import Op

SECRET = "whsec_dGhlLXdlYmhvb2stc2FuZGJveC1zZWNyZXQtISEhIQ=="
API_KEY = "api-key-of-the-webhook-sandbox"
TOLERANCE_S = 300


class Webhook(Sandbox):
    """One receiver."""

    name = "webhook"

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[str, tuple[str, str]] = {}
        """Key -> digest of its payload, own id."""
        self.records: dict[str, dict[str, Any]] = {}
        self._under_way: set[str] = set()

    def routes(self) -> Sequence[BaseRoute]:
        """Its addresses."""
        return [
            Route("/events", self._events, methods=["POST"]),
            Route("/events/{key}", self._look_up, methods=["GET"]),
            Route("/tickets", self._ticket, methods=["POST"]),
            Route("/tickets/{name}", self._ticket, methods=["PUT", "GET"]),
        ]

    def forget(self) -> None:
        """Nothing was taken."""
        self.taken.clear()
        self.records.clear()

    def expire(self) -> None:
        """It has no sessions."""

    async def _events(self, request: Request) -> Response:
        body = await request.body()
        if refusal := self._refuses(request, body):
            return refusal
        try:
            told = orjson.loads(body)
        except orjson.JSONDecodeError:
            told = None
        if request.headers.get("content-type", "").startswith("application/cloudevents-batch+json"):
            many = told if isinstance(told, list) else []
            return _json(200, {"items": [self._take_one(one) for one in many]})
        wrong = _no_event(told)
        if not wrong and _header_key(request) not in {None, told["id"]}:
            wrong = "Idempotency-Key is not the id in the signed body"
        if wrong:
            return _problem(400, wrong)
        return await self._keyed(told["id"], body, told, kind="event")

    def _take_one(self, told: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        if wrong := _no_event(told):
            return {"status": 400, "detail": wrong}
        answer = self._take(told["id"], orjson.dumps(told), told, kind="event")
        return {"id": told["id"], "status": answer.status_code, **json.loads(bytes(answer.body))}

    async def _ticket(self, request: Request) -> Response:
        body = await request.body()
        if refusal := self._refuses(request, body):
            return refusal
        name = request.path_params.get("name", "")
        if request.method == "GET":
            there = self.records.get(name)
            return _json(200, there) if there is not None else _problem(404, "no such ticket")
        key = _header_key(request)
        try:
            told = orjson.loads(body)
        except orjson.JSONDecodeError:
            told = None
        if key is None or not isinstance(told, dict):
            return _problem(400, "a JSON object and an Idempotency-Key are needed")
        return await self._keyed(key, body, told, kind="ticket", name=name)

    async def _look_up(self, request: Request) -> Response:
        if refusal := self._refuses(request, b""):
            return refusal
        key = request.path_params["key"]
        if key not in self.taken:
            return _problem(404, "no such event")
        return _json(200, {"id": key, "target_id": self.taken[key][1]})

    async def _keyed(
        self, key: str, body: bytes, told: dict[str, Any], *, kind: str, name: str = ""
    ) -> Response:
        if key in self._under_way:
            return _problem(409, "a request with this key is under way")
        self._under_way.add(key)
        try:
            await asyncio.sleep(0)  # a moment in which another request may come
            return self._take(key, body, told, kind=kind, name=name)
        finally:
            self._under_way.discard(key)

    def _take(
        self, key: str, body: bytes, told: dict[str, Any], *, kind: str, name: str = ""
    ) -> Response:
        digest = hashlib.sha256(body).hexdigest()
        before = self.taken.get(key)
        if before is not None:
            if before[0] != digest:
                return _problem(422, "this key was used for another payload")
            again = {"id": key, "target_id": before[1], "created": False}
            return _json(200, again, {"idempotency-replayed": "true"})
        if code := self.knobs.error(body.decode("utf-8", "replace")):
            return _problem(int(code), f"refused with {code}, as told")
        own_id = name or f"R-{len(self.taken) + 1}"
        self.taken[key] = (digest, own_id)
        op: Op = "update" if own_id in self.records else "create"
        self.records[own_id] = told
        self.journal.note(op, kind, key, own_id, told)
        return _json(201, {"id": key, "target_id": own_id, "created": True})

    def _refuses(self, request: Request, body: bytes) -> Response | None:
        given = request.headers
        if not hmac.compare_digest(given.get("x-api-key", "").encode(), API_KEY.encode()):
            return _problem(401, "no such API key")
        stamp = given.get("webhook-timestamp", "")
        if not stamp.isdigit() or abs(time.time() - int(stamp)) > TOLERANCE_S:
            return _problem(401, "webhook-timestamp is missing, or too far away")
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        for name, wanted in (
            ("webhook-signature", _standard(key, given.get("webhook-id", ""), stamp, body)),
            ("x-signature", f"t={stamp},s=sha256={_own(key, stamp, body)}"),
        ):
            if not hmac.compare_digest(given.get(name, "").encode(), wanted.encode()):
                return _problem(401, f"{name} is wrong")
        return None


def _standard(key: bytes, message_id: str, stamp: str, body: bytes) -> str:
    signed = b".".join((message_id.encode(), stamp.encode(), body))
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def _own(key: bytes, stamp: str, body: bytes) -> str:
    return hmac.new(key, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _header_key(request: Request) -> str | None:
    """Idempotency-Key, quoted (a structured-fields string) or bare."""
    given = request.headers.get("idempotency-key")
    return given.strip('"') if given else None


def _no_event(told: Any) -> str:  # noqa: ANN401 - JSON
    """What is wrong with a CloudEvent (CloudEvents 1.0, required attributes); '' if nothing."""
    if not isinstance(told, dict):
        return "no object"
    names = ("specversion", "id", "source", "type")
    missing = [n for n in names if not isinstance(told.get(n), str) or not told[n]]
    return f"{missing[0]} is missing" if missing else ""


def _json(status: int, body: object, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def _problem(status: int, detail: str) -> Response:
    body = orjson.dumps({"status": status, "detail": detail})
    return Response(body, status, media_type="application/problem+json")


def make() -> Webhook:
    """With the standard credentials."""
    return Webhook()
