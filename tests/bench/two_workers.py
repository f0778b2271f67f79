"""Two detect workers in one group against one, on the same readings.

    python -m tests.bench.two_workers [--quick] [--repeat N]

The rate is taken while all have work: from the moment at which every partition moves (and,
for two, both are members of the group) until the first partition is through. On a machine
with two cores Kafka shares them, so twice the rate is not to be had.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.topology import DEDUPLICATED, EVENTS
from tests.bench import ours, report
from tests.bench.broker import BenchError, Broker
from tests.bench.command import attempt, parser, repeats
from tests.bench.load import Loaded, load
from tests.bench.measure import LOOK_S, STALLED_S
from tests.bench.process import others_s
from tests.bench.screen import Screen
from tests.bench.shapes import FULL, QUICK, SINGLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """One run of so many workers."""

    workers: int
    readings_per_s: float
    seconds: float
    seconds_total: float
    peak_rss_mb: float
    others_cores: float
    events: int


class Window:
    """Finds the time in which all have work, look by look."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._zero: dict[int, int] | None = None
        self._start: tuple[float, float, float] | None = None
        self._finish: tuple[float, float, float] | None = None

    @property
    def waits(self) -> bool:
        """Whether it is not yet known that all workers are members."""
        return self._zero is None

    def all_here(self, ends: dict[int, int]) -> None:
        """All workers are members; from here every partition must move once."""
        self._zero = dict(ends)

    def look(self, at: float, ends: dict[int, int], others: float) -> None:
        """End offsets of the output at a time, and processor time gone elsewhere by then."""
        if self._zero is None or self._finish is not None:
            return
        here = (at, float(self._loaded.upto(ends)), others)
        if self._start is None and all(ends[p] > self._zero[p] for p in ends):
            self._start = here
        if self._start and any(ends[p] >= end for p, end in self._loaded.ends.items()):
            self._finish = here

    def result(self) -> tuple[float, float, float]:
        """Readings per second, seconds, and cores gone elsewhere; BenchError where none was."""
        if self._start is None or self._finish is None or self._finish[0] <= self._start[0]:
            raise BenchError("The workers were through before all of them worked: play more.")
        seconds = self._finish[0] - self._start[0]
        readings, others = (b - a for a, b in zip(self._start[1:], self._finish[1:], strict=True))
        return readings / seconds, seconds, max(0.0, others / seconds)


async def run_one(
    broker: Broker, loaded: Loaded, workers: int, on_progress: Callable[[float], None]
) -> Together:
    """Start them at once and let them take everything; checked as any run."""
    await ours.fresh(broker)
    window = Window(loaded)
    async with broker.watch(DEDUPLICATED) as ends, AsyncExitStack() as stack:
        began = time.monotonic()
        processes = [stack.enter_context(ours.worker(broker, n)) for n in range(workers)]
        pids = (*broker.pids, *(process.pid for process in processes))
        last, moved = 0, began
        while last < loaded.readings:
            now, at = await ends.now(), time.monotonic()
            window.look(at, now, others_s(*pids))
            if window.waits and await broker.members(ours.GROUP) == workers:
                window.all_here(now)
            if (done := loaded.upto(now)) > last:
                last, moved = done, at
                on_progress(done)
            for process in processes:
                process.check()
            if at - moved > STALLED_S:
                raise processes[0].stuck(f"and its peers made no output for {STALLED_S:.0f} s")
            await asyncio.sleep(LOOK_S)
        await ours.committed(broker, loaded, processes[0])
        total_s = time.monotonic() - began
        peak = max(process.peak_rss_mb() for process in processes)
    await ours.check(broker, loaded)
    rate, seconds, elsewhere = window.result()
    return Together(
        workers=workers,
        readings_per_s=rate,
        seconds=seconds,
        seconds_total=total_s,
        peak_rss_mb=peak,
        others_cores=elsewhere,
        events=await ours.count(broker, EVENTS),
    )


async def run(broker: Broker, screen: Screen, *, quick: bool, repeats: int) -> list[Together]:
    """One and two workers, taking turns."""
    await broker.make_ours()
    wanted = 2 * (QUICK if quick else FULL).ours
    with screen.doing(f"two workers: writing {wanted:,} readings", wanted) as tell:
        loaded = await load(broker.settings, SINGLE, wanted, on_progress=tell)
    out: list[Together] = []
    for turn in range(1, repeats + 1):
        for workers in (1, 2):
            what = f"{workers} worker{'s' * (workers > 1)}, run {turn} of {repeats}"
            with screen.doing(what, loaded.readings) as tell:
                out.append(await run_one(broker, loaded, workers, tell))
    return out


def summary(runs: Sequence[Together], *, quick: bool) -> dict[str, Any]:
    """The part of the results file."""
    one, two = (statistics.median(r.readings_per_s for r in runs if r.workers == n) for n in (1, 2))
    return {
        "quick": quick,
        "readings_per_s": {"one": round(one), "two": round(two)},
        "ratio": round(two / one, 3),
        "runs": [{name: round(value, 3) for name, value in asdict(run).items()} for run in runs],
    }


def show(console: Console, runs: Sequence[Together], result: dict[str, Any]) -> None:
    """The table."""
    table = Table(title="two workers in one group", title_justify="left")
    for column in ("workers", "readings/s", "min - max", "peak MB each", "seconds in all"):
        table.add_column(column, justify="right")
    for workers in (1, 2):
        some = [run for run in runs if run.workers == workers]
        each = [run.readings_per_s for run in some]
        table.add_row(
            str(workers),
            f"{statistics.median(each):,.0f}",
            f"{min(each):,.0f} - {max(each):,.0f}",
            f"{max(run.peak_rss_mb for run in some):,.0f}",
            f"{statistics.median(run.seconds_total for run in some):.1f}",
        )
    console.print(table)
    console.print(f"Two have {result['ratio']:.2f} times the rate of one.")
    report.warn_cores(console, max(run.others_cores for run in runs))


def main(arguments: Sequence[str] = ()) -> int:
    """The command; returns its exit code."""
    about = "fewer readings, one run each"
    asked = parser("two_workers", __doc__, quick=about).parse_args(arguments)

    def work(console: Console) -> None:
        screen = Screen(console)
        with Broker(console.print) as broker, screen.shown("two workers", 1):
            runs = asyncio.run(run(broker, screen, quick=asked.quick, repeats=repeats(asked)))
        result = summary(runs, quick=asked.quick)
        report.merge({"two_workers": result})
        show(console, runs, result)

    return attempt(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
