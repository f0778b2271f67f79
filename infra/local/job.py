"""The main job: the sample through the whole pipeline on real parts, then the report."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiokafka.errors import KafkaError
from rich.console import Console

from infra.local import facts
from infra.local.live import Screen, Watch
from infra.local.part import StackError
from infra.local.report import RunReport
from infra.local.supervisor import Supervisor
from pipeline.core.routing import Route, sinks_of
from pipeline.ops import identity, status, topics
from pipeline.ops.books import BookKeeper, Books, committed_offsets, worker_groups
from pipeline.ops.identity_import import When
from pipeline.settings import Settings
from pipeline.simulate.player import Knobs, Played, play
from pipeline.state.routes_file import load_routes
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka
from pipeline.wire.codecs import make_codec
from pipeline.workers import roles

QUIET_S = 1.0
"""How long topics must not have grown: twenty times what the bridge holds a reading back."""
READY_S = 60.0
"""Longest wait for the workers to join their groups and finish what an earlier run left."""
STALLED_S = 120.0
"""A run in which nothing moves for so long is reported as it stands."""
_LOOK_S = 0.25
_COMMITTED_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run. `knobs` says how the devices behave."""

    root: Path
    knobs: Knobs


def start_workers(supervisor: Supervisor, settings: Settings) -> tuple[str, ...]:
    """Start the bridge, one worker per role and the reconciler; returns their names."""
    command = str(Path(sys.executable).with_name("fieldline"))
    supervisor.start("bridge", (command, "bridge"))
    for role in roles(settings):
        supervisor.start(role, (command, "worker", role))
    supervisor.start("reconciler", (command, "reconciler"))
    return ("bridge", *roles(settings), "reconciler")


