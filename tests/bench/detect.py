"""Readings per second of the detect worker beside its peers, on one Kafka, in one run.

    python -m tests.bench.detect [--quick] [--shape NAME] [--only NAME,...] [--repeat N]

Every engine is one process. Runs take turns (round robin), so that a slow minute of the
machine hits all alike; a rate is the steady state, from the first output to the last, and
the median of the repeats. Results go to .local/bench/detect.json.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pipeline.topology import READINGS
from tests import environment
from tests.bench import ours, report, theirs
from tests.bench.broker import ROOT, Broker
from tests.bench.command import attempt, parser, repeats
from tests.bench.load import Loaded, LoadedJson, load, load_json
from tests.bench.measure import Run
from tests.bench.screen import Screen
from tests.bench.shapes import FULL, MILLION, QUICK, SHAPES, SINGLE, Shape, Sizes

PEERS = Path(__file__).with_name("peers") / "requirements.txt"
ENGINES = (ours.NAME, *theirs.PEERS, theirs.RAW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    shapes: tuple[Shape, ...]
    engines: tuple[str, ...]
    repeats: int
    sizes: Sizes
    quick: bool

    def of(self, shape: Shape) -> tuple[str, ...]:
        """Engines of a shape: the peers play the headline only."""
        return tuple(e for e in self.engines if shape is SINGLE or e == ours.NAME)

    @property
    def runs(self) -> int:
        """How many in all."""
        return self.repeats * sum(len(self.of(shape)) for shape in self.shapes)


def plan(arguments: Sequence[str]) -> Plan:
    """The plan that a command line asks for; exits with a sentence where it is wrong."""
    options = parser("detect", __doc__, quick="small sizes, one run each: about a minute")
    options.add_argument("--shape", choices=sorted(SHAPES), help="this one only")
    options.add_argument("--only", metavar="NAME,...", help=f"some of {','.join(ENGINES)}")
    asked = options.parse_args(arguments)
    engines = tuple(asked.only.split(",")) if asked.only else ENGINES
    unknown = sorted(set(engines) - set(ENGINES))
    if unknown:
        options.error(f"there is no engine {', '.join(unknown)}: name some of {','.join(ENGINES)}")
    shapes = tuple(SHAPES.values())
    if asked.shape:
        shapes = (SHAPES[asked.shape],)
    elif asked.quick:
        shapes = (SINGLE,)
    return Plan(
        shapes=shapes,
        # In the order in which they take turns, and each once.
        engines=tuple(engine for engine in ENGINES if engine in engines),
        repeats=repeats(asked),
        sizes=QUICK if asked.quick else FULL,
        quick=asked.quick,
    )


class Bench:
    """All runs of a plan on one broker."""

    def __init__(self, plan: Plan, broker: Broker, screen: Screen, peers_python: str) -> None:
        self._plan = plan
        self._broker = broker
        self._screen = screen
        self._python = peers_python
        self.runs: list[Run] = []

    async def run(self) -> None:
        """Shape after shape; what is done is in `runs` also where a later one fails."""
        with self._screen.shown("speed bench", self._plan.runs) as one_more:
            for shape in self._plan.shapes:
                engines = self._plan.of(shape)
                if not engines:
                    continue
                loaded, sources = await self._load(shape, engines)
                for turn in range(1, self._plan.repeats + 1):
                    for engine in engines:
                        what = f"{shape.name}: {engine}, run {turn} of {self._plan.repeats}"
                        self.runs.append(await self._one(engine, what, loaded, sources, turn))
                        one_more()

    async def _load(
        self, shape: Shape, engines: tuple[str, ...]
    ) -> tuple[Loaded, dict[str, LoadedJson]]:
        """The topics of a shape, filled."""
        broker, wanted = self._broker, self._plan.sizes.of(shape)
        await broker.rewind(ours.GROUP, READINGS)
        await broker.make_ours()
        with self._screen.doing(f"{shape.name}: writing {wanted:,} readings", wanted) as tell:
            loaded = await load(broker.settings, shape, wanted, on_progress=tell)
        peers = [engine for engine in engines if engine in theirs.PEERS]
        topics = {f"bench-json-{peer}": int(getattr(self._plan.sizes, peer)) for peer in peers}
        for topic in topics:
            await broker.make(topic)
        sources: dict[str, LoadedJson] = {}
        if topics:
            with self._screen.doing("single: writing the peers' readings as JSON", 1):
                made = await load_json(broker.settings, shape, wanted, topics)
            sources = {peer: made[f"bench-json-{peer}"] for peer in peers}
        return loaded, sources

    async def _one(
        self, engine: str, what: str, loaded: Loaded, sources: dict[str, LoadedJson], turn: int
    ) -> Run:
        peer = theirs.PEERS.get(engine)
        total = sources[engine].readings if peer else loaded.readings
        with self._screen.doing(what, total) as tell:
            if peer:
                python = self._python if peer.own_environment else sys.executable
                return await theirs.run(
                    self._broker, peer, python, sources[engine], turn, on_progress=tell
                )
            if engine == theirs.RAW:
                return await theirs.run_raw(self._broker, loaded, on_progress=tell)
            return await ours.run(self._broker, loaded, on_progress=tell)


def show(console: Console, plan: Plan, runs: list[Run]) -> None:
    """A table for each shape."""
    for shape in plan.shapes:
        if some := [run for run in runs if run.shape == shape.name]:
            report.show(console, shape, some, quick=plan.quick)


def main(arguments: Sequence[str] = ()) -> int:
    """The command; returns its exit code."""
    chosen = plan(arguments)

    def work(console: Console) -> None:
        if chosen.quick:
            console.print("Quick: small sizes, one run each. The figures are rough.")
        own = [p for p in theirs.PEERS.values() if p.own_environment and p.name in chosen.engines]
        python = ""
        if own and SINGLE in chosen.shapes:
            python = environment.python(PEERS, ROOT / "peers", say=console.print)
        with Broker(console.print) as broker:
            bench = Bench(chosen, broker, Screen(console), python)
            try:
                asyncio.run(bench.run())
            finally:
                # Where a run failed: what was measured before is shown, and not kept.
                show(console, chosen, bench.runs)
        found = report.of_detect(bench.runs, report.kept(), quick=chosen.quick)
        report.merge(found)
        if MILLION in chosen.shapes and "bytes_per_series" in found["shapes"][MILLION.name]:
            bytes_each = found["shapes"][MILLION.name]["bytes_per_series"]
            console.print(f"A series takes {bytes_each:,} bytes of memory.")
        console.print(f"Written to {report.FILE}.")

    return attempt(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
