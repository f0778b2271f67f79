"""What a receiver can be told to do wrong, and for how many requests."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Mode = Literal["answer", "hang", "drop_before", "drop_after"]


@dataclass(slots=True, kw_only=True)
class Fault:
    """One switch. The first that fits a request is used, and `times` goes down; None = for ever.

    It fits where one of the events has its key in `keys` or its device in `devices`; with
    both empty, always. `delay_s` comes first, then `mode`:

    - answer: with `status`, `headers` and `body` in the receiver's place; status 0 = the
      true answer (so that a delay alone is possible);
    - hang: never answer; drop_before: close without a word, nothing taken; drop_after: take
      the events, then close without a word.

    `slow_s`: seconds between the bytes of an answer, 0 = all at once. `reads`: look-ups too.
    """

    mode: Mode = "answer"
    status: int = 0
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    slow_s: float = 0.0
    times: int | None = None
    keys: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    reads: bool = False
    used: int = 0

    def fits(self, keys: Collection[str], devices: Collection[str], *, read: bool) -> bool:
        """Whether it is for this request."""
        if self.times == 0 or (read and not self.reads):
            return False
        if not self.keys and not self.devices:
            return True
        return not set(self.keys).isdisjoint(keys) or not set(self.devices).isdisjoint(devices)

    def as_json(self) -> dict[str, Any]:
        """For the control endpoint."""
        return asdict(self)


class Faults:
    """The switches that are on."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def replace(self, faults: Iterable[Mapping[str, Any]]) -> None:
        """These and no others; TypeError where one is none."""
        self.all = [Fault(**fault) for fault in faults]

    def take(
        self, keys: Collection[str], devices: Collection[str], *, read: bool = False
    ) -> Fault | None:
        """The fault for this request, counted."""
        for fault in self.all:
            if fault.fits(keys, devices, read=read):
                fault.used += 1
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


@dataclass(slots=True, kw_only=True)
class Limit:
    """A rate limit over fixed windows: `events` in each `window_s` seconds.

    Told by draft-ietf-httpapi-ratelimit-headers, as `RateLimit` and `RateLimit-Policy`
    (draft 10) and as the three fields before them (draft 06), and by Retry-After on a 429.
    """

    events: int
    window_s: float
    _began: float = 0.0
    _used: int = 0

    def spend(self, events: int) -> tuple[bool, dict[str, str]]:
        """Whether so many may pass, and the header fields to tell with."""
        now = time.monotonic()
        if now - self._began >= self.window_s:
            self._began, self._used = now, 0
        passed = self._used + events <= self.events
        if passed:
            self._used += events
        left = max(0, self.events - self._used)
        reset = max(1, round(self._began + self.window_s - now + 0.5))
        headers = {
            "RateLimit-Policy": f'"default";q={self.events};w={max(1, round(self.window_s))}',
            "RateLimit": f'"default";r={left};t={reset}',
            "RateLimit-Limit": str(self.events),
            "RateLimit-Remaining": str(left),
            "RateLimit-Reset": str(reset),
        }
        return passed, headers if passed else headers | {"Retry-After": str(reset)}
