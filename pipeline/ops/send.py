"""Deliveries by hand: events through a connector with the engine's own rules, ledger in memory.

As nobody knows what was sent before, each event is looked up before it is written where the
target does not keep it to once by itself. What is not at an end when the time is up has the
outcome of its last attempt; what was being written just then is unknown.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import httpx

from connectors.base import Checked, Connector, Conversation, Delivery, Effect
from connectors.client import make_client
from connectors.driver import Driver
from connectors.exchange import converse
from connectors.jobs import Final as End
from connectors.jobs import Finished, Job
from connectors.registry import make_connector
from connectors.system import Policy
from pipeline.core.events import fingerprint
from pipeline.core.ledger import Begin, Claim, Ending, Held, Hold, Place
from pipeline.core.ledger_book import Book
from pipeline.core.outcome import Delivered, Found, LookUp, Outcome, Rejected, Retryable, Unknown
from pipeline.core.sinks import SinkPolicy
from pipeline.ops.send_file import Line

IN_HAND: Final = 500
"""Events given to the engine at once."""


class Came(StrEnum):
    """What came of an event."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    RETRYABLE = "retryable"
    UNKNOWN = "unknown"
    SUPERSEDED = "superseded"
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One event's end. `outcome` is None where nothing was sent in time; `attempts` are sends."""

    line: Line
    came: Came
    outcome: Outcome | None
    attempts: int

    def as_json(self) -> dict[str, Any]:
        """For a machine; every key is always there."""
        outcome = self.outcome
        ended = isinstance(outcome, Delivered)
        return {
            "line": self.line.number,
            "id": self.line.event.id,
            "device_id": self.line.event.device_id,
            "outcome": self.came.value,
            "target_id": outcome.target_id if isinstance(outcome, Delivered) else None,
            "created": outcome.created if isinstance(outcome, Delivered) else None,
            "code": None if outcome is None or ended else getattr(outcome, "code", None),
            "message": None if outcome is None or ended else getattr(outcome, "message", None),
            "answer": outcome.answer if isinstance(outcome, Rejected) else None,
            "final": outcome.final if isinstance(outcome, Rejected) else None,
            "retry_after_s": outcome.retry_after_s if isinstance(outcome, Retryable) else None,
            "attempts": self.attempts,
        }


async def send(
    sink: str,
    lines: Sequence[Line],
    *,
    values: Mapping[str, Any] | None,
    policy: SinkPolicy,
    mapping: Policy,
    wait_s: float,
    on_end: Callable[[Told], None] = lambda _: None,
) -> list[Told]:
    """Deliver; one Told per line, in the lines' order. `on_end` hears of each as it ends.

    `wait_s` is for all of them together; 0 sends each once and waits for nothing.
    """
    connector = _Watched(make_connector(sink, values=values, policy=mapping))
    async with make_client(sink, values) as client:
        if wait_s <= 0:
            return await _once(connector, lines, client, policy, on_end)
        # Nobody would take back what the driver parks, and the wait as a whole has its own end.
        patient = replace(policy, park_after_s=math.inf)
        driver = Driver(connector, MemoryLedger(), client, patient, owner="by hand")
        ends: dict[int, Told] = {}

        def take(end: Finished) -> None:
            told = _told(end, end.job.ticket)
            ends[told.line.number] = told
            on_end(told)

        try:
            async with asyncio.timeout(wait_s):
                await _drive(driver, lines, take)
        except TimeoutError:
            pass
        finally:
            await driver.close()
    return [ends.get(line.number) or connector.left(line) for line in lines]


async def check(sink: str, values: Mapping[str, Any] | None, *, request_s: float) -> list[Checked]:
    """What the connector finds of its credentials and rights; nothing is written."""
    connector = make_connector(sink, values=values)
    async with make_client(sink, values) as client:
        exchange = await converse(connector.check, client, request_s=request_s, late=lambda: True)
    if exchange.result is None:
        detail = f"The connector failed ({exchange.bug or 'it wanted to write'}): report it."
        return [Checked(what="check", ok=False, detail=detail)]
    return list(exchange.result)


async def _drive(driver: Driver, lines: Sequence[Line], take: Callable[[Finished], None]) -> None:
    waiting, left = list(reversed(lines)), len(lines)
    under_way = 0
    while left:
        more = [waiting.pop() for _ in range(min(IN_HAND - under_way, len(waiting)))]
        driver.submit([_job(line) for line in more])
        under_way += len(more)
        got = [end for end in await driver.ends() if isinstance(end, Finished)]
        await driver.settle(got)
        for end in got:
            take(end)
        under_way -= len(got)
        left -= len(got)


async def _once(
    connector: _Watched,
    lines: Sequence[Line],
    client: httpx.AsyncClient,
    policy: SinkPolicy,
    on_end: Callable[[Told], None],
) -> list[Told]:
    """Batch by batch, each sent once; a batch holds a device once, so order is kept."""
    out: list[Told] = []
    for batch in _batches(lines, connector.batch_size):
        exchange = await converse(
            lambda batch=batch: connector.deliver([_delivery(line) for line in batch]),  # type: ignore[misc]
            client,
            request_s=policy.retry.request_s,
            late=lambda: False,
        )
        for place, line in enumerate(batch):
            if exchange.result is not None:
                told = _of(exchange.result[place], line, connector.sends(line))
            else:
                said = f"The connector failed ({exchange.bug}): report it."
                bug = Unknown(code="connector.bug", message=said)
                told = _of(bug, line, connector.sends(line))
            out.append(told)
            on_end(told)
    return out


