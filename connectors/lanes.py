"""Who may go next: one lane per device, in order, and waits that hold back nobody else.

A device's deliveries go strictly one after another; only the head of a device's queue is
ever ready. A waiting head sits in a timer, not in a worker, so any number of them may wait
while the other devices go on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from connectors.jobs import Finished, Job, Run
from pipeline.core.breaker import Breaker, Hold

Sleep = Callable[[float], Awaitable[None]]


class Lanes:
    """The runs of one deliver call. One event loop; no locks needed.

    `out` gets each run's end, or the fault of the driver that stops the call.
    """

    def __init__(self, jobs: Iterable[Job], sleep: Sleep) -> None:
        self._queues: dict[str, deque[Run]] = {}
        for job in jobs:
            run = Run(job=job)
            self._queues.setdefault(run.device, deque()).append(run)
        self._ready = deque(queue[0] for queue in self._queues.values())
        self._sleep = sleep
        self._timers: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self.out: asyncio.Queue[Finished | Exception] = asyncio.Queue()

    def __len__(self) -> int:
        """Devices that still have something to deliver."""
        return len(self._queues)

    async def ready(self) -> bool:
        """Wait until a run may go; False once all are done."""
        while self._queues and not self._ready:
            self._wake.clear()
            await self._wake.wait()
        return bool(self._queues)

    def take(self, limit: int) -> list[Run]:
        """Up to `limit` ready runs of different devices, all to send or all to look up."""
        taken: list[Run] = []
        while self._ready and len(taken) < limit:
            head = self._ready[0]
            if taken and (head.looking != taken[0].looking or head.alone):
                break
            taken.append(self._ready.popleft())
            if head.alone:
                break
        return taken

    def end(self, run: Run, end: Finished) -> None:
        """The run is final: its device's next one may go."""
        self.out.put_nowait(end)
        queue = self._queues[run.device]
        queue.popleft()
        if queue:
            self._ready.append(queue[0])
        else:
            del self._queues[run.device]
        self._wake.set()

    def later(self, run: Run, delay_s: float) -> None:
        """The run may go again after `delay_s` seconds."""
        timer = asyncio.create_task(self._again(run, delay_s))
        self._timers.add(timer)
        timer.add_done_callback(self._timers.discard)

    async def _again(self, run: Run, delay_s: float) -> None:
        await self._sleep(delay_s)
        self._ready.append(run)
        self._wake.set()

    async def close(self) -> None:
        """Stop all timers."""
        timers = list(self._timers)
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a round says about the system as a whole; `stay_away_s` is its own wish."""

    up: bool
    stay_away_s: float = 0.0


class Gate:
    """The sink's breaker, shared by all lanes: who may talk to the target now."""

    def __init__(
        self,
        breaker: Breaker,
        *,
        clock: Callable[[], float],
        sleep: Sleep,
        on_wait: Callable[[str, float], None],
    ) -> None:
        self.breaker = breaker
        self._clock = clock
        self._sleep = sleep
        self._on_wait = on_wait
        self._door = asyncio.Lock()
        self._back = asyncio.Event()

    async def enter(self) -> bool:
        """Wait for admission; True where this one is the probe. `leave` must follow."""
        async with self._door:  # one lane waits for the breaker, the others for that lane
            while True:
                self.breaker, verdict = self.breaker.admit(self._clock())
                if not isinstance(verdict, Hold):
                    return verdict.probe
                if verdict.delay_s is None:
                    self._back.clear()
                    await self._back.wait()
                else:
                    self._on_wait("breaker", verdict.delay_s)
                    await self._sleep(verdict.delay_s)

    def leave(self, *, probe: bool, evidence: Evidence | None) -> None:
        """Report back; None = it went without an answer or a failure of the system."""
        if evidence is None:
            self.breaker = self.breaker.nothing(probe=probe)
        elif evidence.up:
            self.breaker = self.breaker.good(probe=probe)
        else:
            self.breaker = self.breaker.bad(
                self._clock(), probe=probe, at_least_s=evidence.stay_away_s
            )
        self._back.set()
