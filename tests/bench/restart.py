"""How soon a worker with a million series works again after kill -9.

    python -m tests.bench.restart [--quick]

The worker takes the `million` shape until nothing is left, is killed, and one new message
per partition is written. The time is from the start of the process to the last of their
outputs: first with its RocksDB as the kill left it, then with the changelog alone.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.topology import DEDUPLICATED, DETECT_STATE
from tests.bench import ours, report
from tests.bench.broker import BenchError, Broker
from tests.bench.command import attempt, parser
from tests.bench.load import Loaded, load
from tests.bench.measure import LOOK_S, STALLED_S, watch_output
from tests.bench.screen import Screen
from tests.bench.shapes import FULL, MILLION, QUICK

FEW = replace(MILLION, name="few", devices=1_000)
"""What comes after the kill: ten thousand readings of devices that are known already."""
_MIB = 1024 * 1024


async def run(broker: Broker, screen: Screen, *, quick: bool) -> dict[str, Any]:
    """Both restarts; their part of the results file."""
    await broker.make_ours()
    wanted = (QUICK if quick else FULL).million
    with screen.doing(f"restart: writing {wanted:,} readings", wanted) as tell:
        loaded = await load(broker.settings, MILLION, wanted, on_progress=tell)
    async with broker.watch(DEDUPLICATED) as ends:
        with (
            ours.worker(broker) as process,
            screen.doing("restart: a million series", loaded.readings) as tell,
        ):
            await watch_output(
                process,
                ends,
                began=time.monotonic(),
                done=loaded.upto,
                total=loaded.readings,
                on_progress=tell,
            )
            await ours.committed(broker, loaded, process)
            process.kill()
        with screen.doing("restart: from local RocksDB", 1):
            local_s = await back(broker, loaded, MILLION.ticks(wanted))
        folder = broker.root / "state"
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        shutil.rmtree(folder)
        with screen.doing("restart: from the changelog alone", 1):
            changelog_s = await back(broker, loaded, MILLION.ticks(wanted) + 1)
    return {
        "series": MILLION.series,
        "seconds_local": round(local_s, 2),
        "seconds_changelog": round(changelog_s, 2),
        "local_mb": round(size / _MIB, 1),
        "changelog_records": await ours.count(broker, DETECT_STATE),
    }


async def back(broker: Broker, loaded: Loaded, tick: int) -> float:
    """Seconds until a started worker has put out a new message of each partition.

    The messages hold the samples of one tick; `loaded` grows by them. The worker is killed
    at the end.
    """
    before = loaded.ends
    more = await load(broker.settings, FEW, FEW.devices * FEW.per_sample, later=tick)
    loaded.follow(more)
    async with broker.watch(DEDUPLICATED) as ends:
        had = await ends.now()
        if short := [p for p, end in before.items() if had[p] < end]:
            raise BenchError(f"Partitions {short} of {DEDUPLICATED} are not complete: see the log.")
        began = time.monotonic()
        with ours.worker(broker) as process:
            while any(end <= had[p] for p, end in (await ends.now()).items()):
                process.check()
                if time.monotonic() - began > 2 * STALLED_S:
                    raise process.stuck(f"has put out nothing after {2 * STALLED_S:.0f} s")
                await asyncio.sleep(LOOK_S / 2)
            seconds = time.monotonic() - began
            # All of it, so that the next start has nothing old to repeat.
            await ours.committed(broker, loaded, process)
            process.kill()
    return seconds


def show(console: Console, result: dict[str, Any]) -> None:
    """The table."""
    table = Table(title="restart after kill -9, to the first new output", title_justify="left")
    for column in ("series", "from local RocksDB", "from the changelog", "local", "records"):
        table.add_column(column, justify="right")
    table.add_row(
        f"{result['series']:,}",
        f"{result['seconds_local']:.1f} s",
        f"{result['seconds_changelog']:.1f} s",
        f"{result['local_mb']:.0f} MB",
        f"{result['changelog_records']:,}",
    )
    console.print(table)


def main(arguments: Sequence[str] = ()) -> int:
    """The command; returns its exit code."""
    about = "fewer readings of as many series"
    quick = parser("restart", __doc__, quick=about, repeat=False).parse_args(arguments).quick

    def work(console: Console) -> None:
        screen = Screen(console)
        with Broker(console.print) as broker, screen.shown("restart", 1):
            result = asyncio.run(run(broker, screen, quick=quick))
        report.merge({"restart": {"quick": quick, **result}})
        show(console, result)

    return attempt(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
