"""Items per second of each connector against its sandbox, beside bare httpx.

    python -m tests.bench.connectors [--quick] [--repeat N] [NAME ...]

Ours: events through the engine (ledger in memory, four lanes) and the connector, to a sandbox
in a process of its own; each run begins with an empty system and is checked in its journal.
Bare: the requests that our first run made, look-ups and logins included, sent again by httpx
with their bytes ready, four at a time; so the sandbox finds records that are there already. The
share is what our engine, mapping and reading of answers leave of that.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from connectors import registry
from connectors.base import Call
from infra.local.files import write_private
from tests.bench.broker import ROOT, BenchError
from tests.bench.command import attempt, parser, repeats
from tests.bench.report import host
from tests.bench.screen import Screen
from tests.contract.case import Case
from tests.contract.world import World, event
from tests.sandboxes.box import Box, FarEnd

FILE = ROOT / "connectors.json"
LANES = 4
START_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Events a run: for connectors that take one record a request, and for batched ones."""

    single: int
    batched: int


FULL = Sizes(single=1_000, batched=6_000)
QUICK = Sizes(single=200, batched=1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Medians for one connector. Rates are events a second."""

    connector: str
    batch: int
    events: int
    requests: int
    ours_per_s: float
    bare_per_s: float

    @property
    def share(self) -> float:
        """Ours of bare."""
        return self.ours_per_s / self.bare_per_s


REAL = frozenset({"tryton"})
"""Their case starts a real server, behind a door of ours."""
LEFT_OUT = frozenset({"files"})
"""SFTP: there is no bare httpx to compare with."""


def benched() -> list[str]:
    """Connectors that can be measured so."""
    here = (name for name in registry.names() if find_spec(f"tests.sandboxes.{name}"))
    return [name for name in here if name not in LEFT_OUT]


@contextmanager
def served(name: str, case: Case) -> Iterator[FarEnd]:
    """The sandbox in a process of its own, or the real server."""
    if name in REAL:
        with case.start() as far:
            yield far
        return
    argv = (sys.executable, "-m", "tests.sandboxes", name)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        try:
            url = json.loads(process.stdout.readline())[name]
            with httpx.Client(timeout=60, trust_env=False) as client:
                yield Box(url, client)
        finally:
            process.stdin.close()


async def run(name: str, sizes: Sizes, turns: int) -> Run:
    """One connector, ours and bare in turns. BenchError where events are missing or doubled."""
    case: Case = import_module(f"tests.contract.cases.{name}").CASE
    ours: list[float] = []
    bare: list[float] = []
    with served(name, case) as far:
        world = World(case, far)
        batch = world.connector().batch_size
        count = sizes.single if batch == 1 else sizes.batched
        for turn in range(turns):
            far.clear()
            if case.prepare is not None:
                case.prepare(far)
            world.calls.clear()
            told = [event(f"{turn} {n}", device_id=f"acme/truck-{n}") for n in range(count)]
            began = time.perf_counter()
            ends = await world.run(told, within_s=600)
            ours.append(count / (time.perf_counter() - began))
            made = len(world.creates())
            if made != count or len(ends) != count:
                raise BenchError(f"{name}: {count} events made {made} records; look at its case.")
            bare.append(count / await _bare(world.calls))
        requests = len(world.calls)
    return Run(
        connector=name,
        batch=batch,
        events=count,
        requests=requests,
        ours_per_s=statistics.median(ours),
        bare_per_s=statistics.median(bare),
    )


async def _bare(calls: Sequence[Call]) -> float:
    """Seconds for the same requests by httpx alone."""
    left = [
        (c.request.method, c.request.url, c.request.headers, c.request.read())
        for c in reversed(calls)
    ]
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:

        async def work() -> None:
            while left:
                method, url, headers, body = left.pop()
                await client.request(method, url, headers=headers, content=body)

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(LANES)))
        return time.perf_counter() - began


def show(runs: Sequence[Run], console: Console) -> None:
    """The table."""
    table = Table("connector", box=None, pad_edge=False)
    for name in ("events a request", "events/s", "bare httpx", "share"):
        table.add_column(name, justify="right")
    for one in runs:
        table.add_row(
            one.connector,
            f"{one.events / one.requests:.1f}",
            f"{one.ours_per_s:,.0f}",
            f"{one.bare_per_s:,.0f}",
            f"{one.share:.0%}",
        )
    console.print(table)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    made = parser("connectors", __doc__, quick="small sizes, one run")
    made.add_argument("names", nargs="*", metavar="NAME", help="connectors; all by default")
    asked = made.parse_args(arguments)

    def work(console: Console) -> None:
        known = benched()
        if unknown := sorted(set(asked.names) - set(known)):
            raise BenchError(
                f"There is no sandbox {unknown[0]!r}: choose among {', '.join(known)}."
            )
        wanted = asked.names or known
        runs: list[Run] = []
        screen = Screen(console)
        with screen.shown("connectors bench", len(wanted)) as one_more:
            for name in wanted:
                sizes = QUICK if asked.quick else FULL
                runs.append(asyncio.run(run(name, sizes, repeats(asked))))
                one_more()
        show(runs, console)
        found: dict[str, Any] = {
            "quick": asked.quick,
            "host": host(),
            "connectors": {r.connector: asdict(r) | {"share": round(r.share, 3)} for r in runs},
        }
        write_private(FILE, json.dumps(found, indent=2) + "\n")
        console.print(f"Written to {FILE}.")

    return attempt(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
