"""The time a driver and its parts go by: given from outside, so that tests have their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """`clock` gives seconds since the Unix epoch, `jitter` a number in [0, 1).

    `on_wait(reason, delay_s)` is told of each wait.
    """

    clock: Callable[[], float]
    sleep: Sleep
    jitter: Callable[[], float]
    on_wait: Callable[[str, float], None]

    async def wait(self, reason: str, delay_s: float, *, at_most_s: float = float("inf")) -> None:
        """Tell of a wait, and wait: the whole of it, or no longer than `at_most_s`."""
        self.on_wait(reason, delay_s)
        await self.sleep(min(delay_s, at_most_s))
