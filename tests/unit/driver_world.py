"""A small world for the driver: a far end with a real store, a scripted connector, a clock."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import httpx

from connectors.base import Call, Checked, Conversation, Delivery, Effect
from connectors.driver import Driver
from connectors.jobs import Final, Finished, Job, Postponed
from pipeline.core.breaker import BreakerPolicy
from pipeline.core.events import BusinessEvent, Severity, Source
from pipeline.core.ledger import (
    Begin,
    Claim,
    Ending,
    Held,
    Hold,
    Mode,
    Place,
    State,
)
from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Scope,
    Unknown,
)
from pipeline.core.retry import RetryPolicy
from pipeline.core.sinks import SinkPolicy
from pipeline.state.ledger import LedgerUnavailable
from tests.unit.ledger_book import CoreBook

URL = "http://far.end/"
POLICY = RetryPolicy(base_s=1, cap_s=30, max_attempts=4, request_s=10, settle_s=15)


def event(device: str, number: int) -> BusinessEvent:
    return BusinessEvent(
        id=f"{device}-{number}",
        type="anomaly.opened",
        tenant="acme",
        device_id=f"acme/{device}",
        asset_id=None,
        customer_id=None,
        severity=Severity.WARNING,
        confidence=0.9,
        summary="too warm",
        detector="ewma",
        metric="t",
        rule="r",
        correlation_id="c",
        occurred_at_ms=0,
        observed_at_ms=0,
        source=Source(topic="t", partition=0, offset=number, index=0, session=0, sequence=number),
        snapshot=(),
    )


def job(device: str, number: int, *, mode: Mode = Mode.FIRST, payload: str = "p") -> Job:
    delivery = Delivery(event=event(device, number), key=f"{device}-{number}")
    return Job(delivery=delivery, payload_hash=payload, mode=mode, offset=number)


class Time:
    """Time that moves only when everybody waits: to the instant the first one waits for."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def clock(self) -> float:
        return self.now

    async def sleep(self, delay_s: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self.now + delay_s, next(self._count), woken))
        await woken

    async def run(self) -> None:
        while True:
            for _ in range(30):  # let all that can go on without time go on
                await asyncio.sleep(0)
            if self._waiting:
                due, _, woken = heapq.heappop(self._waiting)
                self.now = max(self.now, due)
                if not woken.done():
                    woken.set_result(None)


class ModelLedger:
    """The core's rules over dicts; what Redis does with the same rules is tested with Redis."""

    def __init__(self) -> None:
        self._book = CoreBook()
        self.rows, self.markers = self._book.rows, self._book.marks
        self.away = 0
        self.begins = self.finishes = 0

    def _reach(self) -> None:
        if self.away:
            self.away -= 1
            raise LedgerUnavailable("Redis is away")

    async def hold(
        self, sink: str, partitions: Mapping[int, Place], owner: str, now_ms: int
    ) -> dict[int, Hold]:
        del sink
        self._reach()
        return self._book.hold(partitions, owner, now_ms)

    async def begin(
        self, sink: str, claims: Sequence[Claim], owner: str, now_ms: int
    ) -> list[Begin]:
        del sink
        self._reach()
        self.begins += 1
        return self._book.begin(claims, owner, now_ms)

    async def finish(
        self, sink: str, endings: Sequence[Ending], now_ms: int, owner: str = ""
    ) -> list[Held]:
        del sink
        self._reach()
        self.finishes += 1
        return self._book.finish(endings, owner, now_ms)


@dataclass
class FarEnd:
    """A target without unique keys: what is written twice is there twice.

    `script[key]` are the answers to the next writes of that key, `all` those to the next
    requests of any kind: 'before' (fails before it commits), 'after' (commits, then drops),
    '503', '409' (this item is locked), '422' (refused); then it takes everything.
    """

    ledger: ModelLedger
    script: dict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    all: deque[str] = field(default_factory=deque)
    effects: list[str] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)  # a worker may die before the request arrives
        try:
            return self._find(request) if request.method == "GET" else self._write(request)
        finally:
            await asyncio.sleep(0)  # or after it was taken, before the answer arrives

    def _write(self, request: httpx.Request) -> httpx.Response:
        keys: list[str] = json.loads(request.content)
        self.sizes.append(len(keys))
        answers = []
        whole = self.all.popleft() if self.all else ""
        todos = [whole or (self.script[key].popleft() if self.script[key] else "") for key in keys]
        for key, todo in zip(keys, todos, strict=True):
            self.requests.append(("write", key))
            row = self.ledger.rows.get(key)
            if row is None or row.state is not State.IN_FLIGHT:
                self.faults.append(f"{key} was sent while its row was not in flight")
            if "503" in todos:  # it is down for the request as a whole: it takes nothing of it
                continue
            if todo in {"", "after"}:
                self.effects.append(key)
            if todo in {"before", "after"}:
                raise httpx.ReadError("connection lost", request=request)
            answers.append(int(todo or 201))
        if "503" in todos:
            return httpx.Response(503, headers={"retry-after": "3"})
        return httpx.Response(200, json=answers)

    def _find(self, request: httpx.Request) -> httpx.Response:
        keys = request.url.params.get_list("key")
        self.requests.extend(("look", key) for key in keys)
        if self.all:
            self.all.popleft()
            return httpx.Response(503)
        return httpx.Response(200, json=[key in self.effects for key in keys])


