"""Circuit breaker of one sink: stop asking a system that is down, probe with one event.

    closed ──`failures` in a row──▶ open ──its time is over──▶ half_open (one probe is out)
      ▲                              ▲ └──────────◀──no evidence──────┘ │ │
      │                              └──────────failed, twice as long───┘ │
      └──────────────────────────────good─────────────────────────────────┘

An open breaker holds every lane; Kafka is the buffer, nothing is given up. The states are
those of Michael Nygard, "Release It!" (2007), chapter Stability Patterns.

All workers of a sink share one breaker by way of a board (pipeline/state/sink_board.py): each
opening there has a serial number, greater than any before. `adopt` takes over what the board
says, `posted` notes that our own opening stands there, and `beaten` waits while another
worker's probe is out. Without a board each worker's breaker decides for itself.
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
class Shared:
    """What the board says of the newest opening: number `serial` (0: there was none yet).

    `for_s`: seconds until a probe may go; 0 where that time is over. `openings` in a row,
    `owner` the worker that opened it, `reason` a code. `pause_s`: the target asked all to
    stay away for so long, whether the breaker is open or not.
    """

    serial: int = 0
    is_open: bool = False
    for_s: float = 0.0
    openings: int = 0
    owner: str = ""
    reason: str = ""
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """State of one breaker; each method gives the next state. Times in seconds, one clock.

    `serial` is the newest opening of the board that was taken into account; `own` says that
    this opening is (still) only ours.
    """

    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    phase: Phase = Phase.CLOSED
    failures: int = 0
    openings: int = 0
    until_s: float = 0.0
    serial: int = 0
    own: bool = False

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
            return Breaker(policy=self.policy, serial=self.serial)
        return self

    def bad(self, now_s: float, *, probe: bool, at_least_s: float = 0.0) -> Breaker:
        """The system failed; `at_least_s` is its own wish for how long to stay away."""
        if probe:
            return self._trip(now_s, at_least_s)
        if self.phase is not Phase.CLOSED:
            return self
        if self.failures + 1 >= self.policy.failures:
            return self._trip(now_s, at_least_s)
        return replace(self, failures=self.failures + 1)

    def nothing(self, *, probe: bool) -> Breaker:
        """It went without asking the system: no evidence; the next one may probe at once."""
        return replace(self, phase=Phase.OPEN) if probe else self

    def posted(self, serial: int) -> Breaker:
        """Our opening stands on the board under this number."""
        return replace(self, serial=max(serial, self.serial), own=False)

    def beaten(self, now_s: float, wait_s: float) -> Breaker:
        """Our probe may not go, for another worker's is out: wait, and see what comes of it."""
        if self.phase is not Phase.HALF_OPEN:
            return self
        return replace(self, phase=Phase.OPEN, until_s=now_s + wait_s)

    def adopt(self, shared: Shared | None, now_s: float) -> Breaker:
        """Take over another worker's opening, or its end. None: the board cannot be read.

        A probe of ours that is out decides for itself. What is older than what we know, as
        on a board that was emptied, changes nothing; nor does the end of an earlier opening
        close one of our own that is not on the board.
        """
        if shared is None or self.phase is Phase.HALF_OPEN or shared.serial < self.serial:
            return self
        newer = shared.serial > self.serial
        if shared.is_open:
            if not newer:
                return self
            return replace(
                self,
                phase=Phase.OPEN,
                failures=0,
                openings=max(self.openings, min(max(shared.openings, 1), _MAX_DOUBLINGS)),
                until_s=max(self.until_s, now_s + max(shared.for_s, 0.0)),
                serial=shared.serial,
                own=False,
            )
        if self.phase is Phase.OPEN and (newer or not self.own):
            return Breaker(policy=self.policy, serial=shared.serial)
        return replace(self, serial=shared.serial)

    def _trip(self, now_s: float, at_least_s: float) -> Breaker:
        doublings = min(self.openings, _MAX_DOUBLINGS)
        wait_s = min(self.policy.cap_s, self.policy.open_s * float(2**doublings))
        return replace(
            self,
            phase=Phase.OPEN,
            failures=0,
            openings=self.openings + 1,
            own=True,
            until_s=now_s + max(wait_s, at_least_s),
        )
