"""Who may go next: one lane per device, in order, and waits that hold back nobody else.

A device's deliveries go strictly one after another; only the head of a device's queue is
ever ready. A waiting head sits in a timer, not in a worker; one that waits long leaves with
all that is behind it (Postponed), and the caller keeps them. Tenants take turns, so that one
with many events does not hold back the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from connectors.jobs import End, Finished, Job, Postponed, Run, Waiting
from connectors.timing import Sleep

_GATHER_S = 0.01
_GATHER_TURNS = 5


class Lanes:
    """The runs of one driver. One event loop; no locks needed.

    `out` gets each run's end, or the fault of the driver that stops it. `tenant_lanes` is in
    how many conversations one tenant may take part at once; `patience_s` how long a head
    waits here.
    """

    def __init__(
        self, sleep: Sleep, *, tenant_lanes: int = 1_000, patience_s: float = float("inf")
    ) -> None:
        self._queues: dict[str, deque[Run]] = {}
        self._ready: dict[str, deque[Run]] = {}
        self._talking: Counter[str] = Counter()
        self._away: set[str] = set()
        self._resting: set[str] = set()
        self._tenant_lanes = tenant_lanes
        self._patience_s = patience_s
        self._sleep = sleep
        self._timers: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._epoch = 0
        self._count = 0
        self.paused = False
        self.out: asyncio.Queue[End | Exception] = asyncio.Queue()

    def __len__(self) -> int:
        """Jobs in hand."""
        return self._count

    @property
    def talking(self) -> bool:
        """Whether a conversation is under way."""
        return bool(self._talking)

    def holds(self, run: Run) -> bool:
        """Whether the run is still ours."""
        return run.epoch == self._epoch

    def add(self, jobs: Iterable[Job], *, back: bool = False) -> None:
        """Take jobs on, in order per device. `back`: they come from where the caller kept them.

        What follows a job that has just left (Postponed) leaves too, until that one is back.
        """
        for job in jobs:
            if back:
                self._away.discard(job.device)
            elif job.device in self._away:
                self.out.put_nowait(Postponed(job=job, delay_s=0.0, waiting=Waiting()))
                continue
            self._count += 1
            run = Run.of(job, self._epoch)
            queue = self._queues.setdefault(run.device, deque())
            queue.append(run)
            if len(queue) == 1:
                self._let_go(run)

    async def ready(self) -> None:
        """Wait until a run may go."""
        while self.paused or not self._free():
            self._wake.clear()
            await self._wake.wait()

    async def gather(self, limit: int) -> None:
        """Wait for a whole batch, a moment, as long as another conversation is under way.

        Events trickle in one by one; without this, the lanes would take them one by one too.
        """
        for _ in range(_GATHER_TURNS):
            ready = sum(len(queue) for queue in self._ready.values())
            if not self._talking or ready >= limit:
                return
            await self._sleep(_GATHER_S)

    def take(self, limit: int) -> list[Run]:
        """Up to `limit` ready runs of different devices, all to send or all to look up.

        `back` must follow.
        """
        taken: list[Run] = []
        tenants = [] if self.paused else self._free()
        while tenants and len(taken) < limit:
            for tenant in list(tenants):
                queue = self._ready[tenant]
                head = queue[0]
                apart = taken and (head.looking != taken[0].looking or head.alone)
                if apart or len(taken) == limit:
                    tenants.remove(tenant)
                    continue
                taken.append(queue.popleft())
                if not queue:
                    del self._ready[tenant]
                    tenants.remove(tenant)
                if head.alone:
                    tenants.clear()
                    break
        for tenant in {run.tenant for run in taken}:
            self._talking[tenant] += 1
            if tenant in self._ready:  # the others are first the next time
                self._ready[tenant] = self._ready.pop(tenant)
        return taken

    def back(self, runs: Sequence[Run]) -> None:
        """The conversation about these runs is over, whatever came of it."""
        for tenant in {run.tenant for run in runs}:
            self._talking[tenant] -= 1
            if self._talking[tenant] <= 0:
                del self._talking[tenant]
        self._wake.set()

    def rest(self, runs: Sequence[Run], delay_s: float) -> None:
        """Runs of one tenant were taken and may not go: its next ones may in `delay_s` seconds."""
        ours = [run for run in runs if run.epoch == self._epoch]
        if not ours:
            return
        tenant = ours[0].tenant
        self._ready.setdefault(tenant, deque()).extendleft(reversed(ours))
        self._resting.add(tenant)
        self._time(self._rested(tenant, delay_s))

    def end(self, run: Run, end: Finished) -> None:
        """The run is final: its device's next one may go."""
        if run.epoch != self._epoch:
            return
        self.out.put_nowait(end)
        self._count -= 1
        queue = self._queues[run.device]
        queue.popleft()
        if queue:
            self._let_go(queue[0])
        else:
            del self._queues[run.device]

    def later(self, run: Run, delay_s: float, *, here: bool = False) -> None:
        """The run may go again after `delay_s` seconds. `here`: it stays, however long that is."""
        if run.epoch != self._epoch:
            return
        if not here and delay_s > self._patience_s:
            self._leave(run, delay_s)
            return
        self._time(self._again(run, delay_s))

    def forget(self) -> None:
        """Drop everything: what is under way ends without an end here."""
        self._epoch += 1
        self._queues.clear()
        self._ready.clear()
        self._away.clear()
        self._resting.clear()
        self._count = 0
        for timer in self._timers:
            timer.cancel()
        while not self.out.empty():
            if isinstance(fault := self.out.get_nowait(), Exception):
                self.out.put_nowait(fault)
                return

    def go_on(self, *, paused: bool) -> None:
        """Begin no conversation any more, or begin them again."""
        self.paused = paused
        self._wake.set()

    async def close(self) -> None:
        """Stop all timers."""
        timers: list[asyncio.Task[Any]] = list(self._timers)
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)

    def _leave(self, run: Run, delay_s: float) -> None:
        queue = self._queues.pop(run.device)
        self._count -= len(queue)
        self._away.add(run.device)
        self.out.put_nowait(Postponed(job=run.job, delay_s=delay_s, waiting=run.waiting()))
        queue.popleft()
        for behind in queue:
            self.out.put_nowait(Postponed(job=behind.job, delay_s=0.0, waiting=Waiting()))

    def _free(self) -> list[str]:
        """Tenants with a ready run that may take part in one more conversation, in turn."""
        return [
            tenant
            for tenant in self._ready
            if tenant not in self._resting and self._talking[tenant] < self._tenant_lanes
        ]

    def _time(self, waiting: Coroutine[Any, Any, None]) -> None:
        timer = asyncio.create_task(waiting)
        self._timers.add(timer)
        timer.add_done_callback(self._timers.discard)

    def _let_go(self, run: Run) -> None:
        self._ready.setdefault(run.tenant, deque()).append(run)
        self._wake.set()

    async def _rested(self, tenant: str, delay_s: float) -> None:
        await self._sleep(delay_s)
        self._resting.discard(tenant)
        self._wake.set()

    async def _again(self, run: Run, delay_s: float) -> None:
        await self._sleep(delay_s)
        if run.epoch == self._epoch:
            self._let_go(run)
