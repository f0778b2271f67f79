"""The driver's side of the ledger: it waits while Redis is away, and holds its partitions.

Every begin and finish carries the token of the event's partition. A worker that lost the
partition has an older one and is refused (Fenced): it can neither begin nor end an attempt.
Where the ledger itself is gone (Gone, or a doubt from `hold`), what may have been sent by
anybody before is looked up first (Mode.DOUBT), and that is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import structlog

from connectors.jobs import Run
from connectors.timing import Timing
from connectors.together import Together
from pipeline.core.events import Action
from pipeline.core.ledger import (
    AlreadyDone,
    AlreadyFinished,
    Begin,
    Claim,
    Ending,
    Fenced,
    Gone,
    Held,
    Hold,
    KeyConflict,
    LookUpFirst,
    Mode,
    Place,
    Send,
    State,
    Superseded,
)
from pipeline.core.retry import RetryPolicy, backoff
from pipeline.state.ledger import LedgerUnavailable

_WAIT = RetryPolicy(base_s=0.1, cap_s=5.0)
_KEEPS_VERSION = frozenset({State.SUCCEEDED, State.REJECTED})
T = TypeVar("T")
log = structlog.get_logger()

Decision = Send | LookUpFirst | AlreadyDone | AlreadyFinished | KeyConflict | Superseded
"""What may follow; Fenced and Gone are dealt with here."""
Places = Callable[[Collection[int]], Awaitable[Mapping[int, Place]]]
"""Where the group stands in partitions of the sink's topic; waits until they are surely ours."""


class DeliveryLedger(Protocol):
    """What the driver needs of pipeline.state.ledger.Ledger."""

    async def hold(
        self, sink: str, partitions: Mapping[int, Place], owner: str, now_ms: int
    ) -> dict[int, Hold]:
        """See Ledger.hold."""
        ...

    async def begin(
        self, sink: str, claims: Sequence[Claim], owner: str, now_ms: int
    ) -> list[Begin]:
        """See Ledger.begin."""
        ...

    async def finish(
        self, sink: str, endings: Sequence[Ending], now_ms: int, owner: str = ""
    ) -> list[Held]:
        """See Ledger.finish."""
        ...


