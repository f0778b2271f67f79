"""python -m tests.faults: the fault suite from the command line.

Exit code 0 where nothing was lost, doubled, out of order or wrongly told, 1 where something
was, 2 where the run could not be made.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.crash.command import alone, options, perform, typed
from tests.crash.progress import counting
from tests.faults import table
from tests.faults.plan import OUTAGE_S, Plan, make_plan
from tests.faults.runner import Outcome, Runner

ROOT: Final = Path(".local/faults")
OUT: Final = Path(".local/faults.json")
MOST_FAULTS: Final = 10_000
MOST: Final = 1_000.0


def main() -> int:
    """Run the suite; returns the exit code."""
    asked = _arguments()
    console = alone()
    plan = make_plan(asked.seed, asked.faults, short=asked.short, outage_s=asked.outage)
    form = "--short" if asked.short else f"--faults {asked.faults} --outage {asked.outage:g}"
    console.print(
        f"{len(plan.faults)} faults with seed {asked.seed}; again with: {form} --seed {asked.seed}"
    )
    if asked.plan:
        for fault in plan.faults:
            console.print(fault.line(), markup=False, highlight=False)
        return 0

    def show(outcome: Outcome) -> None:
        table.show(outcome, console)
        table.save(outcome, asked.out)

    return perform(
        asked.root,
        lambda: _run(asked, plan, console),
        show,
        well="Nothing lost, doubled or out of order",
        out=asked.out,
        console=console,
    )


def _run(asked: argparse.Namespace, plan: Plan, console: Console) -> Outcome:
    """The run, with how far it is."""
    with counting(console, len(plan.faults)) as step:
        return asyncio.run(
            Runner(asked.root, plan, per_s=asked.rate, say=console.print, step=step).run()
        )


def _arguments() -> argparse.Namespace:
    parser = options(
        *("tests.faults", __doc__, "--faults"), default=200, most=MOST_FAULTS, root=ROOT, out=OUT
    )
    parser.add_argument("--short", action="store_true", help="one of each family, scaled down")
    parser.add_argument("--rate", type=_above_0, default=6.0, help="events a second (6)")
    parser.add_argument(
        "--outage", type=_above_0, default=OUTAGE_S, help="the long one, seconds (300)"
    )
    parser.add_argument("--plan", action="store_true", help="say what would be done, do nothing")
    return typed(parser)


def _above_0(text: str) -> float:
    with suppress(ValueError):
        if 0 < (number := float(text)) <= MOST:
            return number
    raise argparse.ArgumentTypeError(f"must be a number above 0, at most {MOST:.0f}")


if __name__ == "__main__":
    sys.exit(main())
