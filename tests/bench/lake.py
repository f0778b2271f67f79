"""Readings per second from Kafka to Parquet on S3, beside pyarrow alone and Quix Streams' sink.

    python -m tests.bench.lake [--quick] [--only NAME,...] [--repeat N] [--no-questions]

Ours: the archive worker as it runs in production, with an Iceberg table in a SQL catalogue, on a
topic that was filled before. pyarrow: the same rows from memory, sorted and written to the same
S3 with the same Parquet settings, no Kafka. Quix Streams: its own file sink, into a folder.
Engines take turns. Every run of ours is checked: as many rows in files and table as readings.

Then three questions to DuckDB over our files, before and after `fieldline lake compact`, and
over the same rows as unsorted small files. Results go to .local/bench/lake.json.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from infra.local.files import write_private
from pipeline.topology import DEDUPLICATED, PARTITIONS
from tests import environment
from tests.bench import lake_engines, lake_queries, lake_report
from tests.bench.broker import ROOT, BenchError, Broker
from tests.bench.command import attempt, parser, repeats
from tests.bench.lake_engines import GROUP, OURS, PYARROW, QUIX, QUIX_TOPIC, Lake, Run, make_lake
from tests.bench.lake_load import MESSAGE_READINGS, Loaded, load, load_json
from tests.bench.screen import Screen

FILE = ROOT / "lake.json"
PEERS = Path(__file__).with_name("peers") / "requirements.txt"
ENGINES = (OURS, PYARROW, QUIX)
_OUTSIDE = ("S3_", "LAKE_", "AWS_")
_COMPACT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Messages of each partition and run, MESSAGE_READINGS readings each."""

    ours: int
    pyarrow: int
    quix: int


FULL = Sizes(ours=6_000, pyarrow=2_000, quix=400)
QUICK = Sizes(ours=3_000, pyarrow=500, quix=100)
"""Ours must make several ranges a partition: of those before the last one it is rated."""


class Bench:
    """All runs on one broker and one store."""

    def __init__(
        self,
        broker: Broker,
        screen: Screen,
        *,
        engines: Sequence[str],
        sizes: Sizes,
        turns: int,
        ask: bool,
        python: str,
    ) -> None:
        """`turns` runs of each engine; `ask` the questions too; `python` is the peers'."""
        self._broker = broker
        self._screen = screen
        self._engines = engines
        self._sizes = sizes
        self._turns = turns
        self._asks = ask
        self._python = python
        self.runs: list[Run] = []
        self.queries: dict[str, dict[str, float]] = {}

    async def run(self) -> None:
        """Everything; what is done is in `runs` and `queries` also where a later one fails."""
        count = len(self._engines) * self._turns + 3
        with self._screen.shown("lake bench", count) as one_more:
            loaded, peers = await self._load()
            lake: Lake | None = None
            for turn in range(1, self._turns + 1):
                for engine in self._engines:
                    what = f"{engine}, run {turn} of {self._turns}"
                    made = make_lake(self._broker, f"{engine}-{turn}")
                    with self._screen.doing(what, self._readings(engine)) as tell:
                        if engine == OURS:
                            lake = made
                            one = await lake_engines.ours(
                                self._broker, made, loaded, on_progress=tell
                            )
                        elif engine == QUIX:
                            one = await lake_engines.quix(
                                self._broker, self._python, peers, turn, on_progress=tell
                            )
                        else:
                            one = await lake_engines.pyarrow(
                                self._broker, made, self._sizes.pyarrow
                            )
                    self.runs.append(one)
                    one_more()
            if lake is not None and self._asks:
                self._ask(lake)

    def _readings(self, engine: str) -> int:
        each = {OURS: self._sizes.ours, PYARROW: self._sizes.pyarrow, QUIX: self._sizes.quix}
        return each[engine] * MESSAGE_READINGS * PARTITIONS

    async def _load(self) -> tuple[Loaded, Loaded]:
        broker = self._broker
        await broker.rewind(GROUP, DEDUPLICATED)
        await broker.make_ours()
        loaded = peers = Loaded(messages=0)
        if OURS in self._engines:
            wanted = self._readings(OURS)
            with self._screen.doing(f"writing {wanted:,} readings", wanted) as tell:
                loaded = await load(broker.settings, self._sizes.ours, on_progress=tell)
        if QUIX in self._engines:
            await broker.make(QUIX_TOPIC)
            with self._screen.doing("writing Quix Streams' readings as JSON", 1):
                peers = await load_json(broker.settings, QUIX_TOPIC, self._sizes.quix)
        return loaded, peers

    def _ask(self, lake: Lake) -> None:
        with self._screen.doing("writing the same rows as unsorted small files", 1):
            lake_queries.write_small(lake, self._sizes.ours)
        with self._screen.doing("questions: unsorted small files", 1):
            small, wanted = lake_queries.timed(lake, lake_queries.SMALL, self._turns)
            self.queries["small_files"] = small
        with self._screen.doing("questions: as written", 1):
            self.queries["before"] = _checked(lake, wanted, "as written", self._turns)
        with self._screen.doing("questions: compacted", 1):
            _compact(lake)
            self.queries["after"] = _checked(lake, wanted, "compacted", self._turns)


