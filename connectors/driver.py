"""Brings deliveries to one target: the ledger, the retries, the order, the waiting.

Jobs come in by `submit` at any time and out by `ends`, each once. One round of a lane, for up
to `batch_size` devices' heads at once:

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

So a round writes only what the target itself would confirm (succeeded), and a refusal is
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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import httpx
import structlog

from connectors.base import Connector
from connectors.endings import SETTLED, before_send, finished, settling, target_of
from connectors.entries import DeliveryLedger, Entries, Places
from connectors.exchange import Exchange, converse
from connectors.gate import Evidence, Gate
from connectors.jobs import End, Final, Finished, Job, Run
from connectors.lanes import Lanes
from connectors.tally import Status, Tally
from connectors.throttle import Throttle
from connectors.timing import Sleep, Timing
from connectors.verdicts import Turn, after_answers, after_sends, evidence_of, first_look
from pipeline.core.breaker import Breaker
from pipeline.core.ledger import Held, LookUpFirst, Send
from pipeline.core.outcome import Delivered
from pipeline.core.retry import DeadLetter, Finish, LookUpAfter, Reject, RetryAfter
from pipeline.core.sinks import SinkPolicy
from pipeline.state.sink_board import SinkBoard

_MAX_YIELDS = 6
log = structlog.get_logger()


class Driver:
    """One sink's deliveries in one worker.

    `client` has the time-outs of single steps (connect, read); the policy's request_s bounds
    a request as a whole. `clock` gives seconds since the Unix epoch, `jitter` a number in
    [0, 1). `on_wait(reason, delay_s)` is called at each wait: breaker, pause, ledger, hold,
    rate, quota, retry, look_up or taken_over. `places` says where the group stands
    (connectors.entries); without it nothing is fenced. `board` is what the sink's workers
    share; without it each is by itself.
    """

    def __init__(
        self,
        connector: Connector,
        ledger: DeliveryLedger,
        client: httpx.AsyncClient,
        policy: SinkPolicy,
        *,
        places: Places | None = None,
        board: SinkBoard | None = None,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        sleep: Sleep = asyncio.sleep,
        owner: str = "driver",
        on_wait: Callable[[str, float], None] | None = None,
    ) -> None:
        self._connector = connector
        self._client = client
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._tally = Tally(on_wait)
        timing = Timing(clock=clock, sleep=sleep, jitter=jitter, on_wait=self._tally.wait)
        self._gate = Gate(
            Breaker(policy=policy.breaker),
            sink=connector.name,
            board=board,
            probe_s=2 * policy.retry.request_s,
            timing=timing,
        )
        self._throttle = Throttle(policy, tokens=board, timing=timing)
        self._entries = Entries(
            ledger, sink=connector.name, owner=owner, places=places, timing=timing
        )
        self._lanes = Lanes(sleep, tenant_lanes=policy.tenant_lanes, patience_s=policy.park_after_s)
        self._workers: list[asyncio.Task[None]] = []
        self._room = asyncio.Event()
        self._taken_s = 0.0
        self._log = log.bind(sink=connector.name)

    def __len__(self) -> int:
        """Jobs in hand."""
        return len(self._lanes)

    def status(self) -> Status:
        """Counters now."""
        return self._tally.status(self._gate.breaker.phase)

    @property
    def doubts(self) -> dict[int, int]:
        """By partition: the offset below which is looked up before it is sent."""
        return self._entries.doubts

    def submit(self, jobs: Iterable[Job], *, back: bool = False) -> None:
        """Take jobs on: each comes out of `ends` once, unless forgotten.

        Jobs of one device go one after another in the order given, others side by side.
        `back`: they were Postponed before, and are the first of their devices.
        """
        self._lanes.add(jobs, back=back)
        while len(self._workers) < self._policy.lanes:
            self._workers.append(asyncio.create_task(self._lane()))

    async def ends(self) -> list[End]:
        """Wait for ends; all there are, at least one, in order per device.

        While the target or Redis is down there are none. Raises what is a fault of ours.
        """
        out = self._lanes.out
        items = [await out.get()]
        while not out.empty():
            items.append(out.get_nowait())
        self._room.set()
        ends: list[End] = []
        for item in items:
            if isinstance(item, Exception):
                raise item
            ends.append(item)
        return ends

    @property
    def free(self) -> int:
        """How many jobs more may be in hand."""
        return max(0, self._policy.in_hand - len(self._lanes))

    @property
    def has_ends(self) -> bool:
        """Whether `ends` would not wait."""
        return not self._lanes.out.empty()

    async def room(self) -> None:
        """Wait until fewer than the policy's `in_hand` jobs are in hand."""
        while len(self._lanes) >= self._policy.in_hand:
            self._room.clear()
            await self._room.wait()

    def forget(self) -> None:
        """Drop all jobs: their partitions may be another worker's now.

        Conversations under way go on to their end and write it where they still may.
        """
        self._lanes.forget()
        self._entries.forget()
        self._room.set()

    async def quiesce(self) -> None:
        """Begin no conversation any more and wait for the end of those under way."""
        self._lanes.go_on(paused=True)
        while self._lanes.talking:  # noqa: ASYNC110 - several lanes, and only at an end
            await asyncio.sleep(0.01)

    def go_on(self) -> None:
        """Begin conversations again."""
        self._lanes.go_on(paused=False)

    async def close(self) -> None:
        """End at once. Rows stay in flight, and whoever comes next looks up first."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._entries.close()
        await self._lanes.close()

    async def settle(self, ends: Sequence[Finished]) -> None:
        """Write the ends of what was rejected or dead-lettered.

        To be called once result and DLQ entry are in Kafka. Others are left alone, so
        everything that `ends` gave may be passed. Waits while Redis is away.
        """
        await self._entries.write(
            [settling(item) for item in ends if item.fence and item.final in SETTLED]
        )

    # -- lanes

    async def _lane(self) -> None:
        try:
            while True:
                await self._lanes.ready()
                await self._throttle.slot()
                try:
                    await self._turn()
                finally:
                    self._throttle.free()
        except Exception as error:  # noqa: BLE001 - a fault of ours must end the worker, not hang it
            self._lanes.out.put_nowait(error)

    async def _turn(self) -> None:
        """One conversation, or none where nothing may go by now."""
        # All waits come before anything is taken: what is taken holds back a rebalance.
        if self._connector.batch_size > 1:
            await self._lanes.gather(self._connector.batch_size)
        await self._throttle.request()
        probe = await self._gate.enter()
        evidence = None
        runs = self._lanes.take(1 if probe else max(1, self._connector.batch_size))
        try:
            if runs and runs[0].looking:
                evidence = await self._look(runs)
            elif runs and (paid := await self._paid(runs)):
                evidence = await self._send(paid)
        finally:
            self._lanes.back(runs)
            await self._gate.leave(probe=probe, evidence=evidence)

    async def _paid(self, runs: list[Run]) -> list[Run]:
        """The runs that the rates let go now; their tenants' others wait."""
        waits = await self._throttle.admit(runs)
        for tenant, wait_s in waits.items():
            if wait_s:
                self._tally.wait("rate", wait_s)
                self._lanes.rest([run for run in runs if run.tenant == tenant], wait_s)
        return [run for run in runs if not waits[run.tenant]]

    async def _send(self, runs: list[Run]) -> Evidence | None:
        begins, began_s = await self._entries.begin(runs, ours=self._lanes.holds)
        senders: list[Run] = []
        for run, begin in zip(runs, begins, strict=True):
            if begin is None:
                continue
            if isinstance(begin, Send | LookUpFirst):
                run.fence, run.attempt = begin.fence, begin.attempt
            if isinstance(begin, Send) and run.lost and not self._connector.keyed:
                # Our send ended unknown and its row has gone or was freed: look all the same.
                run.looks = 0
                self._again(run, LookUpAfter(delay_s=0.0))
            elif isinstance(begin, Send) or (
                # To send an older state again would undo a newer one: that is looked up.
                isinstance(begin, LookUpFirst) and self._connector.keyed and not begin.newer
            ):
                run.sent_s = began_s
                senders.append(run)
            elif isinstance(begin, LookUpFirst):
                since_s = began_s - begin.since_ms / 1_000
                settle_s = self._policy.retry.settle_s
                self._again(run, first_look(run, since_s, settle_s=settle_s))
            else:
                self._end(run, before_send(run.job, begin))
        if not senders:
            return None
        self._tally.count(attempts=len(senders))
        deliveries = [run.job.delivery for run in senders]
        exchange = await converse(
            lambda: self._connector.deliver(deliveries),
            self._client,
            request_s=self._policy.retry.request_s,
            late=lambda: self._clock() - began_s >= self._policy.retry.settle_s,
        )
        self._heard(exchange)
        self._throttle.sent()
        turns = after_sends(
            senders,
            exchange,
            keyed=self._connector.keyed,
            policy=self._policy,
            jitter=self._jitter,
        )
        if any(isinstance(turn.outcome, Delivered) for turn in turns):
            self._taken_s = self._clock()
        await self._conclude(turns)
        return evidence_of(turns, exchange)

    async def _look(self, runs: list[Run]) -> Evidence | None:
        self._tally.count(look_ups=len(runs))
        deliveries = [run.job.delivery for run in runs]
        exchange = await converse(
            lambda: self._connector.look_up(deliveries),
            self._client,
            request_s=self._policy.retry.request_s,
            late=lambda: True,  # a look-up that wants to write is a fault: it is broken off
        )
        self._heard(exchange)
        turns = after_answers(
            runs, exchange, taken_s=self._taken_s, policy=self._policy, jitter=self._jitter
        )
        await self._conclude(turns)
        return evidence_of(turns, exchange)

    # -- ends of a round

    async def _conclude(self, turns: Sequence[Turn]) -> None:
        written = [turn for turn in turns if turn.state is not None]
        held = await self._entries.finish(
            [
                (turn.run, turn.state, target_of(turn.outcome), turn.code)
                for turn in written
                if turn.state is not None
            ]
        )
        lost = {id(turn) for turn, how in zip(written, held, strict=True) if how is not Held.OURS}
        again = any(isinstance(turn.step, RetryAfter) for turn in turns)
        least_s = self._throttle.retry_s() if again else 0.0
        for turn in turns:
            run, step = turn.run, turn.step
            run.code = turn.code
            if isinstance(step, Finish):  # true whoever holds the row now
                self._end(run, finished(turn, Final.DELIVERED))
            elif id(turn) in lost:
                self._yield_to_other(run)
            elif isinstance(step, Reject):
                self._end(run, finished(turn, Final.REJECTED))
            elif isinstance(step, DeadLetter):
                self._end(run, replace(finished(turn, Final.DEAD_LETTERED), cause=step.cause))
            else:
                system = turn.system is False
                self._again(run, step, least_s=least_s, system=system)

    def _end(self, run: Run, done: Finished) -> None:
        self._lanes.end(run, done)
        if done.final is not Final.DELIVERED:
            self._log.warning(
                "delivery.ended",
                event_id=run.job.delivery.event.id,
                final=done.final,
                cause=done.cause,
            )

    def _again(
        self,
        run: Run,
        step: RetryAfter | LookUpAfter,
        *,
        least_s: float = 0.0,
        system: bool = False,
    ) -> None:
        delay_s = step.delay_s
        run.looking = isinstance(step, LookUpAfter)
        if not run.looking:
            run.looks = 0
            delay_s = max(delay_s, least_s)
            self._tally.count(retries=1)
        self._tally.wait("look_up" if run.looking else "retry", delay_s)
        # While the system is away all wait, and Kafka is the buffer: nothing is parked.
        self._lanes.later(run, delay_s, here=system and not run.looking)

    def _yield_to_other(self, run: Run) -> None:
        """Another worker began this one: leave it the time to look twice and send."""
        run.taken_over += 1
        run.looking, run.looks = False, 0
        delay_s = self._policy.retry.settle_s * float(2 ** min(run.taken_over + 1, _MAX_YIELDS))
        self._log.warning("delivery.taken_over", event_id=run.job.delivery.event.id)
        self._tally.wait("taken_over", delay_s)
        self._lanes.later(run, delay_s)

    def _heard(self, exchange: Exchange[Any]) -> None:
        self._throttle.answered(exchange)
        if exchange.bug:
            self._log.error("connector.bug", error=exchange.bug, wrote=exchange.wrote)
