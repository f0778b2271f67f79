"""What a run of the lake's crash suite disturbs, and how each kind of fault is done."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from infra.local import outside
from infra.local.stack import Stack
from pipeline.core.routing import sinks_of
from pipeline.ops import topics
from pipeline.settings import Settings
from pipeline.state.routes_file import load_routes
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka
from tests.crash.group import Group
from tests.crash.lake_door import Door, Trap
from tests.crash.lake_follow import LakeFollower
from tests.crash.lake_keepers import Keepers
from tests.crash.lake_load import LakeLoad
from tests.crash.lake_plan import FIRST_WORKERS, MOST_WORKERS, WEATHER, Fault, Kind, Plan
from tests.waiting import first

PARTITIONS: Final = 3
FLUSH_S: Final = 1.5
TRAP_S: Final = 120.0
"""Longest wait for a process to come to the step where it is to be struck."""
FLOW_S: Final = 240.0
"""A lake that has not caught up so long after a fault is a finding of its own."""
COMMIT_S: Final = 3.0
"""Longest wait from writing table metadata to the catalogue's knowing it."""
COMMITS: Final = 20
"""How often that is waited for: of two workers that commit to one table at once, one loses."""
CLOCKS_S: Final = (-3_600.0, 900.0, -30.0, 86_400.0, -400.0)
_SITE: Final = Path(__file__).with_name("lake_clock")


