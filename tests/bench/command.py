"""What the bench's commands share: options, and errors as one sentence."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError
from rich.console import Console

from infra.local.part import StackError
from pipeline.settings import SettingsError
from tests.bench.broker import BenchError
from tests.bench.screen import make_console
from tests.environment import EnvironmentFault

REPEATS = 3
MOST_REPEATS = 100
_INTERRUPTED = 130


def parser(name: str, about: str | None, *, quick: str, repeat: bool = True) -> Any:  # noqa: ANN401 - argparse's namespace has no types
    """A parser with --quick, and --repeat where there are repeats."""
    made = argparse.ArgumentParser(
        prog=f"python -m tests.bench.{name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help=quick)
    if repeat:
        made.add_argument(
            "--repeat",
            type=int,
            choices=range(1, MOST_REPEATS + 1),
            metavar="N",
            help=f"runs of each, 1 to {MOST_REPEATS} ({REPEATS}; 1 with --quick)",
        )
    return made


def repeats(asked: Any) -> int:  # noqa: ANN401 - the same
    """How many runs of each the options ask for."""
    return int(asked.repeat or (1 if asked.quick else REPEATS))


def attempt(work: Callable[[Console], None]) -> int:
    """Do it; the exit code. What went wrong is told in one sentence."""
    # Topics come and go here, and aiokafka would tell of each metadata answer that is behind.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        work(make_console())
    except (BenchError, EnvironmentFault, StackError, SettingsError) as error:
        return _failed(str(error))
    except (KafkaError, OSError, TimeoutError) as error:
        return _failed(f"The bench's Kafka went away ({error!r}): see .local/bench/stack/log.")
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _failed(sentence: str) -> int:
    make_console(stderr=True).print(sentence, markup=False, soft_wrap=True)
    return 1