class Job:
    """One run of the sample over a stack that is up and workers that were started."""

    def __init__(
        self, plan: Plan, settings: Settings, supervisor: Supervisor, console: Console
    ) -> None:
        self._plan = plan
        self.settings = settings
        self._supervisor = supervisor
        self._console = console
        self._routes: tuple[Route, ...] = load_routes(settings.routes_file)
        self.watch = Watch(books=Books(codec=make_codec(settings), routes=self._routes))

    async def run(self, *, started: float) -> RunReport:
        """Play the sample, wait until all of it has arrived, and look at the far ends.

        `started` is the monotonic time at which the person's command began.
        """
        await self._ready()
        session = int(time.time())
        keeper = BookKeeper(self.settings, self.watch.books)
        await keeper.start(from_now=True)
        began = time.monotonic()
        journal = self._plan.root / "journal" / f"{session}.parquet"
        screen = Screen(self._console, self.watch)
        try:
            with screen.shown():
                played = await self._play(keeper, screen, session, journal)
                await self._settle(keeper, screen, played)
        finally:
            await keeper.stop()
        sample_s = time.monotonic() - began
        return await facts.gather(
            self.settings,
            self.watch,
            played=played,
            session=session,
            journal=journal,
            sample_s=sample_s,
            restarts=dict(self._supervisor.restarts),
            since_start=lambda: time.monotonic() - started,
        )

    async def _ready(self) -> None:
        """Topics made, every worker in its group, nothing left over from an earlier run.

        What a killed run left in MQTT comes in as soon as the bridge is there, so the topics
        must also have stopped growing: this run's counts begin after that.
        """
        async with kafka.administered(self.settings) as admin:
            await topics.create(admin, all_topics(sinks_of(self._routes)), self.settings)
            await self._bring_devices()
            deadline = time.monotonic() + READY_S
            ends, since = -1, time.monotonic()
            while True:
                rows = await status.lags(admin, self.settings)
                absent = {row.group for row in rows if not row.members}
                behind = {row.group for row in rows if row.lag}
                if absent or behind or ends != sum(row.end for row in rows):
                    ends, since = sum(row.end for row in rows), time.monotonic()
                elif time.monotonic() - since >= QUIET_S:
                    return
                if time.monotonic() > deadline:
                    raise StackError(
                        f"These workers were not ready after {READY_S:.0f} s: "
                        f"{', '.join(sorted(absent | behind)) or 'bridge'}; "
                        f"look into {self.settings.log_dir}."
                    )
                await asyncio.sleep(_LOOK_S)

    async def _bring_devices(self) -> None:
        """The registry file into the identity map; a wrong line is told and left out."""
        path = self.settings.devices_file
        when = When(now_ms=identity.now_ms(), who="make run", why=f"the file {path.name}")
        done = await identity.import_file(self.settings, path, when)
        for wrong in done.wrong:
            self._console.print(wrong.told(str(path)), highlight=False, markup=False)

    async def _play(
        self, keeper: BookKeeper, screen: Screen, session: int, journal: Path
    ) -> Played:
        watch = self.watch

        def progress(sent: int, total: int) -> None:
            watch.sent, watch.total = sent, total

        stop = asyncio.Event()
        playing = asyncio.create_task(
            play(
                self.settings,
                self._plan.knobs,
                session=session,
                start_ms=session * 1000,
                journal=journal,
                on_progress=lambda p: progress(p.sent, p.total),
                stop=stop,
            )
        )
        looking = asyncio.create_task(self._follow(keeper, screen))
        try:
            return await playing
        finally:
            stop.set()
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    async def _follow(self, keeper: BookKeeper, screen: Screen) -> None:
        while True:
            await self._look(keeper, screen)

    async def _look(self, keeper: BookKeeper, screen: Screen) -> int:
        """One look at topics, offsets and workers; a broker that is away is waited for."""
        taken = 0
        try:
            taken = await keeper.poll(timeout_ms=int(_LOOK_S * 1000))
            await self._refresh_committed()
            self.watch.note = ""
        except (KafkaError, OSError, TimeoutError) as error:
            self.watch.note = f"Kafka is away ({type(error).__name__}); waiting"
            await asyncio.sleep(_LOOK_S)
        self.watch.restarts = dict(self._supervisor.restarts)
        screen.update()
        return taken

    _committed_at = 0.0

    async def _refresh_committed(self) -> None:
        if time.monotonic() - self._committed_at < _COMMITTED_EVERY_S:
            return
        async with asyncio.timeout(10), kafka.administered(self.settings) as admin:
            self.watch.committed = await committed_offsets(admin, worker_groups(self._routes))
        self._committed_at = time.monotonic()

    async def _settle(self, keeper: BookKeeper, screen: Screen, played: Played) -> None:
        """Wait until every reading and event is somewhere final, or nothing moves any more."""
        moved_at, last = time.monotonic(), self._state()
        quiet = False
        while time.monotonic() - moved_at < STALLED_S:
            await self._look(keeper, screen)
            now = self._state()
            if moved := now != last:
                moved_at, last = time.monotonic(), now
            # Workers are asked one after another, and an event may pass between two of them:
            # only what is said twice, with nothing come in between, is so.
            if self._complete(played) and await self._drained():
                if quiet and not moved:
                    return
                quiet = True
            else:
                quiet = False
        self.watch.note = "nothing moves any more"

    def _state(self) -> tuple[object, ...]:
        return tuple(
            (line.name, line.went_in, tuple(line.places.items()))
            for line in self.watch.books.lines(self.watch.committed)
        )

    def _complete(self, played: Played) -> bool:
        readings = self.watch.books.readings
        return readings.received + readings.quarantined >= played.expected.published and all(
            line.closes and not line.places["waiting"]
            for line in self.watch.books.lines(self.watch.committed)
        )

    async def _drained(self) -> bool:
        """Whether no worker has anything left to read, the lake's uploads included."""
        try:
            async with asyncio.timeout(10), kafka.administered(self.settings) as admin:
                return not any(row.lag for row in await status.lags(admin, self.settings))
        except (KafkaError, OSError, TimeoutError):
            return False


def save(result: RunReport, root: Path) -> Path:
    """Write the report as JSON; returns where."""
    path = root / "report.json"
    path.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
    return path
