"""How fast and how much at once: the sink's rates, what the target says of its own, retries.

Rates are shared by all workers through the board; where that is away, this worker's own
count. What a target tells of its limits in its answers (pipeline.core.learnt) is this worker's
alone, as is how many conversations at once it stands.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from connectors.exchange import Exchange
from connectors.jobs import Run
from connectors.timing import Timing
from pipeline.core.learnt import BUSY, Quota, learnt
from pipeline.core.ratelimit import Concurrency, Limits
from pipeline.core.sinks import RetryBudget, SinkPolicy


class Tokens(Protocol):
    """What is needed of pipeline.state.sink_board.SinkBoard."""

    async def tokens(self, wants: Mapping[str, int], limits: Limits) -> dict[str, float] | None:
        """See SinkBoard.tokens."""
        ...


class Throttle:
    """One driver's rates, slots and retry budget."""

    def __init__(
        self,
        policy: SinkPolicy,
        *,
        tokens: Tokens | None,
        timing: Timing,
    ) -> None:
        self._tokens = tokens
        self._timing = timing
        self._limits = policy.limits()
        self._budget: RetryBudget = policy.retry_budget()
        self._quota = Quota()
        self._concurrency = Concurrency(lanes=policy.lanes)
        self._talking = 0
        self._freed = asyncio.Event()

    async def slot(self) -> None:
        """Wait until one more conversation may go on; `free` must follow."""
        while self._talking >= self._concurrency.slots:
            self._freed.clear()
            await self._freed.wait()
        self._talking += 1

    def free(self) -> None:
        """A conversation is over, or did not begin."""
        self._talking -= 1
        self._freed.set()

    async def request(self) -> None:
        """Wait until the target's own limit, as it told it last, has room for a request."""
        while True:
            self._quota, wait_s = self._quota.admit(self._timing.clock())
            if not wait_s:
                return
            await self._timing.wait("quota", wait_s)

    async def admit(self, runs: Sequence[Run]) -> dict[str, float]:
        """By tenant: 0 where its events may go now (they are paid), else seconds to wait."""
        wants = Counter(run.tenant for run in runs)
        if not self._limits.any:
            return dict.fromkeys(wants, 0.0)
        shared = None if self._tokens is None else await self._tokens.tokens(wants, self._limits)
        if shared is not None:
            return shared
        self._limits, waits = self._limits.admit(self._timing.clock(), wants)
        return waits

    def sent(self) -> None:
        """A conversation was held: it earns retries."""
        self._budget = self._budget.sent(self._timing.clock())

    def retry_s(self) -> float:
        """A conversation again is wanted: seconds that the sink's budget has it wait at least."""
        self._budget, wait_s = self._budget.spend(self._timing.clock())
        return wait_s

    def answered(self, exchange: Exchange[Any]) -> None:
        """Learn from an answer, or from none."""
        if not exchange.calls:
            return
        now_s = self._timing.clock()
        self._quota = self._quota.learn(learnt(exchange.headers, exchange.status, now_s))
        congested = exchange.status in BUSY or exchange.status == 0
        self._concurrency = self._concurrency.after(congested, now_s)
        self._freed.set()
