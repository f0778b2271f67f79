"""One run: everything up and flowing, fault after fault, then the checker."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from infra.local.facts import read_orders
from infra.local.part import StackError
from tests.faults import checker
from tests.faults.acts import Acts
from tests.faults.checker import Evidence, Finding, Order, Struck
from tests.faults.follow import Follower, dead_letters
from tests.faults.load import Load
from tests.faults.plan import Kind, Plan
from tests.faults.world import ERP, OTHER, SINKS, World
from tests.waiting import first

READY_S: Final = 90.0
"""Longest wait for the first result of each sink."""
SETTLE_S: Final = 240.0
"""Longest wait for the last results, after the flow has ended."""
TRIES: Final = 3
"""A fault that nobody walked into comes again at the end, so often in all."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """All that a run showed."""

    plan: Plan
    struck: list[Struck] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Faults of the plan that nobody walked into, however often they were tried."""
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    """By sink."""
    delays_s: dict[Kind | None, list[float]] = field(default_factory=dict)
    stalled: list[str] = field(default_factory=list)
    """What did not come to an end in time."""
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    restarts: Counter[str] = field(default_factory=Counter)
    events: int = 0
    hits: int = 0
    catch_up_per_s: float | None = None
    other_p99_ms: dict[str, tuple[float | None, int]] = field(default_factory=dict)
    """Before and during the outage: milliseconds, and of how many events."""
    seconds: float = 0.0

    @property
    def unproven(self) -> list[str]:
        """Kinds of the plan that never struck: then nothing is proven of them."""
        absent = {f.kind for f in self.plan.faults} - {s.kind for s in self.struck}
        return [f"never struck: {kind}" for kind in Kind if kind in absent]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong and something was proven."""
        return not (any(self.findings.values()) or self.stalled or self.unproven)


class Runner:
    """One run in a folder of its own, at `per_s` events a second to each sink.

    `say` takes lines for a person, `step` the progress.
    """

    def __init__(
        self,
        root: Path,
        plan: Plan,
        *,
        per_s: float,
        say: Callable[[str], None],
        step: Callable[[str, int], None],
    ) -> None:
        self._root = root
        self._per_s = per_s
        self._plan = plan
        self._say = say
        self._step = step
        self._outcome = Outcome(plan=plan)
        self._world: World
        self._load: Load
        self._follower: Follower
        self._acts: Acts

    async def run(self) -> Outcome:
        """Do it all. StackError where parts or workers do not come up."""
        began = time.monotonic()
        self._step("parts", 0)
        async with AsyncExitStack() as leave:
            self._world = await World.up(self._root, self._say, leave)
            self._follower = Follower(self._world.settings)
            self._load = Load(
                self._world.settings,
                sinks=SINKS,
                devices=self._world.devices.names,
                per_s=self._per_s,
                seed=self._plan.seed,
                journal=self._root / "journal.jsonl",
            )
            self._acts = Acts(
                self._world, self._load, self._follower, short=self._plan.short, say=self._say
            )
            tasks = [asyncio.create_task(t.run()) for t in (self._follower, self._load)]
            try:
                await self._disturb(tasks)
                await self._settle()
            finally:
                await self._acts.end()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            self._step("check", len(self._outcome.struck))
            await self._check()
            self._outcome.restarts = self._world.erp.restarts + self._world.other.restarts
        self._outcome.seconds = time.monotonic() - began
        return self._outcome

    async def _disturb(self, tasks: list[asyncio.Task[None]]) -> None:
        """Fault after fault, once everything flows."""
        self._step("workers", 0)
        told = self._follower.told
        begun = await first(lambda: _ended(tasks) or all(told[s] for s in SINKS), within_s=READY_S)
        if not begun:
            absent = " or ".join(sink for sink in SINKS if not told[sink])
            raise StackError(
                f"The workers delivered nothing to {absent} in {READY_S:.0f} s: look into the "
                f"logs of {self._root / 'log'}."
            )
        left = deque((fault, 1) for fault in self._plan.faults)
        while left:
            _ended(tasks)
            fault, attempt = left.popleft()
            lasts = f", {fault.for_s:.0f} s" if fault.kind is Kind.ERP_OUTAGE else ""
            self._step(f"{fault.kind}{lasts}", len(self._outcome.struck))
            # The random point in the flow: the plan's, not a wait for anything.
            await asyncio.sleep(fault.after_s)
            if (struck := await self._acts.strike(fault)) is not None:
                self._outcome.struck.append(struck)
            elif attempt < TRIES:
                left.append((fault, attempt + 1))
            else:
                self._outcome.missed.append(fault.line())

    async def _settle(self) -> None:
        """End the flow, wait for every result, and have what is dead decided once more."""
        self._step("settle", len(self._outcome.struck))
        await self._acts.finish()
        await self._load.hold()
        stalled = self._acts.stalled
        ids = [s.event_id for s in self._load.sent]
        for sink in SINKS:
            if not await self._follower.finished(sink, ids, SETTLE_S):
                left = len(self._follower.unfinished(sink, ids))
                stalled.append(f"the end: {left} events of sink {sink} have no result")
        if not stalled and (dead := self._acts.to_replay()):
            told = self._follower.told[ERP]
            before = {event_id: len(told[event_id]) for event_id in dead}
            code, said = await self._world.replay(dead)
            if code:
                stalled.append(f"the last replay ended with code {code}: {said}")
            elif not await first(
                lambda: all(len(told[e]) > n for e, n in before.items()), within_s=SETTLE_S
            ):
                stalled.append("the last replay: not all have a new result")
        self._outcome.stalled = stalled

    async def _check(self) -> None:
        """Read the ERP, the other target and the DLQs, and compare."""
        out, world = self._outcome, self._world
        orders = [
            Order(key=seen.key, place=seen.id, target_id=str(seen.id))
            for seen in await read_orders()
        ]
        received = [
            Order(key=row["key"], place=row["place"], target_id=f"box-{row['place']}")
            for row in await world.box.journal()
            for _ in range(row["effects"])
        ]
        for sink, made in ((ERP, orders), (OTHER, received)):
            evidence = Evidence(
                sent=[s for s in self._load.sent if s.event_id or sink == ERP],
                orders=made,
                told=self._follower.told[sink],
                dead=await dead_letters(world.settings, sink),
                struck=out.struck,
            )
            out.findings[sink] = checker.check(evidence)
            out.outcomes[sink] = checker.outcomes(evidence.told.values())
            if sink == ERP:
                out.delays_s = checker.delays_s(evidence)
            self._measure(sink, evidence)
        out.events, out.hits = len(self._load.sent), sum(s.hits for s in out.struck)

    def _measure(self, sink: str, evidence: Evidence) -> None:
        if self._acts.outage_ms is None:
            return
        quiet_ms, begun_ms, ended_ms = self._acts.outage_ms
        if sink == ERP:
            self._outcome.catch_up_per_s = checker.catch_up_per_s(evidence, ended_ms)
        else:
            self._outcome.other_p99_ms = {
                "before": checker.p99_ms(evidence, quiet_ms, begun_ms),
                "during": checker.p99_ms(evidence, begun_ms, ended_ms),
            }


def _ended(tasks: list[asyncio.Task[None]]) -> bool:
    """False; a load or follower that ended by itself ends the run with its own error."""
    for task in tasks:
        if task.done():
            task.result()
    return False
