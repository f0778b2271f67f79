"""One run: parts, workers and load up, round after round of faults, then the three readers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pipeline.wire import kafka
from tests.crash.lake_check import (
    Finding,
    check_objects,
    check_rows,
    check_swept,
    merged_in,
)
from tests.crash.lake_door import Phase, Stage
from tests.crash.lake_oracle import TOPICS, Expected, Place, Row, expected
from tests.crash.lake_plan import Fault, Kind, Plan
from tests.crash.lake_readers import Found, Where, look, read_rows
from tests.crash.lake_sabotage import sabotage, sabotage_compacted
from tests.crash.lake_world import FLOW_S, World

SABOTAGED: Final = "quarantine"
"""The dataset that is spoilt by hand at the end: it has the fewest files to read again."""
SABOTAGED_COMPACTED: Final = "deliveries"
"""The same where a compaction was: it has the fewest rows."""


@dataclass(slots=True, kw_only=True)
class Round:
    """What one round was. Times are milliseconds since the epoch."""

    fault: Fault
    begun_ms: int
    hit: bool = False
    """Whether the fault found something to strike."""
    struck_s: float = 0.0
    back_s: float = 0.0
    """From its end until the lake had caught up."""
    flows: bool = True


@dataclass(slots=True, kw_only=True)
class Outcome:
    """All that a run showed."""

    plan: Plan
    rounds: list[Round] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    stalled: list[str] = field(default_factory=list)
    """What did not come to an end in time; the run is void then."""
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    """By dataset: rows that Kafka says, and what each reader found."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """By dataset: messages, claims, files, snapshots, dates."""
    struck: dict[str, int] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    restarts: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    sabotage: dict[str, list[str]] = field(default_factory=dict)
    """What was done to the lake by hand after all, and who should have seen it and did not."""
    sent_at_ms: dict[Place, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def unproven(self) -> list[str]:
        """What should have come about and did not: then nothing is proven."""
        absent = [f"{dataset} has no row" for dataset, n in self.rows.items() if not n["Kafka"]]
        missed = [
            f"round {r.fault.number} ({r.fault.kind}) struck nothing"
            for r in self.rounds
            if not r.hit
        ]
        if any(r.fault.kind is Kind.COMPACT for r in self.rounds):
            merged = sum(counts["merged"] for counts in self.counts.values())
            absent += [] if merged else ["nothing was compacted"]
        blind = [
            f"{who} did not see: {what}" for what, all_ in self.sabotage.items() for who in all_
        ]
        return absent + blind + missed

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong and something was proven."""
        return not (self.findings or self.stalled or self.unproven)


