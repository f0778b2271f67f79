"""What all sandboxes share: the outer shell with knobs, counts and the control room.

A sandbox is a `Sandbox` subclass in tests/sandboxes/<system>/ (or <system>.py) with routes of
its own. It notes each effect in `self.journal` at the moment it is committed, and asks
`self.knobs.error(text)` for each record it is about to take.

| request (control room) | what it does |
|---|---|
| GET /_control | counts |
| GET /_control/journal | effects in order |
| GET /_control/settings | environment variables that point a connector at it |
| PUT /_control/faults, /_control/errors | lists of knobs.Fault, knobs.ItemError as JSON |
| PUT /_control/limit | {"requests": N, "window_s": S}, or null |
| POST /_control/expire | every token and session ends now |
| DELETE /_control | forget everything |
"""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, ClassVar

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.journal import Journal
from tests.sandboxes.knobs import Fault, Knobs, Limit

BODY_MAX = 16 * 1024 * 1024
HTML = (
    "<!DOCTYPE html><html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>"
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Sandbox(ABC):
    """One far end. `name` is the system's; constructor arguments are credentials and the like."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.journal = Journal()
        self.knobs = Knobs()
        self.base = ""
        """Its own address, once it is served."""
        self.requests = self.limited = self.at_once = self.max_at_once = 0
        self.times: list[float] = []
        """When each request that was let through came, seconds of the monotonic clock."""
        self._app = Starlette(routes=[*self._control(), *self.routes()])

    @abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """The system's own."""

    @abstractmethod
    def forget(self) -> None:
        """Back to an empty system. Credentials stay; sessions end."""

    @abstractmethod
    def expire(self) -> None:
        """Every token, session and the like ends now."""

    def over_limit(self, request: Request, reset_s: float) -> Response:
        """How the system says that it was asked too often. Default: 429 with Retry-After."""
        del request
        wait = {"retry-after": str(max(1, round(reset_s + 0.5)))}
        return JSONResponse({"detail": "too many requests"}, 429, headers=wait)

    def told(self, left: int, limit: int) -> Mapping[str, str]:
        """Headers by which the system tells of its limit on good answers."""
        del left, limit
        return {}

    def values(self) -> Mapping[str, Any]:
        """A connector's settings for it, credentials included."""
        return {"url": self.base}

    def stats(self) -> dict[str, Any]:
        """Counts."""
        ops: dict[str, int] = {}
        for effect in self.journal.effects:
            ops[effect.op] = ops.get(effect.op, 0) + 1
        return {
            "requests": self.requests,
            "limited": self.limited,
            "max_at_once": self.max_at_once,
            "times": self.times,
            "faults_used": [fault.used for fault in self.knobs.faults],
            **ops,
        }

    # -- the shell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await Starlette()(scope, receive, send)
            return
        if scope["path"].startswith("/_control"):
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        self.requests += 1
        self.at_once += 1
        self.max_at_once = max(self.max_at_once, self.at_once)
        try:
            await self._serve(scope, body, send)
        finally:
            self.at_once -= 1

    async def _serve(self, scope: Scope, body: bytes, send: Send) -> None:
        path = scope["path"] + (
            f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        )
        fault = self.knobs.fault(scope["method"], path, body.decode("utf-8", "replace"))
        if fault is not None and fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault is not None and await self._instead(fault, scope, body, send):
            return
        limit, told = self.knobs.limit, {}
        if limit is not None:
            passed, left, reset_s = limit.spend()
            if not passed:
                self.limited += 1
                refusal = self.over_limit(Request(scope), reset_s)
                await refusal(scope, _never, send)
                return
            told = dict(self.told(left, limit.requests))
        self.times.append(time.monotonic())
        answer = _Answer()
        await self._app(scope, _replayed(body), answer.send)
        if fault is not None and fault.mode == "drop_after":
            _drop(scope)
            return
        if fault is not None and fault.mode in {"truncate", "add_field", "drop_field"}:
            answer.bend(fault)
        answer.add(told)
        await answer.pass_on(send)

    async def _instead(self, fault: Fault, scope: Scope, body: bytes, send: Send) -> bool:
        """Whether the fault answered in the system's place."""
        if fault.mode == "expire":
            self.expire()
            return False
        if fault.mode == "drop_before":
            _drop(scope)
            return True
        if fault.mode == "hang":
            transport = scope["transport"]
            while not transport.is_closing():  # noqa: ASYNC110 - until the other side gives up
                await asyncio.sleep(0.02)
            return True
        text, headers = fault.body_text, dict(fault.headers)
        if fault.mode == "echo":
            shown = {k.decode(): v.decode("latin-1") for k, v in scope["headers"]}
            text = json.dumps({"headers": shown, "body": body.decode("utf-8", "replace")})
        elif fault.mode == "html":
            text, headers = HTML, {"content-type": "text/html"}
        elif fault.mode != "answer" or not fault.status:
            return False
        headers.setdefault("content-type", "application/json")
        await Response(text, fault.status or 200, headers=headers)(scope, _never, send)
        return True

    # -- the control room

    def _control(self) -> list[BaseRoute]:
        return [
            Route("/_control", self._get, methods=["GET"]),
            Route("/_control", self._delete, methods=["DELETE"]),
            Route("/_control/journal", self._journal, methods=["GET"]),
            Route("/_control/settings", self._settings, methods=["GET"]),
            Route("/_control/{knob:str}", self._put, methods=["PUT", "POST"]),
        ]

    async def _get(self, request: Request) -> Response:
        del request
        return _json(self.stats())

    async def _journal(self, request: Request) -> Response:
        del request
        return _json(self.journal.as_json())

    async def _settings(self, request: Request) -> Response:
        del request
        told = {f"{self.name}_{name}".upper(): str(v) for name, v in self.values().items()}
        return _json(told)

    async def _delete(self, request: Request) -> Response:
        del request
        self.knobs, self.journal = Knobs(), Journal()
        self.requests = self.limited = self.max_at_once = 0
        self.times = []
        self.forget()
        return _json({})

    async def _put(self, request: Request) -> Response:
        knob = request.path_params["knob"]
        wanted = orjson.loads(await request.body() or b"null")
        try:
            if knob == "faults":
                self.knobs.set_faults(wanted)
            elif knob == "errors":
                self.knobs.set_errors(wanted)
            elif knob == "limit":
                self.knobs.limit = None if wanted is None else Limit(**wanted)
            elif knob == "expire":
                self.expire()
            else:
                return _json({"detail": "no such knob"}, 404)
        except TypeError as error:
            return _json({"detail": str(error)}, 400)
        return _json({})


class _Answer:
    """The app's answer, held back until it is known what becomes of it."""

    def __init__(self) -> None:
        self._start: Message = {}
        self._body = b""

    async def send(self, message: Message) -> None:
        """ASGI's send."""
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._body += message.get("body", b"")

    def add(self, headers: Mapping[str, str]) -> None:
        """More headers."""
        more = [(k.encode(), v.encode()) for k, v in headers.items()]
        self._start["headers"] = [*self._start["headers"], *more]

    def bend(self, fault: Fault) -> None:
        """Cut the body, or change the members of its JSON objects."""
        if fault.mode == "truncate":
            self._set(self._body[: len(self._body) // 2])
            return
        try:
            value = json.loads(self._body)
        except ValueError:
            return
        self._set(json.dumps(_bent(value, fault)).encode())

    def _set(self, body: bytes) -> None:
        self._body = body
        kept = [(k, v) for k, v in self._start["headers"] if k.lower() != b"content-length"]
        self._start["headers"] = [*kept, (b"content-length", str(len(body)).encode())]

    async def pass_on(self, send: Send) -> None:
        """To the client."""
        await send(self._start)
        await send({"type": "http.response.body", "body": self._body})


def _bent(value: Any, fault: Fault) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return [_bent(one, fault) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {k: _bent(v, fault) for k, v in value.items()}
    if fault.mode == "add_field":
        return kept | {"x_new": {"of": ["a", "later", "release"]}}
    return {k: v for k, v in kept.items() if k not in fault.fields}


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body") or len(body) > BODY_MAX:
            return body


def _replayed(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _never() -> Message:
    return {"type": "http.disconnect"}


def _drop(scope: Scope) -> None:
    scope["transport"].abort()


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
