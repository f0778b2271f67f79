"""The one way a worker ends itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

log = structlog.get_logger(__name__)

HALTED = 70
"""Exit code of a worker that cannot go on (EX_SOFTWARE, sysexits.h): start it again."""

A = TypeVar("A")


async def guarded(step: Callable[[A], Awaitable[object]], argument: A) -> None:
    """Run one step of an agent; what it cannot handle itself ends the worker.

    An exception that left an agent would acknowledge the events in hand (faust-rules 2).
    Exiting at once, without commit or clean-up, is the one way that is safe whatever
    happened: it is what a SIGKILL does, and the supervisor starts the worker again.
    """
    try:
        await step(argument)
    except Exception as error:
        log.critical(
            "worker halts",
            error=type(error).__name__,
            detail=str(error)[:500],
            exc_info=True,
        )
        halt()


def halt() -> None:
    """End the process now, nothing committed; the supervisor restarts it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(HALTED)
