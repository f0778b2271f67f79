"""One run: broker, workers and load up, round after round of faults, then the checker."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from infra.local.part import StackError
from infra.local.stack import Stack
from pipeline.core.routing import sinks_of
from pipeline.ops import topics
from pipeline.settings import Settings
from pipeline.state.routes_file import load_routes
from pipeline.topology import DEDUPLICATED, EVENTS, READINGS
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka
from tests.crash import checker
from tests.crash.checker import Finding
from tests.crash.follow import Follower
from tests.crash.group import Group
from tests.crash.load import Load
from tests.crash.model import Verdict
from tests.crash.pauses import Round
from tests.crash.plan import Fault, Kind, Plan, Wait
from tests.crash.truth import events_by_the_log
from tests.waiting import first

WINDOW: Final = 64
"""Dedup window of the run: narrow, so that a short run goes past it often."""
PARTITIONS: Final = 4
READY_S: Final = 60.0
"""Longest wait for the first output of the first worker."""
FLOW_S: Final = 60.0
"""Partitions that do not come back within this are a finding of their own."""
SETTLE_S: Final = 120.0
"""Longest wait for the last output and the last commit after the load has ended."""
WARM_S: Final = 1.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """All that a run showed."""

    plan: Plan
    rounds: list[Round] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    stalled: list[str] = field(default_factory=list)
    """What did not come to an end in time; the run is void then."""
    fresh_ms: dict[int, list[int]] = field(default_factory=dict)
    logged_ms: dict[tuple[int, int], int] = field(default_factory=dict)
    """When each message of telemetry.readings was appended."""
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    messages: int = 0
    sent_again: int = 0
    repeated: int = 0
    events: int = 0
    commits: int = 0
    seconds: float = 0.0

    @property
    def unproven(self) -> list[str]:
        """What the load should have brought about and did not: then nothing is proven."""
        absent = [f"no sample was {verdict}" for verdict in Verdict if not self.verdicts[verdict]]
        return absent + ([] if self.events else ["no event was raised"])

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
        self._stack = Stack(root, say=say, only={"kafka"})
        self._outcome = Outcome(plan=plan)
        self._group: Group
        self._load: Load
        self._follower: Follower
        self._paused: dict[asyncio.Task[None], int] = {}

    async def run(self) -> Outcome:
        """Do it all. StackError where the broker or the workers do not come up."""
        began = time.monotonic()
        self._step("broker", 0)
        env = self._stack.start() | {
            "FIELDLINE_DEDUP_WINDOW": str(WINDOW),
            "FIELDLINE_PARTITIONS": str(PARTITIONS),
        }
        os.environ.update(env)  # the checker's settings are the workers'
        settings = Settings()
        self._group = Group("detect", self._root, env, self._say)
        try:
            await _make_topics(settings)
            await self._disturb(settings)
            self._group.end()
            self._step("check", len(self._plan.faults))
            await self._check(settings)
        finally:
            self._group.end(in_order=False)
            self._stack.stop()
        self._outcome.seconds = time.monotonic() - began
        return self._outcome

    async def _disturb(self, settings: Settings) -> None:
        """Load, faults, and the end of both."""
        self._load = Load(settings, self._plan.seed)
        self._follower = Follower(settings)
        self._step("workers", 0)
        await asyncio.to_thread(self._group.join, 0)
        following = asyncio.create_task(self._follower.run())
        loading = asyncio.create_task(self._load.run())
        try:
            if not await self._flows(READY_S):
                raise StackError(
                    f"The first worker brought nothing out in {READY_S:.0f} s: look into "
                    f"{self._root / 'log' / 'detect-0.log'}."
                )
            await asyncio.sleep(WARM_S)
            for fault in self._plan.faults:
                _raise_if_dead(following, loading)
                self._step(fault.kind.value, fault.number)
                await self._round(fault)
                if self._outcome.stalled:
                    break
            self._step("settle", len(self._plan.faults))
            await self._settle()
        finally:
            for task in (*self._paused, loading, following):
                task.cancel()
            for task in (*self._paused, loading, following):
                with suppress(asyncio.CancelledError):
                    await task

    async def _round(self, fault: Fault) -> None:
        begun_ms = _now_ms()
        # The random point in the flow: the plan's, not a wait for anything.
        await asyncio.sleep(fault.after_s)
        round_ = Round(fault=fault, begun_ms=begun_ms, struck_ms=_now_ms())
        self._outcome.rounds.append(round_)
        await self._strike(fault)
        round_.ended_ms = _now_ms()
        if fault.wait is not Wait.NOTHING:
            round_.flows = await self._flows(FLOW_S)
            if not round_.flows:
                self._outcome.stalled.append(
                    f"round {fault.number} ({fault.kind}): partitions "
                    f"{self._behind(self._load.journal.ends)} did not come back in {FLOW_S:.0f} s"
                )
        await asyncio.sleep(fault.rest_s)
        round_.until_ms = _now_ms()
        if fault.wait is Wait.QUIET:
            await self._load.hold()
            if not await self._follower.until(self._load.journal.ends, SETTLE_S):
                self._outcome.stalled.append(f"round {fault.number} ({fault.kind}): never quiet")
            self._load.go_on()

    async def _strike(self, fault: Fault) -> None:
        group, stack, worker = self._group, self._stack, fault.worker
        if worker is None:
            kill = fault.kind is Kind.BROKER_KILL
            await asyncio.to_thread(stack.stop_part, "kafka", kill=kill)
            await asyncio.sleep(fault.for_s)
            await asyncio.to_thread(stack.start_part, "kafka")
        elif fault.kind in {Kind.PAUSE_SHORT, Kind.PAUSE_LONG}:
            pause = asyncio.create_task(self._pause(worker, fault.for_s))
            if fault.wait is Wait.NOTHING:
                # The next fault may strike while this worker stands still.
                self._paused[pause] = worker
                pause.add_done_callback(self._paused.pop)
            else:
                await pause
        else:
            strike = {
                Kind.KILL: group.kill,
                Kind.JOIN: group.join,
                Kind.LEAVE: group.leave,
                Kind.GONE: group.kill_for_good,
                Kind.LOST_STATE: group.lose_state,
            }[fault.kind]
            await asyncio.to_thread(strike, worker)

    async def _pause(self, worker: int, for_s: float) -> None:
        pid = self._group.stop(worker)
        try:
            await asyncio.sleep(for_s)
        finally:
            self._group.go_on(pid)

    async def _flows(self, deadline_s: float) -> bool:
        """Whether every partition is at work again in time: the group is whole and at rest, and
        what was sent after that comes out."""
        deadline = time.monotonic() + deadline_s
        members = len(self._group.members)
        if not await self._follower.until_stable(members, deadline_s):
            return False
        before, sent = dict(self._load.journal.ends), self._load.journal.ends

        def sends() -> bool:
            return all(sent.get(p, -1) > before.get(p, -1) for p in range(PARTITIONS))

        if not await first(sends, within_s=deadline - time.monotonic()):
            return False
        return await self._follower.until(dict(sent), deadline - time.monotonic())

    async def _settle(self) -> None:
        """End the load with its finale, and wait until all is out and committed."""
        await asyncio.gather(*self._paused, return_exceptions=True)
        await self._load.hold()
        await self._load.finale()
        ends = self._load.journal.ends
        if not await self._follower.until(ends, SETTLE_S):
            self._outcome.stalled.append(
                f"the end: partitions {self._behind(ends)} are not through after {SETTLE_S:.0f} s"
            )
        elif not await self._follower.until_committed(ends, SETTLE_S):
            self._outcome.stalled.append(
                f"the end: {self._follower.last} committed, {ends} processed"
            )

    def _behind(self, ends: dict[int, int]) -> list[int]:
        greatest = self._follower.seen.greatest
        return [p for p, offset in ends.items() if greatest.get(p, -1) < offset]

    async def _check(self, settings: Settings) -> None:
        """Read every topic from its start and compare."""
        out, journal, seen = self._outcome, self._load.journal, self._follower.seen
        log, deduplicated, events = [
            await kafka.read_all(settings, topic) for topic in (READINGS, DEDUPLICATED, EVENTS)
        ]
        journal.save(self._root / "journal.parquet")
        out.findings += await asyncio.to_thread(self._compare, settings, log, deduplicated, events)
        out.fresh_ms, out.repeated = seen.fresh_ms, seen.repeated
        out.logged_ms = {(m.partition, m.offset): m.timestamp for m in log}
        out.samples, out.messages, out.sent_again = journal.samples, len(log), journal.again
        out.commits, out.restarts = len(self._follower.commits), self._group.restarts

    def _compare(
        self, settings: Settings, log: list[Any], deduplicated: list[Any], events: list[Any]
    ) -> list[Finding]:
        truth, self._outcome.verdicts = checker.expected(log, settings.dedup_window)
        in_order = sorted(log, key=lambda m: (m.partition, m.offset))
        by_the_log = events_by_the_log(settings, in_order)
        wrong, told = checker.check_events(by_the_log, events)
        self._outcome.events = len(told)
        return [
            *checker.check_journal(self._load.journal.messages, log),
            *checker.check_readings(truth, deduplicated),
            *wrong,
            *checker.check_order(self._follower.commits, deduplicated),
        ]


async def _make_topics(settings: Settings) -> None:
    """The product's topics; the output keeps the broker's time, which the pauses are read from."""
    admin = kafka.admin(settings)
    try:
        await admin.start()
        sinks = sinks_of(load_routes(settings.routes_file))
        await topics.create(admin, all_topics(sinks), settings)
        change = {"message.timestamp.type": "LogAppendTime"}
        resource = ConfigResource(ConfigResourceType.TOPIC, DEDUPLICATED, configs=change)
        await admin.alter_configs([resource])
    finally:
        await admin.close()


def _raise_if_dead(*tasks: asyncio.Task[None]) -> None:
    """A load or follower that ended by itself ends the run with its own error."""
    for task in tasks:
        if task.done():
            task.result()


def _now_ms() -> int:
    return int(time.time() * 1000)
