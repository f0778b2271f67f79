"""Circuit breaker of one sink: stop asking a system that is down, probe with one event.

    closed ──`failures` in a row──▶ open ──its time is over──▶ half_open (one probe is out)
      ▲                              ▲ └──────────◀──no evidence──────┘ │ │
      │                              └──────────failed, twice as long───┘ │
      └──────────────────────────────good─────────────────────────────────┘

An open breaker holds every lane; Kafka is the buffer, nothing is given up. The states are
those of Michael Nygard, "Release It!" (2007), chapter Stability Patterns.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

_MAX_DOUBLINGS = 32


class Phase(StrEnum):
    """What the breaker lets through: all, nothing, or the one probe that is out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """Failures in a row that open it; first and longest time open, seconds."""

    failures: int = 5
    open_s: float = 2.0
    cap_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """Let through; whoever goes as `probe` says so when reporting back."""

    probe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Wait `delay_s` seconds and ask again; None: until the probe that is out is back."""

    delay_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """State of one breaker; each method gives the next state. Times in seconds, one clock."""

    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    phase: Phase = Phase.CLOSED
    failures: int = 0
    openings: int = 0
    until_s: float = 0.0

    def admit(self, now_s: float) -> tuple[Breaker, Go | Hold]:
        """Ask to go: through, as the one probe, or hold."""
        if self.phase is Phase.CLOSED:
            return self, Go(probe=False)
        if self.phase is Phase.HALF_OPEN:
            return self, Hold(delay_s=None)
        if now_s < self.until_s:
            return self, Hold(delay_s=self.until_s - now_s)
        return replace(self, phase=Phase.HALF_OPEN), Go(probe=True)

    def good(self, *, probe: bool) -> Breaker:
        """The system answered. Late answers to what left before it opened do not close it."""
        if probe or self.phase is Phase.CLOSED:
            return Breaker(policy=self.policy)
        return self

    def bad(self, now_s: float, *, probe: bool, at_least_s: float = 0.0) -> Breaker:
        """The system failed; `at_least_s` is its own wish for how long to stay away."""
        if probe:
            return self._open(now_s, at_least_s)
        if self.phase is not Phase.CLOSED:
            return self
        if self.failures + 1 >= self.policy.failures:
            return self._open(now_s, at_least_s)
        return replace(self, failures=self.failures + 1)

    def nothing(self, *, probe: bool) -> Breaker:
        """It went without asking the system: no evidence; the next one may probe at once."""
        return replace(self, phase=Phase.OPEN) if probe else self

    def _open(self, now_s: float, at_least_s: float) -> Breaker:
        doublings = min(self.openings, _MAX_DOUBLINGS)
        wait_s = min(self.policy.cap_s, self.policy.open_s * float(2**doublings))
        return replace(
            self,
            phase=Phase.OPEN,
            failures=0,
            openings=self.openings + 1,
            until_s=now_s + max(wait_s, at_least_s),
        )
