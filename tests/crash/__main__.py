"""python -m tests.crash: the crash suite from the command line.

Exit code 0 where nothing was lost, doubled or wrong, 1 where something was, 2 where the run
could not be made.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.crash import table
from tests.crash.command import alone, options, perform, typed
from tests.crash.plan import Plan, make_plan
from tests.crash.progress import counting
from tests.crash.runner import Outcome, Runner

ROOT: Final = Path(".local/crash")
OUT: Final = Path(".local/crash.json")
MOST_ROUNDS: Final = 1_000


def main() -> int:
    """Run the suite; returns the exit code."""
    asked = _arguments()
    console = alone()
    plan = make_plan(asked.seed, asked.rounds)
    console.print(
        f"{asked.rounds} rounds with seed {asked.seed}; again with: --rounds "
        f"{asked.rounds} --seed {asked.seed}"
    )
    for line in plan.lines():
        console.print(line, markup=False, highlight=False)

    def show(outcome: Outcome) -> None:
        table.show(outcome, console)
        table.save(outcome, asked.out)

    return perform(
        asked.root,
        lambda: _run(asked.root, plan, console),
        show,
        well="Nothing lost, doubled or wrong",
        out=asked.out,
        console=console,
    )


def _run(root: Path, plan: Plan, console: Console) -> Outcome:
    """The run, with how far it is."""
    with counting(console, len(plan.faults)) as step:
        return asyncio.run(Runner(root, plan, say=console.print, step=step).run())


def _arguments() -> argparse.Namespace:
    return typed(
        options(
            *("tests.crash", __doc__, "--rounds"),
            default=30,
            most=MOST_ROUNDS,
            root=ROOT,
            out=OUT,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
