"""Waiting in tests: always for a condition, always with a deadline, never just for a while."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

WITHIN_S = 180.0
"""Longest wait: many times what anything takes on an idle machine, less than a test may take."""
LOOK_S = 0.05
"""Between two looks."""

Look = Callable[[], Any]
"""Gives something where it is so (not None, False, 0 or empty); may be a coroutine function."""


async def first(look: Look, *, within_s: float = WITHIN_S, every_s: float = LOOK_S) -> Any:  # noqa: ANN401 - what the look gives
    """The first look that is something; None where none is in time."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            return None
        await asyncio.sleep(every_s)


async def until(
    look: Look,
    otherwise: str | Callable[[], str] = "it did not come about in time",
    *,
    within_s: float = WITHIN_S,
) -> Any:  # noqa: ANN401 - what the look gives
    """As `first`; AssertionError with `otherwise` where nothing is in time."""
    found = await first(look, within_s=within_s)
    assert found is not None, otherwise if isinstance(otherwise, str) else otherwise()
    return found


def blocking_until(
    condition: Callable[[], bool],
    otherwise: str = "it did not come about in time",
    *,
    within_s: float = WITHIN_S,
) -> None:
    """The same without an event loop."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(LOOK_S)