@dataclass(slots=True, kw_only=True)
class World:
    """All that runs. Made by `World.up`, ended by the exit stack it was given."""

    plan: Plan
    stack: Stack
    settings: Settings
    doors: list[Door]
    group: Group
    load: LakeLoad
    follower: LakeFollower
    keepers: Keepers
    catalogue: Path
    clock: Path

    @classmethod
    async def up(
        cls, root: Path, plan: Plan, say: Callable[[str], None], leave: AsyncExitStack
    ) -> World:
        """Start everything in a new folder. StackError where a part does not come up."""
        stack = Stack(root, say=say, only={"kafka", "s3proxy"})
        env = await asyncio.to_thread(stack.start)
        leave.push_async_callback(asyncio.to_thread, stack.stop)
        catalogue, clock = stack.root / "catalogue" / "lake.db", stack.root / "clock"
        catalogue.parent.mkdir()
        env |= {
            "LAKE_CATALOG": f"sqlite:///{catalogue}",
            "FIELDLINE_LAKE_FLUSH_S": str(FLUSH_S),
            "FIELDLINE_PARTITIONS": str(PARTITIONS),
            "CRASH_CLOCK": str(clock),
            "PYTHONPATH": os.pathsep.join((str(_SITE), str(Path.cwd()))),
            "NO_PROXY": "*",
        }
        # Only the workers' clocks jump.
        os.environ.update({n: v for n, v in env.items() if n not in {"CRASH_CLOCK", "PYTHONPATH"}})
        settings = Settings()
        [s3] = outside.addresses(env["S3_ENDPOINT"])
        # The last one is the keepers'.
        doors = [Door(s3, seed=plan.seed * MOST_WORKERS + n) for n in range(MOST_WORKERS + 1)]
        for door in doors:
            await door.start()
            leave.push_async_callback(door.stop)
        group = Group(
            "archive",
            root,
            env,
            say,
            own=lambda number: {"S3_ENDPOINT": f"http://127.0.0.1:{doors[number].port}"},
        )
        leave.push_async_callback(asyncio.to_thread, group.end)
        await _make_topics(settings)
        for number in FIRST_WORKERS:
            await asyncio.to_thread(group.join, number)
        return cls(
            plan=plan,
            stack=stack,
            settings=settings,
            doors=doors,
            group=group,
            load=LakeLoad(settings, plan.seed),
            follower=LakeFollower(settings),
            keepers=Keepers(root, env, doors[-1], clock),
            catalogue=catalogue,
            clock=clock,
        )

    async def flows(self, members: int | None = None, *, within_s: float = FLOW_S) -> bool:
        """Whether the group is whole and what Kafka has from now on comes to the lake, in time."""
        deadline = time.monotonic() + within_s
        count = len(self.group.members) if members is None else members
        if not await self.follower.until_stable(count, within_s):
            return False
        ends = await self.follower.now(deadline - time.monotonic())
        if ends is None:
            return False
        return await self.follower.until_committed(ends, deadline - time.monotonic())

    async def strike(self, fault: Fault) -> bool:
        """Do it, to its end; False where it found nothing to strike."""
        by_kind: dict[Kind, Callable[[Fault], Awaitable[bool]]] = {
            **dict.fromkeys(WEATHER, self._weather),
            Kind.CATALOGUE_LOCKED: self._lock,
            Kind.CATALOGUE_AWAY: self._hide,
            Kind.DEVICE_CLOCKS: self._device_clocks,
            Kind.WALL_CLOCK: self._clocks,
            Kind.BROKER_KILL: self._kill_broker,
            Kind.KILL_AT: self._kill_at,
            Kind.LATE: self._late,
            Kind.KILL_COMMITTED: self._committed,
            Kind.ZOMBIE: self._zombie,
            Kind.COMPACT: self._compact,
        }
        if fault.kind in by_kind:
            return await by_kind[fault.kind](fault)
        strike = {
            Kind.KILL: self.group.kill,
            Kind.JOIN: self.group.join,
            Kind.LEAVE: self.group.leave,
            Kind.GONE: self.group.kill_for_good,
        }[fault.kind]
        await asyncio.to_thread(strike, _worker(fault))
        return True

    async def _weather(self, fault: Fault) -> bool:
        for door in self.doors:
            await door.brew(WEATHER[fault.kind])
        try:
            await asyncio.sleep(fault.for_s)
        finally:
            for door in self.doors:
                await door.clear()
        return True

    async def _device_clocks(self, fault: Fault) -> bool:
        self.load.jump()
        await asyncio.sleep(fault.for_s)
        self.load.settle()
        return True

    async def _kill_broker(self, fault: Fault) -> bool:
        await asyncio.to_thread(partial(self.stack.stop_part, "kafka", kill=True))
        await asyncio.sleep(fault.for_s)
        await asyncio.to_thread(self.stack.start_part, "kafka")
        return True

    async def _kill_at(self, fault: Fault) -> bool:
        worker = _worker(fault)
        return await self._trapped(fault, lambda: self.group.kill(worker)) is not None

    async def _trapped(
        self, fault: Fault, spring: Callable[[], object], *, hold: bool = False
    ) -> Trap | None:
        """A trap at the worker's door that has sprung; None where nothing came in time."""
        door = self.doors[_worker(fault)]
        trap = _lay(door, fault, spring, hold=hold)
        return await _sprung(door, trap)

    async def _late(self, fault: Fault) -> bool:
        """A request leaves a worker; it dies; its successor goes on; then the request arrives."""
        worker = _worker(fault)
        trap = await self._trapped(fault, lambda: self.group.kill(worker), hold=True)
        if trap is None:
            return False
        try:
            await self.flows()
        finally:
            trap.released.set()
        return True

    async def _committed(self, fault: Fault) -> bool:
        """Kill once the catalogue has the table metadata that this worker has just written."""
        for _ in range(COMMITS):
            trap = await self._trapped(fault, lambda: None)
            if trap is None:
                return False
            name = trap.path.rpartition("/")[2]
            if await asyncio.to_thread(self._kill_at_commit, _worker(fault), name):
                return True
        return False

    def _kill_at_commit(self, worker: int, name: str) -> bool:
        deadline = time.monotonic() + COMMIT_S
        while not self._knows(name):
            if time.monotonic() > deadline:
                return False  # another worker's commit won
            time.sleep(0.001)
        self.group.kill(worker)
        return True

    def _knows(self, name: str) -> bool:
        with suppress(sqlite3.OperationalError), closing(_open(self.catalogue)) as found:
            return any(
                str(location).endswith(name)
                for [location] in found.execute("SELECT metadata_location FROM iceberg_tables")
            )
        return False

    async def _zombie(self, fault: Fault) -> bool:
        """Stop a worker, wait until others have its partitions and went on, and wake it."""
        pids: list[int] = []

        def stop() -> None:
            pids.append(self.group.stop(_worker(fault)))

        trap = None
        if fault.step is None:
            stop()
        else:
            trap = await self._trapped(fault, stop, hold=True)
            if trap is None:
                return False
        try:
            return await self.flows(len(self.group.members) - 1)
        finally:
            if trap is not None:
                trap.released.set()
            self.group.go_on(pids[0])

    async def _compact(self, fault: Fault) -> bool:
        """Kill a compaction in its work, beside the flushes."""
        door = self.keepers.door
        trap = _lay(door, fault, lambda: None)
        child = await asyncio.to_thread(self.keepers.compact)
        try:
            sprung = await _sprung(door, trap)
            await asyncio.sleep(fault.for_s)
            works = child.code() is None
        finally:
            await asyncio.to_thread(child.kill)
        return sprung is not None and works

    async def _lock(self, fault: Fault) -> bool:
        """Hold the catalogue's database for writing, so that others can not even read."""
        with closing(_open(self.catalogue)) as held:
            await asyncio.to_thread(held.execute, "BEGIN EXCLUSIVE")
            await asyncio.sleep(fault.for_s)
            held.rollback()
        return True

    async def _hide(self, fault: Fault) -> bool:
        """Take the database's folder away: a new, empty one cannot be made in its place."""
        folder = self.catalogue.parent
        hidden = folder.rename(folder.with_name("catalogue-away"))
        try:
            await asyncio.sleep(fault.for_s)
        finally:
            hidden.rename(folder)
        return True

    async def _clocks(self, fault: Fault) -> bool:
        rng = random.Random(f"{self.plan.seed}/{fault.number}")  # noqa: S311 - played again
        try:
            for offset in rng.sample(CLOCKS_S, 3):
                await asyncio.to_thread(self.clock.write_text, f"{offset}", "ascii")
                await asyncio.sleep(fault.for_s)
        finally:
            await asyncio.to_thread(partial(self.clock.unlink, missing_ok=True))
        return True

    def struck(self) -> Iterator[tuple[str, int]]:
        """Requests to S3 that were spoilt, by how."""
        total = sum((door.struck for door in self.doors[1:]), self.doors[0].struck)
        yield from sorted(total.items())