def _checked(
    lake: Lake, wanted: dict[str, list[tuple[object, ...]]], what: str, turns: int
) -> dict[str, float]:
    times, answers = lake_queries.timed(lake, lake_queries.LAKE, turns)
    if not lake_queries.same(wanted, answers):
        raise BenchError(f"The lake {what} answers otherwise than the small files: look at it.")
    return times


def _compact(lake: Lake) -> None:
    """Compact, and take the small files away at once: no reader is at them here."""
    env = {**os.environ, **lake.env, "FIELDLINE_LAKE_GRACE_H": "0"}
    fieldline = str(Path(sys.executable).with_name("fieldline"))
    for arguments in (("compact", "--after-days", "0"), ("expire",)):
        done = subprocess.run(
            (fieldline, "lake", *arguments, "--dataset", "telemetry"),
            env=env,
            capture_output=True,
            text=True,
            timeout=_COMPACT_S,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-300:]
            raise BenchError(f"fieldline lake {arguments[0]} failed: {said}.")


def main(arguments: Sequence[str] = ()) -> int:
    """The command; returns its exit code."""
    options = parser("lake", __doc__, quick="small sizes, one run each: about two minutes")
    options.add_argument("--only", metavar="NAME,...", help=f"some of {','.join(ENGINES)}")
    options.add_argument("--no-questions", action="store_true", help="leave DuckDB out")
    asked = options.parse_args(arguments)
    named = set(asked.only.split(",")) if asked.only else set(ENGINES)
    if unknown := sorted(named - set(ENGINES)):
        options.error(f"there is no engine {', '.join(unknown)}: name some of {','.join(ENGINES)}")
    engines = [engine for engine in ENGINES if engine in named]

    def work(console: Console) -> None:
        # Buckets and catalogues are made here, so they must never be the user's.
        for name in [n for n in os.environ if n.startswith(_OUTSIDE)]:
            del os.environ[name]
        python = ""
        if QUIX in engines:
            python = environment.python(PEERS, ROOT / "peers", say=console.print)
        with Broker(console.print, parts=("kafka", "s3proxy")) as broker:
            bench = Bench(
                broker,
                Screen(console),
                engines=engines,
                sizes=QUICK if asked.quick else FULL,
                turns=repeats(asked),
                ask=not asked.no_questions,
                python=python,
            )
            try:
                asyncio.run(bench.run())
            finally:
                # Where a run failed: what was measured before is shown, and not kept.
                lake_report.show(console, bench.runs, quick=asked.quick)
                lake_report.show_queries(console, bench.queries)
        found = lake_report.results(bench.runs, bench.queries, quick=asked.quick)
        write_private(FILE, json.dumps(found, indent=2) + "\n")
        console.print(f"Written to {FILE}.")

    return attempt(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
