"""Brings deliveries to one target: the ledger, the retries, the order, the waiting.

One round of a lane, for up to `batch_size` devices' heads at once:

    gate (breaker) → ledger.begin → conversation → policy → ledger.finish → final, or later
                         └ perhaps sent before → wait → look up ┘

What a crash leaves between any two steps, and why nothing is lost or doubled:

| crash after                      | row then says | the next worker                        |
|----------------------------------|---------------|----------------------------------------|
| begin, before or after the send  | in_flight     | waits settle_s, looks up twice, and    |
|                                  |               | sends only if the target has it not    |
| the target took it, before finish| in_flight     | finds it there: delivered              |
| finish(succeeded), before the    | succeeded     | AlreadyDone: the result is emitted     |
| result is in Kafka               |               | then (again: same event id)            |
| a refusal, before the DLQ has it | retryable     | sends again, is refused again, and the |
|                                  |               | DLQ gets it then                       |
| the DLQ has it, before settle    | retryable     | the same: a second entry, same event   |
|                                  |               | id; its replay is idempotent           |
| settle                           | dead_lettered | AlreadyFinished: nothing to emit       |

So `deliver` writes only what the target itself would confirm (succeeded), and a refusal is
written as *retryable* until the caller has stored its DLQ entry and result in Kafka and
calls `settle`: an entry may come twice, it cannot be lost. The caller acknowledges its
input after settle.

The part that needs the far end's help: a worker that is paused between its begin and its
send. It looks at the clock before every write and sends nothing `settle_s` after its begin;
a successor believes NotFound at its second look only, `2 · settle_s` after that begin. So
only a pause between that look at the clock and the socket itself can double an effect, and
only at a target without unique keys. The same holds for a target that commits a request
later than its second look, so settle_s must be longer than the target's own time-out; and
for a Redis that lost its rows. Workers' clocks must agree to a few seconds (NTP).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import httpx
import structlog

from connectors.base import Connector
from connectors.exchange import Exchange, converse
from connectors.jobs import Final, Finished, Job, Run
from connectors.lanes import Evidence, Gate, Lanes, Sleep
from connectors.verdicts import Turn, after_answers, after_sends, before_send, evidence_of
from pipeline.core.breaker import Breaker, BreakerPolicy
from pipeline.core.breaker import Phase as BreakerPhase
from pipeline.core.ledger import (
    Begin,
    LookUpFirst,
    Send,
    State,
)
from pipeline.core.outcome import Delivered, Outcome
from pipeline.core.retry import (
    DeadLetter,
    Finish,
    LookUpAfter,
    Reject,
    RetryAfter,
    RetryPolicy,
    backoff,
)
from pipeline.state.ledger import LedgerUnavailable

__all__ = ["DeliveryLedger", "Driver", "Final", "Finished", "Job", "Status"]

_LEDGER_WAIT = RetryPolicy(base_s=0.1, cap_s=5.0)
_MAX_YIELDS = 6
T = TypeVar("T")
log = structlog.get_logger()


class DeliveryLedger(Protocol):
    """What the driver needs of pipeline.state.ledger.Ledger."""

    async def begin(
        self, sink: str, claims: Sequence[tuple[str, str, bool]], owner: str, now_ms: int
    ) -> list[Begin]:
        """See Ledger.begin."""
        ...

    async def finish(
        self, sink: str, endings: Sequence[tuple[str, int, State, str | None, str]], now_ms: int
    ) -> list[bool]:
        """See Ledger.finish."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Counters of one driver since its start, and its breaker now."""

    attempts: int = 0
    retries: int = 0
    look_ups: int = 0
    waits: int = 0
    breaker: BreakerPhase = BreakerPhase.CLOSED


