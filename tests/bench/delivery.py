"""How fast events go out through the whole engine, beside bare httpx doing the same requests.

    python -m tests.bench.delivery [--quick] [--repeat N] [--mode batched|single]

The sink's topic is full before the worker starts. Kafka → `fieldline worker deliver-webhook`
with its ledger in Redis (synced to disk at every write) → a receiver in a process of its own
that checks signatures and keeps each event to once. Every run is checked at the receiver:
each event there once, in order. httpx sends the same bytes, as many requests at a time.

Then, at half of that rate: the time from an event's observation to its result. And what
100,000 events cost in memory that wait for a receiver which is down (503), or each for its
own device (409, Retry-After).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import redis.asyncio as redis
from rich.console import Console

from pipeline.topology import RESULTS
from pipeline.wire import kafka
from tests.bench import delivery_report
from tests.bench.broker import Broker
from tests.bench.command import attempt, parser, repeats
from tests.bench.delivery_report import BARE
from tests.bench.delivery_world import MODES, Mode, World, event
from tests.bench.measure import watch_output
from tests.bench.process import Process, others_s
from tests.bench.report import OURS
from tests.bench.screen import Screen
from tests.sandbox import Fault, sandbox

DEVICES = 5_000
WAIT_DEVICES = 10_000
PACED_S = 10.0
WARM_S = 2.0
"""Of the paced run's start, not counted."""
DOWN_S = 20.0
"""How long a worker is watched whose receiver is down."""
ANSWER_S = 300.0
FAR_S = 3_600
_TICK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Events per run."""

    batched: int
    single: int
    waiting: int


FULL = Sizes(batched=60_000, single=20_000, waiting=100_000)
QUICK = Sizes(batched=20_000, single=5_000, waiting=20_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. `engine` is ours or httpx; the rest is 0 where it is not ours."""

    engine: str
    mode: str
    events: int
    events_per_s: float
    seconds: float
    cpu_us_per_event: float = 0.0
    redis_commands_per_event: float = 0.0
    redis_round_trips_per_event: float = 0.0
    peak_rss_mb: float = 0.0
    others_cores: float = 0.0


@dataclass(slots=True, kw_only=True)
class Found:
    """All that was measured."""

    runs: list[Run] = field(default_factory=list)
    latency: dict[str, dict[str, float]] = field(default_factory=dict)
    waiting: dict[str, dict[str, float]] = field(default_factory=dict)