@dataclass
class Scripted:
    """The connector: one list of keys a request. `broken` keys raise in its own code."""

    name: str = "scripted"
    batch_size: int = 1
    keyed: bool = False
    broken: frozenset[str] = frozenset()
    broken_after: frozenset[str] = frozenset()

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        keys = [delivery.key for delivery in deliveries]
        if self.broken & set(keys):
            raise KeyError("mapping")
        request = httpx.Request("POST", URL, json=keys)
        reply = yield Call(step="create", request=request, effect=Effect.WRITE)
        if self.broken_after & set(keys):
            raise KeyError("answer")
        if isinstance(reply, httpx.TransportError):
            return [Unknown(code="lost", message="No answer.")] * len(keys)
        if reply.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            wish = float(reply.headers["retry-after"])
            down = Retryable(code="down", message="Down.", scope=Scope.SYSTEM, retry_after_s=wish)
            return [down] * len(keys)
        return [_outcome(key, status) for key, status in zip(keys, reply.json(), strict=True)]

    def check(self) -> Conversation[Sequence[Checked]]:
        yield from ()
        return []

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        keys = [delivery.key for delivery in deliveries]
        request = httpx.Request("GET", URL, params={"key": keys})
        reply = yield Call(step="find", request=request, effect=Effect.READ)
        if isinstance(reply, httpx.TransportError) or reply.is_error:
            down = Retryable(code="down", message="Down.", scope=Scope.SYSTEM)
            return [down] * len(keys)
        return [
            Found(target_id=f"id-{key}") if there else NotFound()
            for key, there in zip(keys, reply.json(), strict=True)
        ]


def _outcome(key: str, status: int) -> Outcome:
    if status == httpx.codes.CREATED:
        return Delivered(target_id=f"id-{key}", created=True)
    if status == httpx.codes.CONFLICT:
        return Retryable(code="locked", message="Locked.", scope=Scope.ITEM)
    return Rejected(code="refused", message="Refused.")


class World:
    """All of it together. `waits` are the driver's own words on why it waited."""

    def __init__(self, connector: Scripted | None = None) -> None:
        self.connector = connector or Scripted()
        self.time = Time()
        self.ledger = ModelLedger()
        self.far = FarEnd(self.ledger)
        self.waits: list[tuple[str, float]] = []
        self.committed = self.end = 0

    def state(self, key: str) -> str:
        return self.ledger.rows[key].state.value

    @asynccontextmanager
    async def driver(
        self, *, lanes: int = 8, park_after_s: float = float("inf")
    ) -> AsyncIterator[Driver]:
        mover = asyncio.create_task(self.time.run())
        async with httpx.AsyncClient(transport=httpx.MockTransport(self.far)) as client:
            driver = Driver(
                self.connector,
                self.ledger,
                client,
                SinkPolicy(
                    retry=POLICY,
                    breaker=BreakerPolicy(failures=3, open_s=2, cap_s=20),
                    lanes=lanes,
                    tenant_lanes=lanes,
                    park_after_s=park_after_s,
                    in_hand=10_000,
                    retry_share=1.0,
                    retry_floor_per_s=1_000.0,
                ),
                places=self.places,
                clock=self.time.clock,
                jitter=lambda: 0.5,
                sleep=self.time.sleep,
                on_wait=lambda reason, delay_s: self.waits.append((reason, delay_s)),
            )
            try:
                yield driver
            finally:
                await driver.close()
        mover.cancel()

    async def places(self, partitions: Collection[int]) -> dict[int, Place]:
        return {p: Place(committed=self.committed, end=self.end) for p in partitions}

    async def deliver(
        self, *jobs: Job, lanes: int = 8, park_after_s: float = float("inf")
    ) -> list[Finished]:
        async with self.driver(lanes=lanes, park_after_s=park_after_s) as driver:
            return await drain(driver, jobs, self.time)


async def drain(driver: Driver, jobs: Sequence[Job], time: Time | None = None) -> list[Finished]:
    """Submit jobs and collect their ends; keeps what is postponed as the agent's table does."""
    finished: list[Finished] = []
    shelf: dict[str, list[tuple[int, Postponed]]] = {}
    timers: set[asyncio.Task[None]] = set()

    def begin(device: str) -> None:
        assert time is not None
        first = min(shelf[device], key=lambda kept: kept[0])[1]

        async def back() -> None:
            await time.sleep(first.delay_s)
            driver.submit([replace(first.job, waiting=first.waiting)], back=True)

        timers.add(asyncio.create_task(back()))

    driver.submit(jobs)
    try:
        while len(finished) < len(jobs):
            for end in await driver.ends():
                device, offset = end.job.device, end.job.offset
                kept = shelf.get(device, [])
                if isinstance(end, Postponed):
                    known = bool(kept)
                    again = known and offset == min(kept)[0]
                    others = [pair for pair in kept if pair[0] != offset]
                    shelf[device] = [*others, (offset, end)]
                    if again or not known:
                        begin(device)
                    continue
                finished.append(end)
                if kept:
                    shelf[device] = [pair for pair in kept if pair[0] != offset]
                    if shelf[device]:
                        begin(device)
    finally:
        for timer in timers:
            timer.cancel()
    return finished


def finals(results: Sequence[Finished]) -> dict[str, Final]:
    return {finished.job.delivery.key: finished.final for finished in results}
