"""How one sink is delivered to, as data: retries, breaker, limits, what stays where how long.

The figures are infra/config/sinks.yaml's (pipeline/state/sinks_file.py reads it); what each
means stands in infra/config/SINKS.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from pipeline.core.breaker import BreakerPolicy
from pipeline.core.ratelimit import Limiter, Limits, Rate
from pipeline.core.retry import RetryPolicy

BUDGET_S = 10
"""What a request earns for retries is spent within so many seconds, or lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryClass:
    """What differs from the sink's retry policy for some codes; None leaves the sink's.

    `codes` is a pattern as in a shell ('tryton.locked', '*.rate_limit'). Times in seconds.
    """

    codes: str
    base_s: float | None = None
    cap_s: float | None = None
    max_attempts: int | None = None
    max_elapsed_s: float | None = None

    def over(self, retry: RetryPolicy) -> RetryPolicy:
        """The policy with this class's figures; ValueError where they contradict the others."""
        return replace(
            retry,
            base_s=retry.base_s if self.base_s is None else self.base_s,
            cap_s=retry.cap_s if self.cap_s is None else self.cap_s,
            max_attempts=retry.max_attempts if self.max_attempts is None else self.max_attempts,
            max_elapsed_s=(
                retry.max_elapsed_s if self.max_elapsed_s is None else self.max_elapsed_s
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkPolicy:
    """Everything about deliveries to one sink. ValueError where figures contradict each other.

    `classes`: the first that matches a code counts. `retention_days`: how long the ledger
    keeps what is finished. A wait longer than `park_after_s` seconds leaves memory;
    `in_hand` events are in a worker's memory at most. `lanes` conversations go on at once in
    a worker, `tenant_lanes` of them for one tenant. `rate_per_s` and `tenant_rate_per_s` are
    events per second over all workers, None = no limit, of which `burst_s` seconds' worth may
    go at once. Sending again may be `retry_share` of all requests over ten seconds, plus
    `retry_floor_per_s`. Values named in `masked` leave as stars and those in `withheld` not at
    all; with `regions`, only events of assets there are sent (connectors.fields.Policy).
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    classes: tuple[RetryClass, ...] = ()
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    retention_days: int = 30
    park_after_s: float = 5.0
    in_hand: int = 500
    lanes: int = 4
    tenant_lanes: int = 4
    rate_per_s: float | None = None
    tenant_rate_per_s: float | None = None
    burst_s: float = 1.0
    retry_share: float = 0.2
    retry_floor_per_s: float = 10.0
    masked: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not 1 <= self.tenant_lanes <= self.lanes:
            raise ValueError("The sink needs 1 <= tenant_lanes <= lanes: correct the sink.")
        for one in self.classes:
            one.over(self.retry)

    def retry_for(self, code: str) -> RetryPolicy:
        """The retry policy for a cause: the first class whose pattern matches, over the sink's."""
        for one in self.classes:
            if fnmatchcase(code, one.codes):
                return one.over(self.retry)
        return self.retry

    def limits(self) -> Limits:
        """The sink's rates, at rest."""
        return Limits.of(self._rate(self.rate_per_s), self._rate(self.tenant_rate_per_s))

    def retry_budget(self) -> RetryBudget:
        """The sink's budget for sending again, at rest."""
        floor = Rate(per_s=self.retry_floor_per_s, burst=max(1.0, self.retry_floor_per_s))
        return RetryBudget(share=self.retry_share, floor=Limiter(rate=floor))

    def _rate(self, per_s: float | None) -> Rate | None:
        return None if per_s is None else Rate(per_s=per_s, burst=max(1.0, per_s * self.burst_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How often a sink may be sent to again: a share of all sends, plus a floor per second.

    So a target in trouble is not buried by its own failures, whatever their number. Counted
    are requests: a batch is one, or after a short outage hundreds of events would wait for
    the floor. Each earns `share` of a retry, which is lost if not used within BUDGET_S
    seconds; where nothing is earned, the floor is used, so that no retry waits for ever.
    `earned`: (whole second, retries) of the last seconds.
    """

    share: float
    floor: Limiter
    earned: tuple[tuple[int, float], ...] = ()

    def sent(self, now_s: float, n: int = 1) -> RetryBudget:
        """After n requests, first ones and retries."""
        second, earned = int(now_s), self._fresh(now_s)
        if earned and earned[-1][0] == second:
            n_before = earned[-1][1]
            return replace(self, earned=(*earned[:-1], (second, n_before + n * self.share)))
        return replace(self, earned=(*earned, (second, n * self.share)))

    def spend(self, now_s: float) -> tuple[RetryBudget, float]:
        """Pay one retry: it may go in so many seconds (0: at once), and need not ask again."""
        left, earned = 1.0, list(self._fresh(now_s))
        while earned and left > 0:
            second, amount = earned.pop(0)
            left -= amount
            if left < 0:
                earned.insert(0, (second, -left))
        if left <= 0:
            return replace(self, earned=tuple(earned)), 0.0
        return replace(self, floor=self.floor.paid(now_s, 1)), self.floor.wait_s(now_s)

    def _fresh(self, now_s: float) -> tuple[tuple[int, float], ...]:
        return tuple(one for one in self.earned if 0 <= now_s - one[0] <= BUDGET_S)
