"""Calls to pyiceberg, which blocks: in a thread, one at a time, each with an end.

What it raises becomes a value. Nothing that it raises proves that nothing was done, so all but
a lost race is a Retry, and whoever tries again looks first what the table has.
"""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from connectors.lake import base
from connectors.lake.catalog import RACE, TROUBLE

TRIES: Final = 20
PAUSE_S: Final = 0.05
"""How often a lost race is run again, and the greatest pause before the first time; each next may
be longer by as much."""


class Calls:
    """Calls on behalf of one table, `name`, of at most `seconds` each; for one event loop."""

    def __init__(self, name: str, seconds: float, trouble: Callable[[], None]) -> None:
        """`trouble` is called, in the thread, after something was raised."""
        self._name = name
        self._seconds = seconds
        self._trouble = trouble
        self._lock = asyncio.Lock()
        self._running: asyncio.Future[Any] | None = None

    async def run(self, function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - the function's
        """The function's answer, or a Retry.

        One that takes too long goes on in its thread, and what it does counts if it ends; the
        next begins after it.
        """
        try:
            async with asyncio.timeout(self._seconds), self._lock:
                if self._running is not None:
                    await asyncio.wait((self._running,))
                self._running = asyncio.ensure_future(
                    asyncio.to_thread(self._answered, function, *arguments)
                )
                # Unlike awaiting it, this does not give it up where we are.
                await asyncio.wait((self._running,))
                return self._running.result()
        except TimeoutError:
            return base.Retry(
                reason=f"The catalogue or the store of {self._name} has not answered for "
                f"{self._seconds:g} s: it is tried again; check LAKE_CATALOG and LAKE_URL."
            )

    def _answered(self, function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - the same
        try:
            for attempt in range(TRIES):
                try:
                    return function(*arguments)
                except RACE:
                    time.sleep(random.uniform(0, PAUSE_S * (attempt + 1)))  # noqa: S311 - jitter
        except Exception as error:  # noqa: BLE001 - pyiceberg, its drivers and stores raise what they like
            self._trouble()
            return base.Retry(reason=self._reason(error))
        return base.Retry(
            reason=f"{self._name} was changed by others {TRIES} times in a row: it is tried again."
        )

    def _reason(self, error: Exception) -> str:
        """Of the error only its kind and place: its text may hold an address with a password."""
        kind = type(error).__name__
        if isinstance(error, ImportError):
            return (
                f"The driver that LAKE_CATALOG names for {self._name} is not installed: install "
                "it, or correct the address."
            )
        if isinstance(error, TROUBLE):
            return (
                f"The catalogue or the store of {self._name} does not answer ({kind}): it is "
                "tried again; check LAKE_CATALOG and LAKE_URL."
            )
        place = traceback.extract_tb(error.__traceback__)[-1]
        return (
            f"{self._name} could not be read or changed ({kind} at "
            f"{Path(place.filename).name}:{place.lineno}): it is tried again; if that does not "
            "help, report it as a bug."
        )
