"""The ways to strike: what each kind of fault does to the world of a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from tests.faults.checker import Struck
from tests.faults.follow import Follower
from tests.faults.load import Load
from tests.faults.plan import Fault, Kind
from tests.faults.strikes import Strike, Way
from tests.faults.world import ERP, World
from tests.waiting import first

WARM_S: Final = 30.0
SHORT_WARM_S: Final = 6.0
"""Undisturbed flow before the outage: what the other sink's delay is compared with."""
STRIKE_S: Final = 25.0
"""A strike that nobody walks into within this did not come about."""
POISON_S: Final = 20.0
CAUGHT_UP_S: Final = 240.0
REPLAYED: Final = 20
"""Most dead letters in one replay."""
ASIDE: Final = frozenset({Kind.PAUSE_SHORT, Kind.PAUSE_LONG, Kind.REPLAY})
"""Faults that go on while the next ones strike."""


class Acts:
    """Strikes one fault after the other. `say` takes lines for a person.

    `stalled` is what did not come to an end in time; `outage_ms`: when the quiet before the
    outage began, when the outage began and ended.
    """

    def __init__(
        self,
        world: World,
        load: Load,
        follower: Follower,
        *,
        short: bool,
        say: Callable[[str], None],
    ) -> None:
        self.stalled: list[str] = []
        self.outage_ms: tuple[int, int, int] | None = None
        self._world = world
        self._load = load
        self._follower = follower
        self._short = short
        self._say = say
        self._aside: set[asyncio.Task[None]] = set()
        self._ways: Mapping[Kind, Callable[[Fault], Awaitable[bool]]] = {
            Kind.KILL: self._kill,
            Kind.PAUSE_SHORT: self._pause,
            Kind.PAUSE_LONG: self._pause,
            Kind.REDIS_KILL: partial(self._restart, "redis", kill=True),
            Kind.REDIS_EMPTY: self._empty,
            Kind.REDIS_EMPTY_DOWN: self._empty_down,
            Kind.KAFKA_RESTART: partial(self._restart, "kafka", kill=False),
            Kind.ERP_KILL: partial(self._restart, ERP, kill=True),
            Kind.ERP_OUTAGE: self._outage,
            Kind.DNS: self._dns,
            Kind.POISON: self._poison,
            Kind.UNREADABLE: self._unreadable,
            Kind.REPLAY: self._replay,
        }

    async def strike(self, fault: Fault) -> Struck | None:
        """Let one fault strike; None where nobody walked into it."""
        struck = Struck(kind=fault.kind, begun_ms=now_ms())
        if fault.strike is not None:
            return await self._by_proxy(struck, fault.strike)
        if fault.kind is Kind.REPLAY and not self.to_replay():
            return None
        if fault.kind in ASIDE:
            task = asyncio.create_task(self._beside(struck, fault))
            self._aside.add(task)
            task.add_done_callback(self._aside.discard)
            return struck
        came = await self._ways[fault.kind](fault)
        struck.ended_ms = now_ms()
        return struck if came else None

    async def finish(self) -> None:
        """Wait for the faults that go on aside."""
        await asyncio.gather(*self._aside, return_exceptions=True)

    async def end(self) -> None:
        """End them."""
        for task in self._aside:
            task.cancel()
        await self.finish()

    def to_replay(self) -> list[str]:
        """Dead letters of which nothing newer was told."""
        told = self._follower.told[ERP]
        dead = [e for e, results in told.items() if results[-1].outcome == "dead_lettered"]
        return dead[:REPLAYED]

    async def _beside(self, struck: Struck, fault: Fault) -> None:
        await self._ways[fault.kind](fault)
        struck.ended_ms = now_ms()

    async def _by_proxy(self, struck: Struck, strike: Strike) -> Struck | None:
        """Over once as many requests are hit as should be."""
        proxy = self._world.proxy
        armed = await proxy.arm(strike)
        if not await first(armed.spent.is_set, within_s=STRIKE_S):
            await proxy.lift(armed)
        struck.ended_ms = now_ms()
        struck.keys, struck.hits = armed.keys, armed.hits
        return struck if armed.hits else None

    async def _kill(self, fault: Fault) -> bool:
        await asyncio.to_thread(self._world.erp.kill, fault.worker or 0)
        return True

    async def _pause(self, fault: Fault) -> bool:
        pid = self._world.erp.stop(fault.worker or 0)
        try:
            await asyncio.sleep(fault.for_s)
        finally:
            self._world.erp.go_on(pid)
        return True

    async def _restart(self, part: str, fault: Fault, *, kill: bool) -> bool:
        stack = self._world.stack
        await asyncio.to_thread(stack.stop_part, part, kill=kill)
        await asyncio.sleep(fault.for_s)
        await asyncio.to_thread(stack.start_part, part)
        return True

    async def _empty(self, fault: Fault) -> bool:
        del fault
        await self._world.empty_redis()
        return True

    async def _empty_down(self, fault: Fault) -> bool:
        """The ledger is gone while nobody is there to see it go."""
        del fault
        await self.finish()  # a worker that is stopped goes on first
        erp = self._world.erp
        numbers = erp.members
        for number in numbers:
            await asyncio.to_thread(erp.kill_for_good, number)
        await self._world.empty_redis()
        for number in numbers:
            await asyncio.to_thread(erp.join, number)
        return True

    async def _dns(self, fault: Fault) -> bool:
        self._world.dns_flag.touch()
        self._world.proxy.reset_all()  # connections that are open need no name
        try:
            await asyncio.sleep(fault.for_s)
        finally:
            self._world.dns_flag.unlink()
        return True

    async def _outage(self, fault: Fault) -> bool:
        """Nobody there at the ERP's address, events at full rate, then all of them at once."""
        await self.finish()
        if not self._short:
            await self._through("before the outage")
        quiet_ms = now_ms()
        await asyncio.sleep(SHORT_WARM_S if self._short else WARM_S)
        begun_ms = now_ms()
        armed = await self._world.proxy.arm(Strike(way=Way.REFUSE, times=0))
        await asyncio.sleep(fault.for_s)
        self.outage_ms = (quiet_ms, begun_ms, now_ms())
        await self._world.proxy.lift(armed)
        if not self._short:
            await self._through("after the outage")
        return True

    async def _through(self, when: str) -> None:
        """Until what was sent up to now is finished at the ERP."""
        ids = [s.event_id for s in self._load.sent]
        if not await self._follower.finished(ERP, ids, CAUGHT_UP_S):
            left = len(self._follower.unfinished(ERP, ids))
            self.stalled.append(f"{when}: {left} events were not finished in time")

    async def _poison(self, fault: Fault) -> bool:
        """A customer whose VAT number is mistyped for some seconds, events before and after."""
        device = self._calm(fault.number)
        begun = len(self._load.sent)
        await self._world.devices.poison(device)
        try:
            return bool(await first(lambda: self._refused(device, begun), within_s=POISON_S))
        finally:
            await self._world.devices.mend()
            self._load.next(device, device)

    def _calm(self, number: int) -> str:
        """A device of which nothing waits, where there is one: its next event comes through."""
        names = self._world.devices.names
        at = number % len(names)
        waiting = set(self._follower.unfinished(ERP, (s.event_id for s in self._load.sent)))
        busy = {s.device for s in self._load.sent if s.event_id in waiting}
        return next((d for d in (*names[at:], *names[:at]) if d not in busy), names[at])

    def _refused(self, device: str, begun: int) -> bool:
        """Whether an event sent since was refused; sends another where none is on its way."""
        sent = [s for s in self._load.sent[begun:] if s.device == device]
        told = self._follower.told[ERP]
        if all(told.get(s.event_id) for s in sent):
            self._load.next(device)
        return any(t.outcome == "dead_lettered" for s in sent for t in told.get(s.event_id, ()))

    async def _unreadable(self, fault: Fault) -> bool:
        names = self._world.devices.names
        device = names[fault.number % len(names)]
        before = len(self._load.sent)
        self._load.next(device)
        self._load.unreadable(device)
        sent = self._load.sent
        written = await first(lambda: any(not s.event_id for s in sent[before:]), within_s=STRIKE_S)
        return bool(written)

    async def _replay(self, fault: Fault) -> bool:
        del fault
        if wanted := self.to_replay():
            code, said = await self._world.replay(wanted)
            if code:
                self._say(f"     fieldline dlq replay ended with code {code}: {said[-300:]}")
        return True


def now_ms() -> int:
    """Now, milliseconds since the Unix epoch."""
    return int(time.time() * 1000)