class Entries:
    """One sink's ledger as one worker uses it. `places` None: no partitions, no fencing."""

    def __init__(
        self,
        ledger: DeliveryLedger,
        *,
        sink: str,
        owner: str,
        places: Places | None,
        timing: Timing,
    ) -> None:
        self._ledger = ledger
        self._sink = sink
        self._owner = owner
        self._places = places
        self._timing = timing
        self._holds: dict[int, Hold] = {}
        self._held_s: dict[int, float] = {}
        self._epoch = 0
        self._holding = asyncio.Lock()
        self._begins: Together[Claim, tuple[Begin, float]] = Together(self._begin)
        self._endings: Together[Ending, Held] = Together(self._finish)
        self._log = log.bind(sink=sink)

    @property
    def doubts(self) -> dict[int, int]:
        """By partition: the offset below which is looked up first, where there is one."""
        return {p: h.doubt_below for p, h in self._holds.items() if h.doubt_below}

    def forget(self) -> None:
        """The partitions may be another's now."""
        self._epoch += 1
        self._holds.clear()

    async def begin(
        self, runs: Sequence[Run], *, ours: Callable[[Run], bool]
    ) -> tuple[list[Decision | None], float]:
        """One decision per run, and when the first was asked for, seconds.

        None where the run is not ours any more: nothing was written, nothing may be sent.
        """
        out: dict[str, Decision] = {}
        asked_s: float | None = None
        left = list(runs)
        while left := [run for run in left if ours(run)]:
            await self._hold({run.job.partition for run in left})
            if not (left := [run for run in left if ours(run)]):
                break
            claims = [self._claim(run) for run in left]
            replies = await self._begins.ask(claims)
            refused = []
            for run, claim, (reply, at_s) in zip(left, claims, replies, strict=True):
                asked_s = at_s if asked_s is None else asked_s
                if isinstance(reply, Fenced | Gone):
                    refused.append(run)
                    self._lost(claim, reply)
                else:
                    run.token = claim.token
                    out[run.key] = self._dated(claim, reply)
            left = refused
            if left:
                await self._timing.wait("hold", _WAIT.base_s)
        return [
            out.get(run.key) for run in runs
        ], self._timing.clock() if asked_s is None else asked_s

    async def finish(self, endings: Sequence[tuple[Run, State, str | None, str]]) -> list[Held]:
        """End each (run, state, target id, code)."""
        rows = [self._ending(*ending) for ending in endings]
        return await self.write(rows)

    async def write(self, rows: Sequence[Ending]) -> list[Held]:
        """Write endings; waits while Redis is away."""
        return await self._endings.ask(rows) if rows else []

    async def close(self) -> None:
        """Ask nothing more."""
        await self._begins.close()
        await self._endings.close()

    async def _begin(self, claims: list[Claim]) -> list[tuple[Begin, float]]:
        replies, at_s = await self._written(
            lambda ms: self._ledger.begin(self._sink, claims, self._owner, ms)
        )
        return [(reply, at_s) for reply in replies]

    async def _finish(self, rows: list[Ending]) -> list[Held]:
        held, _ = await self._written(
            lambda ms: self._ledger.finish(self._sink, rows, ms, self._owner)
        )
        return held

    def _claim(self, run: Run) -> Claim:
        job = run.job
        hold = self._holds.get(job.partition, Hold(token=0, doubt_below=0))
        doubtful = job.mode is Mode.FIRST and job.offset < hold.doubt_below
        event = job.delivery.event
        return Claim(
            key=run.key,
            payload_hash=job.payload_hash,
            mode=Mode.DOUBT if doubtful else job.mode,
            partition=job.partition,
            token=hold.token,
            entity=event.entity,
            version=event.version,
        )

    @staticmethod
    def _ending(run: Run, state: State, target_id: str | None, code: str) -> Ending:
        event = run.job.delivery.event
        ending = Ending(
            key=run.key,
            fence=run.fence,
            state=state,
            target_id=target_id,
            code=code,
            partition=run.job.partition,
            token=run.token,
        )
        if event.action is Action.RAISE or state not in _KEEPS_VERSION:
            return ending
        return replace(ending, entity=event.entity, version=event.version)

    def _dated(self, claim: Claim, reply: Decision) -> Decision:
        """What was sent before the ledger was lost was begun before we took the partition."""
        if claim.mode is Mode.DOUBT and isinstance(reply, LookUpFirst) and not reply.attempt:
            return replace(reply, since_ms=int(self._held_s[claim.partition] * 1_000))
        return reply

    def _lost(self, claim: Claim, reply: Fenced | Gone) -> None:
        hold = self._holds.get(claim.partition)
        if hold is None or hold.token != claim.token:
            return  # another lane has taken a newer one meanwhile
        del self._holds[claim.partition]
        why = "the ledger is gone" if isinstance(reply, Gone) else "another worker has it"
        self._log.warning("delivery.hold_lost", partition=claim.partition, why=why)

    async def _hold(self, partitions: Collection[int]) -> None:
        """Have a token for each partition; one lane at a time, as each takes a new one."""
        if self._places is None:
            return
        epoch = self._epoch
        while self._epoch == epoch and any(p not in self._holds for p in partitions):
            async with self._holding:
                if wanted := {p for p in partitions if p not in self._holds}:
                    await self._take(wanted, self._places)

    async def _take(self, wanted: Collection[int], where: Places) -> None:
        epoch = self._epoch
        places = await where(wanted)
        holds, at_s = await self._written(
            lambda ms: self._ledger.hold(self._sink, places, self._owner, ms)
        )
        if self._epoch != epoch:
            return  # partitions were taken away meanwhile
        for partition, hold in holds.items():
            if places[partition].committed < hold.doubt_below:
                self._log.warning(
                    "delivery.ledger_lost",
                    partition=partition,
                    detail=(
                        f"The ledger of sink {self._sink} has lost its rows: everything below "
                        f"offset {hold.doubt_below} of partition {partition} is looked up at "
                        "the target before it is sent."
                    ),
                )
        self._holds.update(holds)
        self._held_s.update(dict.fromkeys(holds, at_s))

    async def _written(self, call: Callable[[int], Awaitable[T]]) -> tuple[T, float]:
        """The ledger's answer and when it was asked, seconds; waits as long as it is away."""
        failures = 0
        while True:
            now_s = self._timing.clock()
            try:
                return await call(int(now_s * 1_000)), now_s
            except LedgerUnavailable as error:
                failures += 1
                self._log.warning("delivery.ledger_away", error=str(error), failures=failures)
                await self._timing.wait(
                    "ledger", backoff(failures, policy=_WAIT, jitter=self._timing.jitter())
                )
