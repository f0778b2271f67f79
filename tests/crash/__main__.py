"""python -m tests.crash: the crash suite from the command line.

Exit code 0 where nothing was lost, doubled or wrong, 1 where something was, 2 where the run
could not be made.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from infra.local.part import StackError
from infra.local.stack import clean
from tests.crash import table
from tests.crash.plan import Plan, make_plan
from tests.crash.progress import counting
from tests.crash.runner import Outcome, Runner

ROOT: Final = Path(".local/crash")
OUT: Final = Path(".local/crash.json")
MOST_ROUNDS: Final = 1_000
OTHERS: Final = ("KAFKA_", "FIELDLINE_")
"""Settings of another pipeline: this suite kills its broker, so it has one of its own."""


def main() -> int:
    """Run the suite; returns the exit code."""
    asked = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 160)
    for name in [name for name in os.environ if name.startswith(OTHERS)]:
        del os.environ[name]
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the broker is away on purpose
    plan = make_plan(asked.seed, asked.rounds)
    console.print(
        f"{asked.rounds} rounds with seed {asked.seed}; again with: --rounds "
        f"{asked.rounds} --seed {asked.seed}"
    )
    for line in plan.lines():
        console.print(line, markup=False, highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        clean(asked.root)
        asked.root.mkdir(parents=True, exist_ok=True)
        outcome = _run(asked.root, plan, console)
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Ended before it was through.\n")
        return 130
    table.show(outcome, console)
    table.save(outcome, asked.out)
    console.print(
        f"{'Nothing lost, doubled or wrong' if outcome.ok else 'FAILED'}; see {asked.out}."
    )
    return 0 if outcome.ok else 1


def _run(root: Path, plan: Plan, console: Console) -> Outcome:
    """The run, with how far it is."""
    with counting(console, len(plan.faults)) as step:
        return asyncio.run(Runner(root, plan, say=console.print, step=step).run())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=_rounds, default=30, help="how many faults (30)")
    parser.add_argument(
        "--seed", type=int, help="plays a plan again; a new one by chance if absent"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the run; it is deleted")
    parser.add_argument("--out", type=Path, default=OUT, help="where the JSON goes")
    asked = parser.parse_args()
    if asked.seed is None:
        asked.seed = secrets.randbelow(1_000_000)
    return asked


def _rounds(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_ROUNDS:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MOST_ROUNDS}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
