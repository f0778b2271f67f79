"""How fast events may go to a sink, as frozen values: rates per sink and tenant, concurrency.

A rate is the generic cell rate algorithm (GCRA, ITU-T I.371; a token bucket kept as one time).
Whoever asks for n goes as soon as one token is there and pays all n, so that a large batch
waits no longer than a small one and nobody is passed over for ever. Over any time W at most
`per_s · W + burst + n - 1` go, n being the largest ask.

Concurrency follows AIMD (Chiu and Jain, 1989), as TCP does: half as much when the target is
congested, one more conversation after as many good answers as there are conversations.

pipeline/state/sink_board.py holds the same rates in Redis, for all workers together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MAX_ASK = 10_000
"""Most events one ask is charged for: longer debts are a clock that was set back."""
_INSTANT_S = 1e-6
"""A wait shorter than this is rounding: time in seconds since 1970 has steps of 2e-7."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Events per second, and how many may go at once after a rest. ValueError if not positive."""

    per_s: float
    burst: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.per_s < float("inf") and 1 <= self.burst < float("inf")):
            raise ValueError("The rate needs per_s > 0 and burst >= 1: correct the sink.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limiter:
    """One rate's state: `empty_s` is when all that went is paid for, seconds."""

    rate: Rate
    empty_s: float = 0.0

    def wait_s(self, now_s: float) -> float:
        """Seconds until one may go; 0 for now."""
        wait = self._debt_s(now_s) - (self.rate.burst - 1) / self.rate.per_s
        return wait if wait > _INSTANT_S else 0.0

    def paid(self, now_s: float, n: int) -> Limiter:
        """After n more have gone."""
        asked = min(max(n, 0), MAX_ASK)
        return replace(self, empty_s=now_s + self._debt_s(now_s) + asked / self.rate.per_s)

    def admit(self, now_s: float, n: int = 1) -> tuple[Limiter, float]:
        """Ask for n: wait 0 and they are paid, or how many seconds to wait before asking again."""
        wait = self.wait_s(now_s)
        return (self, wait) if wait else (self.paid(now_s, n), 0.0)

    def _debt_s(self, now_s: float) -> float:
        longest = (self.rate.burst + MAX_ASK) / self.rate.per_s
        return min(max(self.empty_s - now_s, 0.0), longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The rates of one sink: all its events together, and each tenant's; None = no limit.

    Only tenants that still have something to pay are kept, so memory follows those active.
    """

    sink: Limiter | None = None
    tenant: Rate | None = None
    tenants: Mapping[str, Limiter] = field(default_factory=dict)

    @classmethod
    def of(cls, sink: Rate | None, tenant: Rate | None) -> Limits:
        """Limits at rest."""
        return cls(sink=None if sink is None else Limiter(rate=sink), tenant=tenant)

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self.sink is not None or self.tenant is not None

    def admit(self, now_s: float, wants: Mapping[str, int]) -> tuple[Limits, dict[str, float]]:
        """Ask for so many events of each tenant: by tenant 0, or seconds to wait before asking.

        In the order given; those that may go are paid, the others are not.
        """
        sink = self.sink
        tenants = {name: one for name, one in self.tenants.items() if one.empty_s > now_s}
        waits: dict[str, float] = {}
        for name, n in wants.items():
            one = None
            if self.tenant is not None:
                one = tenants.get(name) or Limiter(rate=self.tenant)
            asked = [limiter for limiter in (sink, one) if limiter is not None]
            wait = max((limiter.wait_s(now_s) for limiter in asked), default=0.0)
            waits[name] = wait
            if not wait:
                sink = None if sink is None else sink.paid(now_s, n)
                if one is not None:
                    tenants[name] = one.paid(now_s, n)
        return replace(self, sink=sink, tenants=tenants), waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How many conversations at once a target stands: from 1 to `lanes`.

    `limit` is a fraction on its way up; `cut_s` is when it was halved last. One congestion
    answers every conversation that is under way, so those within `round_s` seconds of a cut
    are the same one and cut nothing.
    """

    lanes: int
    limit: float = float("inf")
    cut_s: float = float("-inf")
    round_s: float = 1.0

    @property
    def slots(self) -> int:
        """Conversations that may go on at once, 1 to `lanes`."""
        return max(1, int(min(self.limit, self.lanes)))

    def after(self, congested: bool, now_s: float) -> Concurrency:  # noqa: FBT001 - the one thing it says
        """After an answer. `congested`: 429, 503 or none in time."""
        limit = min(self.limit, float(self.lanes))
        if not congested:
            return replace(self, limit=min(float(self.lanes), limit + 1 / limit))
        if 0 <= now_s - self.cut_s < self.round_s:
            return self
        return replace(self, limit=max(1.0, limit / 2), cut_s=now_s)
