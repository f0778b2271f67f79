"""What the suites that harm their own parts have in common when they are typed."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from rich.console import Console

from infra.local.part import StackError
from infra.local.stack import clean

OTHERS: Final = ("KAFKA_", "FIELDLINE_")
"""Settings of another pipeline: a suite kills its broker, so it has one of its own."""


class Outcome(Protocol):
    """What is asked of a run's end."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        ...


R = TypeVar("R", bound=Outcome)


def options(
    module: str, doc: str | None, count: str, *, default: int, most: int, root: Path, out: Path
) -> argparse.ArgumentParser:
    """What every suite takes: how many faults (the option `count`), a seed, and where to."""

    def number(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {most}")
        return int(text)

    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=doc)
    parser.add_argument(count, type=number, default=default, help=f"how many faults ({default})")
    parser.add_argument(
        "--seed", type=int, help="plays a plan again; a new one by chance if absent"
    )
    parser.add_argument("--root", type=Path, default=root, help="folder of the run; it is deleted")
    parser.add_argument("--out", type=Path, default=out, help="where the JSON goes")
    return parser


def typed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was typed, with a seed in any case."""
    asked = parser.parse_args()
    if asked.seed is None:
        asked.seed = secrets.randbelow(1_000_000)
    return asked


def alone() -> Console:
    """A console, and this process cut off from other pipelines and the clients' complaints."""
    for name in [name for name in os.environ if name.startswith(OTHERS)]:
        del os.environ[name]
    for name in ("aiokafka", "asyncio"):  # the broker is away on purpose, clients hang up
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return Console(width=None if sys.stdout.isatty() else 160)


def perform(
    root: Path,
    run: Callable[[], R],
    show: Callable[[R], None],
    *,
    well: str,
    out: Path,
    console: Console,
) -> int:
    """Run in an empty folder and show the outcome; the exit code. `well` is said if all is."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        clean(root)
        root.mkdir(parents=True, exist_ok=True)
        outcome = run()
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Ended before it was through.\n")
        return 130
    show(outcome)
    console.print(f"{well if outcome.ok else 'FAILED'}; see {out}.")
    return 0 if outcome.ok else 1
