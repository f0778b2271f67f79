"""What a driver counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.core.breaker import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Counters of one driver since its start, and its breaker now."""

    attempts: int = 0
    retries: int = 0
    look_ups: int = 0
    waits: int = 0
    breaker: Phase = Phase.CLOSED


class Tally:
    """Counts, and tells of waits: `hook(reason, delay_s)`."""

    def __init__(self, hook: Callable[[str, float], None] | None) -> None:
        self._hook = hook
        self._status = Status()

    def status(self, breaker: Phase) -> Status:
        """Counters now."""
        return replace(self._status, breaker=breaker)

    def wait(self, reason: str, delay_s: float) -> None:
        """Somebody waits, seconds."""
        self.count(waits=1)
        if self._hook is not None:
            self._hook(reason, delay_s)

    def count(
        self, *, attempts: int = 0, retries: int = 0, look_ups: int = 0, waits: int = 0
    ) -> None:
        """Add to the counters."""
        now = self._status
        self._status = replace(
            now,
            attempts=now.attempts + attempts,
            retries=now.retries + retries,
            look_ups=now.look_ups + look_ups,
            waits=now.waits + waits,
        )