def _batches(lines: Sequence[Line], size: int) -> list[list[Line]]:
    batches: list[list[Line]] = []
    devices: set[str] = set()
    for line in lines:
        device = line.event.device_id
        if not batches or len(batches[-1]) >= size or device in devices:
            batches.append([])
            devices = set()
        batches[-1].append(line)
        devices.add(device)
    return batches


def _delivery(line: Line) -> Delivery:
    return Delivery(event=line.event, key=line.event.id, record=line.record)


def _job(line: Line) -> Job:
    return Job(
        delivery=_delivery(line),
        payload_hash=fingerprint(line.event),
        offset=line.number,
        ticket=line,
    )


def _told(end: Finished, line: Line) -> Told:
    if end.final is End.SUPERSEDED:
        return Told(line=line, came=Came.SUPERSEDED, outcome=end.outcome, attempts=end.attempts)
    return _of(end.outcome, line, end.attempts)


def _of(outcome: Outcome, line: Line, attempts: int) -> Told:
    came = {
        Delivered: Came.DELIVERED,
        Rejected: Came.REJECTED,
        Retryable: Came.RETRYABLE,
        Unknown: Came.UNKNOWN,
    }[type(outcome)]
    return Told(line=line, came=came, outcome=outcome, attempts=attempts)


class _Watched:
    """A connector whose last word on each event is kept."""

    def __init__(self, connector: Connector) -> None:
        self.name, self.keyed = connector.name, connector.keyed
        self.batch_size = connector.batch_size
        self.look_up, self.check = connector.look_up, connector.check
        self._connector = connector
        self._last: dict[str, Outcome] = {}
        self._sends: dict[str, int] = {}
        self._absent: set[str] = set()

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """As the connector; what is there already is not sent, where it could come twice."""
        # Once each: what comes of our own sends the engine looks up by itself.
        asked = [one for one in deliveries if not self.keyed and one.key not in self._absent]
        looks = (yield from self._connector.look_up(asked)) if asked else ()
        known: dict[str, Outcome] = {}
        for one, look in zip(asked, looks, strict=True):
            found = _known(look)
            if found is None:
                self._absent.add(one.key)
            else:
                known[one.key] = found
        left = [one for one in deliveries if one.key not in known]
        sent = (yield from self._sending(left)) if left else ()
        outcomes = dict(known)
        # Of a key that stands twice the first is the one that was written.
        for one, outcome in zip(left, sent, strict=True):
            outcomes.setdefault(one.key, outcome)
        self._last |= outcomes
        told = iter(sent)
        return [known.get(one.key) or next(told) for one in deliveries]

    def _sending(self, left: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """As the connector; while a write is on its way, nobody knows how it ends."""
        for one in left:
            self._sends[one.key] = self._sends.get(one.key, 0) + 1
        said = "The time was up while it was being written: look whether the target has it."
        cut = Unknown(code="delivery.cut_off", message=said)
        talk = self._connector.deliver(left)
        try:
            call = next(talk)
            while True:
                if call.effect is not Effect.READ:
                    self._last |= {one.key: cut for one in left}
                call = talk.send((yield call))
        except StopIteration as end:
            outcomes: Sequence[Outcome] = end.value
            return outcomes

    def sends(self, line: Line) -> int:
        """How often it was given to the connector."""
        return self._sends.get(line.event.id, 0)

    def left(self, line: Line) -> Told:
        """An event that was not at an end in time."""
        last = self._last.get(line.event.id)
        if last is None:
            return Told(line=line, came=Came.NOT_SENT, outcome=None, attempts=0)
        return _of(last, line, self.sends(line))


def _known(look: LookUp) -> Outcome | None:
    """What a look before the first send settles; None where it is to be sent."""
    if isinstance(look, Found):
        return Delivered(target_id=look.target_id, created=False)
    return look if isinstance(look, Retryable) else None


class MemoryLedger:
    """connectors.entries.DeliveryLedger in memory, for one command's life."""

    def __init__(self) -> None:
        self._book = Book()

    async def hold(
        self, sink: str, partitions: Mapping[int, Place], owner: str, now_ms: int
    ) -> dict[int, Hold]:
        """As Ledger.hold."""
        del sink
        return self._book.hold(partitions, owner, now_ms)

    async def begin(
        self, sink: str, claims: Sequence[Claim], owner: str, now_ms: int
    ) -> list[Begin]:
        """As Ledger.begin."""
        del sink
        return self._book.begin(claims, owner, now_ms)

    async def finish(
        self, sink: str, endings: Sequence[Ending], now_ms: int, owner: str = ""
    ) -> list[Held]:
        """As Ledger.finish."""
        del sink
        return self._book.finish(endings, owner, now_ms)


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return int(time.time() * 1000)
