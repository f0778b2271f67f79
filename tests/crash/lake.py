"""python -m tests.crash.lake: the lake's crash suite from the command line.

Exit code 0 where no row was lost, doubled or wrong, 1 where one was, 2 where the run could not
be made.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.crash import lake_table
from tests.crash.command import alone, options, perform, typed
from tests.crash.lake_plan import Plan, make_plan
from tests.crash.lake_runner import Outcome, Runner
from tests.crash.progress import counting

ROOT: Final = Path(".local/crash-lake")
OUT: Final = Path(".local/crash-lake.json")
MOST_ROUNDS: Final = 1_000
OTHERS: Final = ("S3_", "AWS_", "LAKE_")


def main() -> int:
    """Run the suite; returns the exit code."""
    asked = _arguments()
    console = alone()
    for name in [name for name in os.environ if name.startswith(OTHERS)]:
        del os.environ[name]
    plan = make_plan(asked.seed, asked.rounds)
    console.print(
        f"{asked.rounds} rounds with seed {asked.seed}; again with: --rounds "
        f"{asked.rounds} --seed {asked.seed}"
    )

    def show(outcome: Outcome) -> None:
        lake_table.show(outcome, console)
        lake_table.save(outcome, asked.out)

    return perform(
        asked.root,
        lambda: _run(asked.root, plan, console),
        show,
        well="Every row once, by three readers",
        out=asked.out,
        console=console,
    )


def _run(root: Path, plan: Plan, console: Console) -> Outcome:
    """The run, with how far it is."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    with counting(console, len(plan.faults)) as step:
        return asyncio.run(Runner(root, plan, say=say, step=step).run())


def _arguments() -> argparse.Namespace:
    return typed(
        options(
            *("tests.crash.lake", __doc__, "--rounds"),
            default=44,
            most=MOST_ROUNDS,
            root=ROOT,
            out=OUT,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