def _lay(door: Door, fault: Fault, spring: Callable[[], object], *, hold: bool = False) -> Trap:
    """A trap at the fault's step. Unless it is to `hold` the request, that goes its way."""
    assert fault.step is not None
    stage, phase = fault.step
    trap = Trap(stage=stage, phase=phase, spring=spring, nth=fault.nth)
    if not hold:
        trap.pass_on = False
        trap.released.set()
    door.set_trap(trap)
    return trap


async def _sprung(door: Door, trap: Trap) -> Trap | None:
    """The trap once it has sprung; None where nothing came in time, and it is taken away."""
    if await first(trap.sprung.is_set, within_s=TRAP_S):
        return trap
    door.set_trap(None)
    trap.released.set()
    return None


def _worker(fault: Fault) -> int:
    assert fault.worker is not None, fault
    return fault.worker


def _open(path: Path) -> sqlite3.Connection:
    # Never makes one where there is none.
    return sqlite3.connect(
        f"file:{path}?mode=rw",
        uri=True,
        timeout=30.0,
        isolation_level=None,
        check_same_thread=False,
    )


async def _make_topics(settings: Settings) -> None:
    admin = kafka.admin(settings)
    try:
        await admin.start()
        sinks = sinks_of(load_routes(settings.routes_file))
        await topics.create(admin, all_topics(sinks), settings)
    finally:
        await admin.close()
