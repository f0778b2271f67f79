"""A TCP proxy on loopback that knows HTTP/1.x well enough to spoil it on purpose.

Each request gets a connection of its own to the target, so a fault strikes that request and no
other. An answer is read to its end before any of it is passed on: when the client sees a fault
of a COMMIT_ kind, the target has done its work. A target that is down shows as a reset.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.faults import http1
from tests.faults.http1 import FramingError, Message
from tests.faults.strikes import COMMITTING, Aim, Strike, Way, Words

LOOPBACK: Final = "127.0.0.1"
TICK_S: Final = 0.02
FLOOD_BYTES: Final = 12 * 1024 * 1024
"""More than the driver reads of one answer (connectors/exchange.py, MAX_ANSWER)."""
_JSON: Final = b'{"id": 1, "result": [4711, 4712]}'
_PAGE: Final = b"<!DOCTYPE html><html><body><h1>Sign in</h1></body></html>"
_SAID: Final = {
    Words.ERROR_500: ("500 Internal Server Error", _PAGE, "text/html"),
    Words.UNAVAILABLE_503: ("503 Service Unavailable", b"Busy.", "text/plain"),
    Words.EXPIRED_401: ("401 Unauthorized", b"Unauthorized", "text/plain"),
    Words.HTML_200: ("200 OK", _PAGE, "text/html"),
    Words.EMPTY_200: ("200 OK", b"", "application/json"),
    Words.FLOOD: ("200 OK", b" " * FLOOD_BYTES, "application/json"),
}
_BROKEN: Final = (OSError, FramingError, asyncio.IncompleteReadError)


@dataclass(slots=True, eq=False)
class Armed:
    """A strike that lies in wait, and whom it has struck."""

    number: int
    strike: Strike
    hits: int = 0
    keys: set[str] = field(default_factory=set)
    """Idempotency keys in the requests that were struck."""
    spent: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it has struck as often as it should."""
    lifted: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, request: Message) -> bool:
        """Whether this request is to be struck."""
        if self.strike.way is Way.REFUSE:
            return False
        return self.strike.aim is Aim.ANY or (self.strike.aim is Aim.WRITES) is request.writes

    def hit(self, request: Message) -> None:
        """Count one."""
        self.hits += 1
        self.keys.update(request.keys)
        if self.hits == self.strike.times:
            self.spent.set()


