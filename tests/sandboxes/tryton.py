"""The real Tryton behind a door with knobs: what passes is its own answer, or the fault asked for.

The journal is of calls that Tryton has answered with a result, which it gives after its commit
(trytond/protocols/dispatcher.py). Everything else is the server's own: rights, sessions,
validation, numbers.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from infra.local.tryton import Tryton
from tests.sandboxes.base import Sandbox
from tests.sandboxes.box import Box, boxed
from tests.sandboxes.journal import Op
from tests.tryton_server import Administrator, running

CREATE, WRITE = ".create", ".write"
PASSED = ("authorization", "accept", "accept-encoding", "content-type")
TIMEOUT_S = 30.0


class TrytonDoor(Sandbox):
    """One real server; `people` clears it for each test."""

    name = "tryton"

    def __init__(self, part: Tryton, people: Administrator) -> None:
        super().__init__()
        self._url = f"http://127.0.0.1:{part.port}"
        self._people = people
        self._sessions: set[str] = set()
        self._path = ""
        self._keys: dict[tuple[str, int], tuple[str, str]] = {}
        """Kind and key of what was made, by model and id."""
        done = people.call("project.work.status", "search", [["progress", "=", 1.0]])
        self._done = set(done)

    def routes(self) -> Sequence[BaseRoute]:
        """JSON-RPC of any database."""
        return [Route("/{database}/rpc/", self._rpc, methods=["POST"])]

    def forget(self) -> None:
        """Tryton as it was set up."""
        self._keys.clear()
        self._people.clear()

    def expire(self) -> None:
        """Every session that was seen here is logged out."""
        gone = {"id": 1, "method": "common.db.logout", "params": []}
        for session in self._sessions:
            url, headers = f"{self._url}{self._path}", {"authorization": session}
            httpx.post(url, json=gone, headers=headers, trust_env=False, timeout=TIMEOUT_S)
        self._sessions.clear()

    async def _rpc(self, request: Request) -> Response:
        body = await request.body()
        asked = orjson.loads(body)
        method, params = str(asked.get("method")), asked.get("params") or []
        if method.endswith((CREATE, WRITE)) and (refusal := self._refused(params)):
            return JSONResponse({"id": asked.get("id"), "error": refusal})
        headers = {name: request.headers[name] for name in PASSED if name in request.headers}
        self._path = request.url.path
        if session := headers.get("authorization"):
            self._sessions.add(session)
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as client:
            reply = await client.post(
                f"{self._url}{request.url.path}", content=body, headers=headers
            )
        answer = reply.json() if reply.status_code == httpx.codes.OK else {}
        if "result" in answer:
            self._note(method, params, answer["result"])
        kind = reply.headers.get("content-type", "text/plain")
        return Response(reply.content, reply.status_code, media_type=kind)

    def _refused(self, params: list[Any]) -> list[Any] | None:
        """An exception ends the transaction, so one record's refusal is that of all."""
        for value in params[:-1]:
            for record in value if isinstance(value, list) else [value]:
                text = orjson.dumps(record).decode() if isinstance(record, dict) else ""
                if text and (code := self.knobs.error(text)):
                    return [code, [f"{code}, as told", "", None]]
        return None

    def _note(self, method: str, params: list[Any], result: Any) -> None:  # noqa: ANN401 - JSON
        model = method.removeprefix("model.").rpartition(".")[0]
        if method.endswith(CREATE):
            for own, values in zip(result, params[0], strict=True):
                kind = f"{model} (project)" if values.get("type") == "project" else model
                named = values.get("code") or values.get("reference") or values.get("name") or ""
                key = str(named).partition(" · ")[0]
                self._keys[model, own] = (kind, key)
                self.journal.note("create", kind, key, str(own), values)
        elif method.endswith(WRITE):
            for ids, values in zip(params[:-1:2], params[1:-1:2], strict=True):
                for own in ids:
                    kind, key = self._keys.get((model, own), (model, ""))
                    op: Op = "update"
                    if "status" in values:
                        op = "close" if values["status"] in self._done else "reopen"
                    self.journal.note(op, kind, key, str(own), values)


@cache
def server() -> tuple[Tryton, Administrator]:
    """One server for all tests of this process; it ends with it."""
    stack = ExitStack()
    atexit.register(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fieldline-tryton-")))
    part = stack.enter_context(running(folder))
    people = Administrator(part)
    stack.callback(people.close)
    return part, people


@contextmanager
def far_end() -> Iterator[Box]:
    """The server, empty, behind a new door."""
    part, people = server()
    people.clear()
    with boxed(TrytonDoor(part, people)) as box:
        yield box
