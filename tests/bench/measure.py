"""One run of one engine: from its start to the last output, seen from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.broker import Ends
from tests.bench.process import Process, others_s

LOOK_S = 0.1
"""Between two looks at the output: 1 % of the shortest run, and no load to speak of."""
STALLED_S = 90.0
"""An engine whose output does not grow for so long is stuck; compiling takes less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run came to. `readings` were played, `readings_per_s` is the steady state."""

    engine: str
    shape: str
    readings: int
    readings_per_s: float
    seconds_steady: float
    seconds_first: float
    """From the start of the process to its first output."""
    seconds_total: float
    """From the start of the process until everything was out (and committed, for ours)."""
    peak_rss_mb: float
    cpu_cores: float
    """Processor time over time, in the steady state."""
    others_cores: float = 0.0
    """Processor time over time that went to other programs (not Kafka's, not the bench's)."""
    events: int = 0

    @property
    def readings_per_s_whole(self) -> float:
        """From the first output until all is committed, so that state written late counts too."""
        return self.readings / max(self.seconds_total - self.seconds_first, LOOK_S)

    def as_json(self) -> dict[str, Any]:
        """For the results file, figures rounded."""
        figures = asdict(self) | {"readings_per_s_whole": self.readings_per_s_whole}
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}


@dataclass(slots=True, kw_only=True)
class Watched:
    """First and last look at a growing output."""

    seconds_first: float
    seconds_last: float
    done_first: float
    done_last: float
    cpu_s: float
    others_s: float
    peak_rss_mb: float

    @property
    def seconds(self) -> float:
        """Between both looks; at least one look, so that a tiny run divides by no zero."""
        return max(self.seconds_last - self.seconds_first, LOOK_S)

    @property
    def rate(self) -> float:
        """Readings per second between both looks; over the whole run where they are one."""
        gained = self.done_last - self.done_first
        return gained / self.seconds if gained else self.done_last / self.seconds_last

    @property
    def cores(self) -> float:
        """Processor time over time between both looks."""
        return self.cpu_s / self.seconds

    @property
    def others(self) -> float:
        """The same of programs that have nothing to do with the bench."""
        return max(0.0, self.others_s / self.seconds)


async def watch_output(
    process: Process,
    ends: Ends,
    *,
    began: float,
    done: Callable[[dict[int, int]], float],
    total: float,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Watched:
    """Look until `done` of the end offsets reaches `total`; both count readings.

    `began` is the monotonic time at which the process was started. BenchError where it
    ends or nothing moves for STALLED_S.
    """
    first: tuple[float, float, float, float] | None = None
    last, moved = 0.0, time.monotonic()
    while True:
        now_done = done(await ends.now())
        now = time.monotonic()
        if now_done > last:
            last, moved = now_done, now
            first = first or (now, now_done, process.cpu_s(), others_s(*ends.pids, process.pid))
            on_progress(now_done)
        if first is not None and now_done >= total - 0.5:  # peers count by a share
            return Watched(
                seconds_first=first[0] - began,
                seconds_last=now - began,
                done_first=first[1],
                done_last=now_done,
                cpu_s=process.cpu_s() - first[2],
                others_s=others_s(*ends.pids, process.pid) - first[3],
                peak_rss_mb=process.peak_rss_mb(),
            )
        process.check()
        if now - moved > STALLED_S:
            raise process.stuck(f"has made no output for {STALLED_S:.0f} s ({last:,.0f} readings)")
        await asyncio.sleep(LOOK_S)