class Proxy:
    """One target behind one port. All methods belong to the loop that started it.

    `seed` decides the bytes of garbage. `served` counts requests passed on unspoilt.
    """

    def __init__(self, target: tuple[str, int], *, port: int = 0, seed: int = 0) -> None:
        self.port = port
        self.served = 0
        self._target = target
        self._rng = random.Random(seed)  # noqa: S311 - bytes that can be played again, no secret
        self._server: asyncio.Server | None = None
        self._armed: list[Armed] = []
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self._number = 0

    async def start(self) -> None:
        """Listen; `port` is the port from then on, also after stop and start."""
        self._server = await asyncio.start_server(
            self._serve, LOOPBACK, self.port, limit=http1.HEAD_BYTES
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, lift every strike, reset every connection."""
        for armed in list(self._armed):
            armed.lifted.set()
        self._armed.clear()
        await self._deafen()
        tasks = [task for task in self._open.values() if task is not None]
        self.reset_all()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def arm(self, strike: Strike) -> Armed:
        """Lay a strike in wait. Of several that fit a request the first strikes."""
        self._number += 1
        armed = Armed(self._number, strike)
        self._armed.append(armed)
        if strike.way is Way.REFUSE:
            await self._deafen()
            self.reset_all()
        return armed

    async def lift(self, armed: Armed) -> None:
        """Take a strike back: it strikes no more, and its silences end."""
        armed.lifted.set()
        if armed in self._armed:
            self._armed.remove(armed)
        refused = any(a.strike.way is Way.REFUSE for a in self._armed)
        if armed.strike.way is Way.REFUSE and not refused and self._server is None:
            await self.start()

    def reset_all(self) -> None:
        """Reset every open connection."""
        for writer in list(self._open):
            http1.reset(writer)

    async def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.current_task()
        try:
            while (request := await http1.read_request(reader)) is not None:
                armed = next((a for a in self._armed if a.wants(request)), None)
                if armed is not None:
                    armed.hit(request)
                    if armed.spent.is_set():
                        self._armed.remove(armed)
                if not await self._handle(request, armed, reader, writer):
                    break
        except _BROKEN:
            http1.reset(writer)
        finally:
            del self._open[writer]
            writer.close()

    async def _handle(
        self,
        request: Message,
        armed: Armed | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """One request to its end; whether the connection goes on."""
        if armed is None:
            answer = await self._ask(request)
            self.served += 1
            writer.write(answer.raw)
            await writer.drain()
            return request.keeps_open and answer.keeps_open
        strike = armed.strike
        if strike.way is Way.DELAY:
            await _until(armed.lifted.is_set, strike.seconds)
            answer = await self._ask(request)
            writer.write(answer.raw)
        elif strike.way is Way.ANSWER:
            given = (await self._ask(request)).body if strike.passed_on else b""
            writer.write(self._words(strike, given))
        elif strike.way in COMMITTING:
            await self._commit(request, armed, reader, writer)
        elif strike.way in {Way.SLOW, Way.NARROW}:
            if strike.way is Way.NARROW:
                await _until(armed.lifted.is_set, len(request.raw) / strike.rate)
            await _trickle(writer, (await self._ask(request)).raw, strike.rate, armed)
        elif strike.way is Way.SILENT:
            await _silence(reader, armed)
        elif strike.way is Way.RESET:
            http1.reset(writer)
        if not writer.is_closing():
            await writer.drain()
        return False

    async def _commit(
        self,
        request: Message,
        armed: Armed,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        way, answer = armed.strike.way, (await self._ask(request)).raw
        if way in {Way.COMMIT_CUT, Way.COMMIT_STALL}:
            writer.write(answer[: max(1, int(len(answer) * armed.strike.part))])
            await writer.drain()
        if way in {Way.COMMIT_SILENT, Way.COMMIT_STALL}:
            await _silence(reader, armed)
        elif way is Way.COMMIT_CUT:
            # A reset throws away what the client has not read yet: give it the time to read.
            await asyncio.sleep(TICK_S)
            http1.reset(writer)
        elif way is Way.COMMIT_RESET:
            http1.reset(writer)

    async def _ask(self, request: Message) -> Message:
        """The target's answer, on a connection of its own; OSError where it is down."""
        reader, writer = await asyncio.open_connection(*self._target, limit=http1.HEAD_BYTES)
        try:
            writer.write(request.raw)
            await writer.drain()
            return await http1.read_answer(reader)
        finally:
            writer.close()

    def _words(self, strike: Strike, given: bytes) -> bytes:
        """The bytes in place of the target's answer, whose body was `given`."""
        if strike.words is Words.GARBAGE:
            return self._garbage()
        if strike.words is Words.BROKEN_GZIP:
            return http1.answer("200 OK", self._garbage(), "Content-Encoding: gzip")
        if strike.words is Words.LIMIT_429:
            wish = f"Retry-After: {math.ceil(strike.seconds)}"
            return http1.answer("429 Too Many Requests", b"{}", wish)
        if strike.words is Words.TRUNCATED:
            whole = given if given.startswith(b"{") else _JSON
            return http1.answer("200 OK", whole[: max(1, int(len(whole) * strike.part))])
        status, body, kind = _SAID[strike.words]
        return http1.answer(status, body, kind=kind)

    def _garbage(self) -> bytes:
        return self._rng.randbytes(self._rng.randint(16, 512))


async def _silence(reader: asyncio.StreamReader, armed: Armed) -> None:
    """Say nothing until the client has gone, the strike is lifted, or its time is over."""
    await _until(lambda: reader.at_eof() or armed.lifted.is_set(), armed.strike.seconds)


async def _trickle(writer: asyncio.StreamWriter, data: bytes, rate: int, armed: Armed) -> None:
    """Write at `rate` bytes a second; all at once when the strike is lifted."""
    size = max(1, int(rate * TICK_S))
    for at in range(0, len(data), size):
        writer.write(data[at : at + size])
        await writer.drain()
        if not armed.lifted.is_set():
            await asyncio.sleep(size / rate)


async def _until(done: Callable[[], bool], seconds: float) -> None:
    """Wait for `done`, at most so long."""
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or done():
            return
        await asyncio.sleep(min(TICK_S, left))