class Driver:
    """One sink's deliveries in one worker.

    `client` has the time-outs of single steps (connect, read); policy.request_s bounds a
    request as a whole. `clock` gives seconds since the Unix epoch, `jitter` a number in
    [0, 1). `on_wait(reason, delay_s)` is called at each wait: breaker, ledger, retry,
    look_up or taken_over.
    """

    def __init__(
        self,
        connector: Connector,
        ledger: DeliveryLedger,
        client: httpx.AsyncClient,
        policy: RetryPolicy,
        *,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        sleep: Sleep = asyncio.sleep,
        lanes: int = 8,
        breaker: BreakerPolicy | None = None,
        owner: str = "driver",
        on_wait: Callable[[str, float], None] | None = None,
    ) -> None:
        self._connector = connector
        self._ledger = ledger
        self._client = client
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._sleep = sleep
        self._lanes = max(1, lanes)
        self._owner = owner
        self._hook = on_wait
        self._gate = Gate(
            Breaker(policy=breaker or BreakerPolicy()),
            clock=clock,
            sleep=sleep,
            on_wait=self._waits,
        )
        self._status = Status()
        self._taken = 0
        self._log = log.bind(sink=connector.name)

    def status(self) -> Status:
        """Counters now."""
        return replace(self._status, breaker=self._gate.breaker.phase)

    async def deliver(self, jobs: Sequence[Job]) -> AsyncGenerator[Finished, None]:
        """Bring each job to its end; yields them as they end, each once.

        Jobs of one device go one after another in the order given, others side by side.
        While the target or Redis is down this waits. A cancellation passes through: rows
        stay in flight, and whoever comes next looks up first. Use contextlib.aclosing where
        the loop over it may be left early.
        """
        lanes = Lanes(jobs, self._sleep)
        workers = [
            asyncio.create_task(self._lane(lanes)) for _ in range(min(self._lanes, len(lanes)))
        ]
        try:
            for _ in jobs:
                item = await lanes.out.get()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await lanes.close()

    async def settle(self, *finished: Finished) -> None:
        """Write the ends of what was rejected or dead-lettered.

        To be called once result and DLQ entry are in Kafka. Others are left alone, so
        everything that deliver gave may be passed. Waits while Redis is away.
        """
        states = {Final.REJECTED: State.REJECTED, Final.DEAD_LETTERED: State.DEAD_LETTERED}
        endings = [
            (item.job.delivery.key, item.fence, states[item.final], None, _code(item.outcome))
            for item in finished
            if item.fence and item.final in states
        ]
        await self._finish(endings)

    # -- lanes

    async def _lane(self, lanes: Lanes) -> None:
        try:
            while await lanes.ready():
                probe = await self._gate.enter()
                evidence = None
                try:
                    runs = lanes.take(1 if probe else max(1, self._connector.batch_size))
                    if runs:
                        round_ = self._look if runs[0].looking else self._send
                        evidence = await round_(lanes, runs)
                finally:
                    self._gate.leave(probe=probe, evidence=evidence)
        except Exception as error:  # noqa: BLE001 - a fault of ours must end deliver, not hang it
            lanes.out.put_nowait(error)

    async def _send(self, lanes: Lanes, runs: list[Run]) -> Evidence | None:
        claims = [(run.key, run.job.payload_hash, run.job.replay) for run in runs]
        begins, began_s = await self._written(
            lambda ms: self._ledger.begin(self._connector.name, claims, self._owner, ms)
        )
        senders: list[Run] = []
        for run, begin in zip(runs, begins, strict=True):
            if isinstance(begin, Send) and run.lost:
                # Our send ended unknown and its row has gone or was freed: look all the same.
                run.fence, run.attempt, run.looks = begin.fence, begin.attempt, 0
                self._again(lanes, run, LookUpAfter(delay_s=0.0))
            elif isinstance(begin, Send):
                run.fence, run.attempt, run.seen = begin.fence, begin.attempt, self._taken
                senders.append(run)
            elif isinstance(begin, LookUpFirst):
                run.fence, run.attempt, run.looks = begin.fence, begin.attempt, 0
                since_s = began_s - begin.since_ms / 1_000
                wait_s = min(max(self._policy.settle_s - since_s, 0.0), self._policy.settle_s)
                self._again(lanes, run, LookUpAfter(delay_s=wait_s))
            else:
                self._end(lanes, run, before_send(run.job, begin))
        if not senders:
            return None
        self._count(attempts=len(senders))
        deliveries = [run.job.delivery for run in senders]
        exchange = await converse(
            lambda: self._connector.deliver(deliveries),
            self._client,
            request_s=self._policy.request_s,
            late=lambda: self._clock() - began_s >= self._policy.settle_s,
        )
        self._report_bug(exchange)
        turns = after_sends(senders, exchange, policy=self._policy, jitter=self._jitter)
        self._taken += sum(isinstance(turn.outcome, Delivered) for turn in turns)
        await self._conclude(lanes, turns)
        return evidence_of(turns, exchange)

    async def _look(self, lanes: Lanes, runs: list[Run]) -> Evidence | None:
        self._count(look_ups=len(runs))
        deliveries = [run.job.delivery for run in runs]
        exchange = await converse(
            lambda: self._connector.look_up(deliveries),
            self._client,
            request_s=self._policy.request_s,
            late=lambda: True,  # a look-up that wants to write is a fault: it is broken off
        )
        self._report_bug(exchange)
        turns = after_answers(
            runs, exchange, taken=self._taken, policy=self._policy, jitter=self._jitter
        )
        await self._conclude(lanes, turns)
        return evidence_of(turns, exchange)

    # -- ends of a round

    async def _conclude(self, lanes: Lanes, turns: Sequence[Turn]) -> None:
        written = [turn for turn in turns if turn.state is not None]
        held = await self._finish(
            [
                (turn.run.key, turn.run.fence, turn.state, _target(turn.outcome), turn.code)
                for turn in written
                if turn.state is not None
            ]
        )
        lost = {id(turn) for turn, ours in zip(written, held, strict=True) if not ours}
        for turn in turns:
            run, step = turn.run, turn.step
            if isinstance(step, Finish):  # true whoever holds the row now
                done = Finished(
                    job=run.job, final=Final.DELIVERED, outcome=turn.outcome, attempts=run.attempt
                )
                self._end(lanes, run, done)
            elif id(turn) in lost:
                self._yield_to_other(lanes, run)
            elif isinstance(step, Reject | DeadLetter):
                done = Finished(
                    job=run.job,
                    final=Final.REJECTED if isinstance(step, Reject) else Final.DEAD_LETTERED,
                    outcome=turn.outcome,
                    attempts=run.attempt,
                    cause=step.cause if isinstance(step, DeadLetter) else None,
                    fence=run.fence,
                )
                self._end(lanes, run, done)
            else:
                self._again(lanes, run, step)

    def _end(self, lanes: Lanes, run: Run, done: Finished) -> None:
        lanes.end(run, done)
        if done.final is not Final.DELIVERED:
            self._log.warning(
                "delivery.ended",
                event_id=run.job.delivery.event.id,
                final=done.final,
                cause=done.cause,
            )

    def _again(self, lanes: Lanes, run: Run, step: RetryAfter | LookUpAfter) -> None:
        run.looking = isinstance(step, LookUpAfter)
        if not run.looking:
            run.looks = 0
            self._count(retries=1)
        self._waits("look_up" if run.looking else "retry", step.delay_s)
        lanes.later(run, step.delay_s)

    def _yield_to_other(self, lanes: Lanes, run: Run) -> None:
        """Another worker began this one: leave it the time to look twice and send."""
        run.taken_over += 1
        run.looking, run.looks = False, 0
        delay_s = self._policy.settle_s * float(2 ** min(run.taken_over + 1, _MAX_YIELDS))
        self._log.warning("delivery.taken_over", event_id=run.job.delivery.event.id)
        self._waits("taken_over", delay_s)
        lanes.later(run, delay_s)

    # -- ledger

    async def _finish(
        self, endings: Sequence[tuple[str, int, State, str | None, str]]
    ) -> list[bool]:
        if not endings:
            return []
        held, _ = await self._written(
            lambda ms: self._ledger.finish(self._connector.name, endings, ms)
        )
        return held

    async def _written(self, call: Callable[[int], Awaitable[T]]) -> tuple[T, float]:
        """The ledger's answer and when it was asked, seconds; waits as long as it is away."""
        failures = 0
        while True:
            now_s = self._clock()
            try:
                return await call(int(now_s * 1_000)), now_s
            except LedgerUnavailable as error:
                failures += 1
                delay_s = backoff(failures, policy=_LEDGER_WAIT, jitter=self._jitter())
                self._log.warning("delivery.ledger_away", error=str(error), failures=failures)
                self._waits("ledger", delay_s)
                await self._sleep(delay_s)

    # -- counting

    def _report_bug(self, exchange: Exchange[T]) -> None:
        if exchange.bug:
            self._log.error("connector.bug", error=exchange.bug, wrote=exchange.wrote)

    def _waits(self, reason: str, delay_s: float) -> None:
        self._count(waits=1)
        if self._hook is not None:
            self._hook(reason, delay_s)

    def _count(
        self, *, attempts: int = 0, retries: int = 0, look_ups: int = 0, waits: int = 0
    ) -> None:
        now = self._status
        self._status = replace(
            now,
            attempts=now.attempts + attempts,
            retries=now.retries + retries,
            look_ups=now.look_ups + look_ups,
            waits=now.waits + waits,
        )


def _code(outcome: Outcome) -> str:
    return "" if isinstance(outcome, Delivered) else outcome.code


def _target(outcome: Outcome) -> str | None:
    return outcome.target_id if isinstance(outcome, Delivered) else None
