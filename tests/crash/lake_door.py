"""A door in front of S3, one for each worker: it knows which step of a commit a request is.

A request is read whole, then passed on, over a connection of its own. *Weather* spoils a share
of whatever comes; a *trap* waits for one step of the lake's protocol and stops the world there,
so that a worker dies exactly between two steps, or its request arrives long after it died.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tests.faults import http1
from tests.faults.http1 import FramingError, Message
from tests.faults.proxy import LOOPBACK

_BROKEN: Final = (OSError, FramingError, asyncio.IncompleteReadError)
_SLOW_DOWN: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)
"""As S3 says it: error code SlowDown, status 503 (Amazon S3 API reference, Error responses)."""


class Stage(StrEnum):
    """Which step of a commit a request is."""

    CLAIM = "claim"
    FILE = "file"
    MANIFEST = "manifest"
    METADATA = "table metadata"
    NOTE = "note of what is replaced"
    READ = "read"
    OTHER = "other"


class Phase(StrEnum):
    """Where in the request a trap springs."""

    BEFORE = "before"
    """S3 has not seen it."""
    HALF = "half-way"
    """S3 has half of its body, and never gets the rest."""
    AFTER = "after"
    """S3 has done it; nobody was told."""


class Way(StrEnum):
    """What weather does to a request."""

    REFUSE = "refused"
    DELAY = "slow"
    SLOW_DOWN = "503 SlowDown"
    CUT = "cut in the body"
    LOST = "done, answer lost"
    SILENT = "never answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Each request is struck with chance `share`; a delay takes up to `seconds`."""

    way: Way
    share: float = 1.0
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True, eq=False)
class Trap:
    """Springs at the `nth` request of a stage. `spring` is called there and then.

    The request waits until `released`; one that S3 has not seen is then passed on if
    `pass_on`, else dropped.
    """

    stage: Stage
    phase: Phase
    spring: Callable[[], object]
    nth: int = 1
    pass_on: bool = True
    path: str = ""
    """Of the request that sprang it."""
    sprung: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, stage: Stage) -> bool:
        """Count a request; whether it is the one."""
        if stage is not self.stage or self.nth == 0:
            return False
        self.nth -= 1
        return self.nth == 0

    def go_off(self, request: Message) -> None:
        """It has caught its request."""
        self.path = path_of(request)
        self.spring()
        self.sprung.set()