class Runner:
    """One run in a folder of its own. `say` takes lines for a person, `step` the progress."""

    def __init__(
        self,
        root: Path,
        plan: Plan,
        *,
        say: Callable[[str], None],
        step: Callable[[str, int], None],
    ) -> None:
        self._root = root
        self._plan = plan
        self._say = say
        self._step = step
        self.outcome = Outcome(plan=plan)

    async def run(self) -> Outcome:
        """Do it all. StackError where a part does not come up."""
        began = time.monotonic()
        self._step("parts", 0)
        async with AsyncExitStack() as leave:
            world = await World.up(self._root, self._plan, self._say, leave)
            await self._disturb(world)
            await asyncio.to_thread(world.group.end)
            self._step("check", len(self._plan.faults))
            await self._check(world)
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    async def _disturb(self, world: World) -> None:
        """Load, faults, and the end of both."""
        following = asyncio.create_task(world.follower.run())
        loading = asyncio.create_task(world.load.run())
        out = self.outcome
        try:
            if not await world.flows():
                out.stalled.append(f"the start: nothing came to the lake in {FLOW_S:.0f} s")
            for fault in self._plan.faults:
                for task in (following, loading):
                    if task.done():
                        task.result()  # it ended by itself: the run ends with its error
                if out.stalled:
                    break
                self._step(fault.kind.value, fault.number)
                await self._round(world, fault)
            self._step("settle", len(self._plan.faults))
            await _cancelled(loading)
            await world.load.finale()
            if not await world.flows():
                behind = await world.follower.now(FLOW_S)
                out.stalled.append(f"the end: {world.follower.behind(behind or {})} not committed")
        finally:
            await _cancelled(loading, following)
        out.sent, out.made = world.load.sent, dict(world.load.made)
        out.struck, out.restarts = dict(world.struck()), world.group.restarts

    async def _round(self, world: World, fault: Fault) -> None:
        round_ = Round(fault=fault, begun_ms=int(time.time() * 1000))
        self.outcome.rounds.append(round_)
        # The random point in the flow: the plan's, not a wait for anything.
        await asyncio.sleep(fault.after_s)
        began = time.monotonic()
        round_.hit = await world.strike(fault)
        ended = time.monotonic()
        round_.flows = await world.flows()
        round_.struck_s, round_.back_s = ended - began, time.monotonic() - ended
        if not round_.flows:
            ends = await world.follower.now(FLOW_S)
            self.outcome.stalled.append(
                f"round {fault.number} ({fault.kind}): {len(world.group.members)} workers, group "
                f"{world.follower.members}, {world.follower.behind(ends or {})} not committed "
                f"after {FLOW_S:.0f} s"
            )
        self._say(
            f"{fault.line()}: "
            + ("" if round_.hit else "STRUCK NOTHING, ")
            + (f"back after {round_.back_s:.1f} s" if round_.flows else "NOT BACK")
        )

    async def _check(self, world: World) -> None:
        """Read Kafka and the lake from their starts, and compare."""
        where = Where.of(world.settings)
        await self._compacted(world)
        for dataset, topic in TOPICS.items():
            messages = await kafka.read_all(world.settings, topic)
            self.outcome.sent_at_ms |= {
                (m.topic, m.partition, m.offset): m.timestamp for m in messages
            }
            truth = expected(dataset, messages)
            found = await asyncio.to_thread(look, where, dataset)
            self.outcome.findings += check_objects(dataset, truth, found)
            if dataset == SABOTAGED_COMPACTED and merged_in(found.in_table):
                self.outcome.sabotage |= await asyncio.to_thread(
                    sabotage_compacted, where, dataset, truth
                )
            if merged_in(found.files):
                await self._night(world, where, dataset)
            rows = await asyncio.to_thread(read_rows, where, dataset)
            for reader, some in rows.items():
                self.outcome.findings += check_rows(dataset, reader, truth, some)
            self._note(dataset, len(messages), truth, found, rows)
            if dataset == SABOTAGED:
                self.outcome.sabotage |= await asyncio.to_thread(sabotage, where, dataset, truth)

    async def _compacted(self, world: World) -> None:
        """Where compactions were killed: one that has come to the table is too, now that no
        writer can be there first, and the last one does what all have left."""
        faults = [r.fault for r in self.outcome.rounds if r.fault.kind is Kind.COMPACT]
        if not faults:
            return
        if not await world.strike(replace(faults[-1], step=(Stage.METADATA, Phase.AFTER), nth=1)):
            self.outcome.stalled.append("a compaction without writers did not come to the table")
        why = await asyncio.to_thread(world.keepers.compact_to_its_end)
        self.outcome.stalled += [why] if why else []

    async def _night(self, world: World, where: Where, dataset: str) -> None:
        """What a compaction leaves beside the table's files is taken away before a glob reads."""
        why = await asyncio.to_thread(world.keepers.expire, dataset)
        self.outcome.stalled += [why] if why else []
        swept = await asyncio.to_thread(look, where, dataset)
        self.outcome.findings += check_swept(dataset, swept)

    def _note(
        self,
        dataset: str,
        messages: int,
        truth: Expected,
        found: Found,
        rows: Mapping[str, Counter[Row]],
    ) -> None:
        out = self.outcome
        out.rows[dataset] = {"Kafka": truth.rows.total()}
        out.rows[dataset] |= {reader: some.total() for reader, some in rows.items()}
        out.counts[dataset] = {
            "messages": messages,
            "repeated": truth.skipped,
            "unreadable": truth.unreadable,
            "claims": sum(map(len, found.claims.values())),
            "files": len(found.files),
            "merged": len(merged_in(found.in_table)),
            "snapshots": len(found.snapshots),
            "dates": len(found.by_day),
        }


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
