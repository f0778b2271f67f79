"""A webhook receiver as a good one is: fast, signed, idempotent by key, with faults on request.

    python -m tests.sandbox [--port N] [--unkeyed]    (SANDBOX_SECRET: whsec_…; none = unsigned)

| request | what it does |
|---|---|
| POST /events | takes a CloudEvent, or a batch of them (one status each) |
| GET /events/KEY | says whether it has that one: 200 with `id`, else 404 |
| GET /control | counts |
| GET /control/journal | every key: how often it came, in what order |
| PUT /control/faults | a list of faults.Fault as JSON, in place of those before |
| PUT /control/limit | {"events": N, "window_s": S}, or null |
| DELETE /control | forget everything |

It listens on 127.0.0.1 and says {"port": N} in its first line of output. It ends when its
standard input does, so it never outlives who started it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import uvloop
from aiohttp import web

from tests.sandbox.faults import Fault, Faults, Limit
from tests.sandbox.store import Store, genuine

BODY_MAX = 4 * 1024 * 1024
BATCH_MAX = 1_000
NEEDED = {"specversion", "id", "source", "type", "subject", "sequence", "data"}
_BATCH = "application/cloudevents-batch+json"
_WHSEC = "whsec_"


class Receiver:
    """The server's handlers and all it knows."""

    def __init__(self, *, key: bytes | None, keyed: bool) -> None:
        self._key = key
        self.store = Store(keyed=keyed)
        self.faults = Faults()
        self._limit: Limit | None = None

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=BODY_MAX)
        app.router.add_post("/events", self.take)
        app.router.add_get("/events/{key}", self.look_up)
        app.router.add_get("/control", self.stats)
        app.router.add_get("/control/journal", self.journal)
        app.router.add_put("/control/faults", self.set_faults)
        app.router.add_put("/control/limit", self.set_limit)
        app.router.add_delete("/control", self.clear)
        return app

    async def take(self, request: web.Request) -> web.StreamResponse:
        """One event or a batch."""
        body = await request.read()
        self.store.requests += 1
        events = self._read(request, body)
        if isinstance(events, web.Response):
            return events
        fault = self.faults.take({e["id"] for e in events}, {e["subject"] for e in events})
        if fault is not None and (instead := await _instead(fault, request)) is not None:
            return instead
        passed, told = self._limit.spend(len(events)) if self._limit else (True, {})
        if not passed:
            return _json({"detail": "too many events"}, 429, told)
        answers = [self.store.take(event) for event in events]
        if fault is not None and fault.mode == "drop_after":
            return _drop(request)
        batched = request.content_type == _BATCH
        status, found = (200, {"items": [a for _, a in answers]}) if batched else answers[0]
        if fault is not None and fault.slow_s:
            return await _slowly(request, status, orjson.dumps(found), fault.slow_s)
        return _json(found, status, told)

    def _read(self, request: web.Request, body: bytes) -> list[dict[str, Any]] | web.Response:
        """The events of a request, or why there are none."""
        if self._key is not None and not genuine(request.headers, body, self._key, time.time()):
            self.store.unsigned += 1
            return _json({"detail": "the signature is missing or wrong"}, 401)
        batched = request.content_type == _BATCH
        try:
            events = orjson.loads(body) if batched else [orjson.loads(body)]
            sound = all(
                event.keys() >= NEEDED and isinstance(event["data"], dict) for event in events
            )
        except (orjson.JSONDecodeError, TypeError, AttributeError):
            sound = False
        if not sound or not 0 < len(events) <= BATCH_MAX:
            return _json({"detail": "this is no CloudEvent in JSON"}, 400)
        named = request.headers.get("idempotency-key", "").strip('"')
        if not batched and named not in {"", events[0]["id"]}:
            # Only the body is signed: a header that disagrees was put there by somebody else.
            return _json({"detail": "the key is not the event's id"}, 400)
        return list(events)

    async def look_up(self, request: web.Request) -> web.StreamResponse:
        """One key."""
        key = request.match_info["key"]
        fault = self.faults.take((key,), (), read=True)
        if fault is not None and (instead := await _instead(fault, request)) is not None:
            return instead
        kept = self.store.kept.get(key)
        if kept is None:
            return _json({"detail": "no such event"}, 404)
        return _json({"id": key, "target_id": f"box-{kept.place}"}, 200)

    async def stats(self, request: web.Request) -> web.Response:
        """Counts."""
        del request
        used = [fault.used for fault in self.faults.all]
        return _json(self.store.stats() | {"faults_used": used}, 200)

    async def journal(self, request: web.Request) -> web.Response:
        """Every key."""
        del request
        return _json(self.store.journal(), 200)

    async def set_faults(self, request: web.Request) -> web.Response:
        """Other faults."""
        try:
            self.faults.replace(orjson.loads(await request.read()))
        except (orjson.JSONDecodeError, TypeError) as error:
            return _json({"detail": str(error)}, 400)
        return _json({}, 200)

    async def set_limit(self, request: web.Request) -> web.Response:
        """Another limit."""
        wanted = orjson.loads(await request.read())
        self._limit = None if wanted is None else Limit(**wanted)
        return _json({}, 200)

    async def clear(self, request: web.Request) -> web.Response:
        """Forget everything."""
        del request
        self.store = Store(keyed=self.store.keyed)
        self.faults, self._limit = Faults(), None
        return _json({}, 200)


async def _instead(fault: Fault, request: web.Request) -> web.StreamResponse | None:
    """What a fault answers in the receiver's place; None where it goes on."""
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault.mode == "hang":
        while request.transport is not None:  # noqa: ASYNC110 - until the other side gives up
            await asyncio.sleep(0.05)
        return web.Response()
    if fault.mode == "drop_before":
        return _drop(request)
    if fault.mode == "answer" and fault.status:
        if fault.slow_s:
            return await _slowly(request, fault.status, fault.body.encode(), fault.slow_s)
        return web.Response(status=fault.status, text=fault.body, headers=fault.headers)
    return None


def _drop(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _slowly(
    request: web.Request, status: int, body: bytes, pause_s: float
) -> web.StreamResponse:
    answer = web.StreamResponse(status=status)
    answer.content_type = "application/json"
    await answer.prepare(request)
    try:
        for place in range(len(body)):
            await answer.write(body[place : place + 1])
            await asyncio.sleep(pause_s)
    except ConnectionError:
        return answer
    await answer.write_eof()
    return answer


def _json(value: object, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(value), status=status, headers=headers, content_type="application/json"
    )


async def serve(receiver: Receiver, port: int) -> None:
    """Until standard input ends."""
    runner = web.AppRunner(receiver.app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, shutdown_timeout=0.2)
    await site.start()
    bound: Any = runner.addresses[0]
    sys.stdout.write(json.dumps({"port": bound[1]}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.buffer.read)
    await runner.cleanup()


def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.sandbox")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--unkeyed", action="store_true")
    asked = parser.parse_args(arguments)
    secret = os.environ.get("SANDBOX_SECRET", "")
    coded = secret.startswith(_WHSEC)
    key = base64.b64decode(secret.removeprefix(_WHSEC)) if coded else secret.encode()
    receiver = Receiver(key=key or None, keyed=not asked.unkeyed)
    uvloop.run(serve(receiver, asked.port))