class Bench:
    """All runs in one world."""

    def __init__(self, world: World, screen: Screen, *, quick: bool, repeats: int) -> None:
        self._world = world
        self._screen = screen
        self._sizes = QUICK if quick else FULL
        self._repeats = repeats
        self.found = Found()

    async def run(self, modes: Sequence[Mode]) -> None:
        """Both modes, then the waiting."""
        runs = len(modes) * (2 * self._repeats + 1) + 2
        with self._screen.shown("delivery bench", runs) as one_more:
            for mode in modes:
                await self._mode(mode, one_more)
            await self._down(one_more)
            await self._parked(one_more)

    async def _mode(self, mode: Mode, one_more: Callable[[], None]) -> None:
        count = getattr(self._sizes, mode.name)
        await self._world.forget()
        with self._screen.doing(f"{mode.name}: writing {count:,} events", 1):
            await self._world.load(count, DEVICES)
        for turn in range(1, self._repeats + 1):
            for engine, one in ((OURS, self._ours), (BARE, self._bare)):
                what = f"{mode.name}: {engine}, run {turn} of {self._repeats}"
                with self._screen.doing(what, count) as tell:
                    self.found.runs.append(await one(mode, count, tell))
                one_more()
        ours = [r.events_per_s for r in self.found.runs if r.mode == mode.name and r.engine == OURS]
        rate = statistics.median(ours) / 2
        with self._screen.doing(f"{mode.name}: {rate:,.0f} events/s for {PACED_S:.0f} s", 1):
            self.found.latency[mode.name] = await self._paced(mode, rate)
        one_more()

    async def _ours(self, mode: Mode, count: int, tell: Callable[[float], None]) -> Run:
        world = self._world
        await world.again()
        async with world.broker.watch(RESULTS) as ends:
            before = sum((await ends.now()).values())
            commands, reads = await world.redis_work()
            began = time.monotonic()
            with world.worker(mode) as process:
                seen = await watch_output(
                    process,
                    ends,
                    began=began,
                    done=lambda now: sum(now.values()) - before,
                    total=count,
                    on_progress=tell,
                )
                # Before the wait for the commit, so that our own looks are not counted.
                commands_after, reads_after = await world.redis_work()
                await world.committed(process)
                peak = process.peak_rss_mb()
        await world.check(count)
        moved = max(1.0, seen.done_last - seen.done_first)
        return Run(
            engine=OURS,
            mode=mode.name,
            events=count,
            events_per_s=seen.rate,
            seconds=seen.seconds,
            cpu_us_per_event=seen.cpu_s / moved * 1e6,
            redis_commands_per_event=(commands_after - commands) / count,
            redis_round_trips_per_event=(reads_after - reads) / count,
            peak_rss_mb=peak,
            others_cores=seen.others,
        )

    async def _bare(self, mode: Mode, count: int, tell: Callable[[float], None]) -> Run:
        del tell
        await self._world.box.clear()
        numbers = (str(n) for n in (count, DEVICES, mode.batch, mode.lanes))
        argv = (sys.executable, "-m", "tests.bench.bare_http", *numbers)
        pids = (*self._world.broker.pids, self._world.box.pid)
        began, others = time.monotonic(), others_s(*pids)
        with Process(self._world.broker.root, BARE, argv, self._world.box.env) as process:
            cpu = 0.0
            while process.wait(0) is None:
                if time.monotonic() - began > ANSWER_S:
                    raise process.stuck(f"took more than {ANSWER_S:.0f} s")
                cpu = process.cpu_s()
                await asyncio.sleep(_TICK_S)
            got = process.answer()
        elsewhere = (others_s(*pids) - others - cpu) / (time.monotonic() - began)
        await self._world.check(count)
        return Run(
            engine=BARE,
            mode=mode.name,
            events=count,
            events_per_s=got["events"] / got["seconds"],
            seconds=got["seconds"],
            others_cores=max(0.0, elsewhere),
        )

    async def _paced(self, mode: Mode, rate: float) -> dict[str, float]:
        """Latency of each event from its observation to its result, ms, at that rate."""
        world = self._world
        await world.forget()
        with world.worker(mode) as process:
            async with world.producing() as producer:
                first = await world.send(producer, event(0, DEVICES, now_ms=_now_ms()))
                await first
                await world.box.until(lambda stats: stats["keys"] == 1, within_s=ANSWER_S)
                began, sent, under_way = time.monotonic(), 1, []
                while (passed := time.monotonic() - began) < PACED_S:
                    while sent < passed * rate:
                        one = event(sent, DEVICES, now_ms=_now_ms())
                        under_way.append(await world.send(producer, one))
                        sent += 1
                    await asyncio.sleep(_TICK_S)
                await asyncio.gather(*under_way)
            process.check()
            await world.box.until(lambda stats: stats["keys"] == sent, within_s=ANSWER_S)
            await world.committed(process)
        await world.check(sent)
        results = [
            world.codec.decode("delivery_result.v2", message.value)
            for message in await kafka.read_all(world.broker.settings, RESULTS)
        ]
        began_ms = min(result["at_ms"] for result in results[1:])
        took = [r["latency_ms"] for r in results if r["at_ms"] > began_ms + WARM_S * 1_000]
        cuts = statistics.quantiles(took, n=100)
        return {"events_per_s": round(rate), "p50_ms": cuts[49], "p99_ms": cuts[98]}

    async def _down(self, one_more: Callable[[], None]) -> None:
        """Memory while everything waits for a receiver that is down."""
        world, count = self._world, self._sizes.waiting
        await world.forget()
        with self._screen.doing(f"waiting: writing {count:,} events", 1):
            await world.load(count, WAIT_DEVICES)
        await world.box.faults(Fault(status=503))
        with (
            self._screen.doing(f"waiting: receiver down for {DOWN_S:.0f} s", 1),
            world.worker(MODES["batched"]) as process,
        ):
            await world.box.until(lambda stats: stats["requests"] >= 1, within_s=ANSWER_S)
            began = process.peak_rss_mb()
            # The length of the outage is what is measured: nothing is waited for here.
            await asyncio.sleep(DOWN_S)
            process.check()
            peak = process.peak_rss_mb()
        self.found.waiting["down"] = {"events": count, "mb_at_first": began, "peak_mb": peak}
        one_more()

    async def _parked(self, one_more: Callable[[], None]) -> None:
        """Memory while every device's first event waits for itself: all must be parked."""
        world, count = self._world, self._sizes.waiting
        await world.again()
        await world.box.faults(Fault(status=409, headers={"Retry-After": str(FAR_S)}))
        with (
            self._screen.doing(f"parked: {count:,} events of {WAIT_DEVICES:,} devices", 1),
            world.worker(MODES["batched"]) as process,
        ):
            await world.box.until(lambda stats: stats["requests"] >= 1, within_s=ANSWER_S)
            began, first = time.monotonic(), process.peak_rss_mb()
            await world.committed(process, 3 * ANSWER_S)
            seconds, peak = time.monotonic() - began, process.peak_rss_mb()
        folder = world.broker.root / "state"
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        self.found.waiting["parked"] = {
            "events": count,
            "mb_at_first": first,
            "peak_mb": peak,
            "seconds": seconds,
            "local_mb": size / 2**20,
        }
        one_more()


def _now_ms() -> int:
    return int(time.time() * 1_000)


async def bench(
    broker: Broker, screen: Screen, modes: Sequence[Mode], *, quick: bool, repeats: int
) -> Found:
    """All of it; what was measured before a failure is shown, and not kept."""
    store = redis.from_url(broker.env["REDIS_URL"])
    async with sandbox() as box, store:
        made = Bench(World(broker, box, store), screen, quick=quick, repeats=repeats)
        try:
            await made.run(modes)
        finally:
            delivery_report.show(screen.console, made.found)
        return made.found


def main(arguments: Sequence[str] = ()) -> int:
    """The command; returns its exit code."""
    options = parser("delivery", __doc__, quick="few events, one run each: about 4 minutes")
    options.add_argument("--mode", choices=sorted(MODES), help="this one only")
    asked = options.parse_args(arguments)
    modes = [MODES[asked.mode]] if asked.mode else list(MODES.values())

    def work(console: Console) -> None:
        # Redis is emptied here, so it must never be the user's.
        for name in [n for n in os.environ if n.startswith(("REDIS_URL", "WEBHOOK_"))]:
            del os.environ[name]
        with Broker(console.print, parts=("kafka", "redis")) as broker:
            found = asyncio.run(
                bench(broker, Screen(console), modes, quick=asked.quick, repeats=repeats(asked))
            )
        delivery_report.keep(asdict(found), quick=asked.quick)
        console.print(f"Written to {delivery_report.FILE}.")

    return attempt(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