class Door:
    """S3 behind one port. All methods belong to the loop that started it."""

    def __init__(self, target: tuple[str, int], *, seed: int) -> None:
        self.port = 0
        self.struck: Counter[str] = Counter()
        """Requests spoilt, by how."""
        self._target = target
        self._rng = random.Random(seed)  # noqa: S311 - weather, no secret
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None
        self._weather: Weather | None = None
        self._clear = asyncio.Event()
        self._trap: Trap | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def start(self) -> None:
        """Listen; `port` is the port from then on."""
        if self._held is None:
            self._held = _held_port()
            self.port = self._held.getsockname()[1]
        self._server = await asyncio.start_server(
            self._serve, LOOPBACK, self.port, limit=http1.HEAD_BYTES, reuse_port=True
        )

    async def stop(self) -> None:
        """Listen no more and reset what is open."""
        self._deafen()
        tasks = [task for task in self._open.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._held is not None:
            self._held.close()
            self._held = None

    async def brew(self, weather: Weather) -> None:
        """Let the weather begin."""
        self._clear.clear()
        self._weather = weather
        if weather.way is Way.REFUSE:
            self.struck[Way.REFUSE] += max(1, len(self._open))
            self._deafen()

    async def clear(self) -> None:
        """End it, and every silence with it."""
        self._weather = None
        self._clear.set()
        if self._server is None:
            await self.start()

    def set_trap(self, trap: Trap | None) -> None:
        """Lay a trap, or take it away."""
        self._trap = trap

    def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            http1.reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.current_task()
        try:
            while (request := await http1.read_request(reader, writer.write)) is not None:
                if not await self._handle(request, writer):
                    http1.reset(writer)
                    break
        except _BROKEN:
            http1.reset(writer)
        finally:
            del self._open[writer]
            writer.close()

    async def _handle(self, request: Message, writer: asyncio.StreamWriter) -> bool:
        """One request to its end; whether the connection goes on."""
        stage = stage_of(request)
        if (trap := self._trap) is not None and trap.wants(stage):
            self._trap = None
            return await self._trapped(request, trap, writer)
        weather = self._weather
        if weather is None or self._rng.random() >= weather.share:
            return await self._pass(request, writer)
        writes = request.writes
        if weather.way is Way.CUT and not (writes and len(request.body) > 1):
            return await self._pass(request, writer)
        self.struck[weather.way] += 1
        match weather.way:
            case Way.DELAY:
                await self._while(self._rng.uniform(0.0, weather.seconds))
                return await self._pass(request, writer)
            case Way.SLOW_DOWN:
                said = http1.answer("503 Slow Down", _SLOW_DOWN, kind="application/xml")
                writer.write(said)
                await writer.drain()
                # In order: a reset could overtake what we said.
                writer.close()
                await writer.wait_closed()
            case Way.CUT:
                await self._half(request)
            case Way.LOST:
                await self._ask(request)
            case Way.SILENT:
                await self._while(3_600.0)
        return False

    async def _trapped(self, request: Message, trap: Trap, writer: asyncio.StreamWriter) -> bool:
        self.struck[f"{trap.phase} a {trap.stage}"] += 1
        if trap.phase is Phase.HALF:
            await self._half(request)
            trap.go_off(request)
            return False
        answer = await self._ask(request) if trap.phase is Phase.AFTER else None
        trap.go_off(request)
        await trap.released.wait()
        if answer is None:
            if not trap.pass_on:
                return False
            answer = await self._ask(request)
        writer.write(answer)
        await writer.drain()
        return request.keeps_open

    async def _while(self, seconds: float) -> None:
        """Wait so long, or until the weather clears."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._clear.wait()

    async def _pass(self, request: Message, writer: asyncio.StreamWriter) -> bool:
        writer.write(await self._ask(request))
        await writer.drain()
        return request.keeps_open

    async def _ask(self, request: Message) -> bytes:
        """S3's answer, on a connection of its own; OSError where it is down."""
        reader, writer = await asyncio.open_connection(*self._target, limit=http1.HEAD_BYTES)
        try:
            writer.write(request.raw)
            await writer.drain()
            if request.head.startswith(b"HEAD "):
                return await reader.readuntil(b"\r\n\r\n")  # has a length and no body
            return (await http1.read_answer(reader)).raw
        finally:
            writer.close()

    async def _half(self, request: Message) -> None:
        """Half of the body goes to S3, then the connection is reset."""
        _, writer = await asyncio.open_connection(*self._target)
        writer.write(request.head + request.body[: len(request.body) // 2])
        await writer.drain()
        # A reset throws away what the other side has not read yet: give it the time to read.
        await asyncio.sleep(0.05)
        http1.reset(writer)


def _held_port() -> socket.socket:
    """A port that nobody else is given while the door does not listen at it.

    Bound and never listening, so whoever connects is refused (SO_REUSEPORT in socket(7)).
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((LOOPBACK, 0))
    return held


def path_of(request: Message) -> str:
    """Path in the first line."""
    return request.head.split(b" ", 2)[1].decode(errors="replace").partition("?")[0]


def stage_of(request: Message) -> Stage:
    """By verb and name (connectors/lake/{mapping,kept}, Iceberg's metadata folder)."""
    if not request.head.startswith(b"PUT "):
        return Stage.OTHER if request.writes else Stage.READ
    path = path_of(request)
    folders = path.split("/")
    if "_ranges" in folders and path.endswith(".json"):
        return Stage.CLAIM
    if "_iceberg" in folders:
        return Stage.METADATA if path.endswith(".json") else Stage.MANIFEST
    if "_kept" in folders:
        return Stage.NOTE
    return Stage.FILE if path.endswith(".parquet") else Stage.OTHER
