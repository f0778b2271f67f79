"""What a worker does before it lets partitions go: it finishes, stores, commits.

| moment    | then                                                                              |
|-----------|-----------------------------------------------------------------------------------|
| stop      | no new events; the round in hand may end (GRACE_S); callbacks, commit (STOP_S);    |
|           | the loops are cancelled, before Faust takes the producer from under them          |
| rebalance | callbacks, commit (REVOKE_S: the whole group stands still meanwhile); then all is  |
|           | lost (Holdings.lose)                                                               |
| put out   | lost at once: the partitions may be another's, who must not be written over        |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from pipeline.agents.halt import guarded
from pipeline.agents.membership import Membership
from pipeline.agents.rounds import Holdings, Rounds, Step

log = structlog.get_logger(__name__)

GRACE_S = 2.0
STOP_S = 5.0
REVOKE_S = 2.0
_CANCEL_S = 1.0

Callback = Callable[[], Awaitable[object]]


class Ending:
    """One worker's loops, and what is to be done before they end or lose their partitions."""

    def __init__(self, app: Any, holdings: Holdings, membership: Membership) -> None:  # noqa: ANN401 - Faust has no types
        self._app = app
        self._holdings = holdings
        self._membership = membership
        self.before_stop: list[Callback] = []
        self.before_loss: list[Callback] = []
        self._loops: set[asyncio.Task[Any]] = set()
        self._busy: set[asyncio.Task[Any]] = set()
        self._ending = False

    async def run(self, rounds: Rounds, step: Step) -> None:
        """Process rounds until the worker ends."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs is in a task
        self._loops.add(task)
        while not self._ending:
            hand = await rounds.next()
            if self._ending:
                return
            self._busy.add(task)
            try:
                await guarded(step, hand)
            finally:
                self._busy.discard(task)

    async def stop(self) -> None:
        """To be awaited once, before Faust stops anything."""
        self._ending = True
        self._membership.leave_when_stopped()
        if self._membership.holds():
            consumer = self._app.consumer
            consumer.stop_flow()
            self._app.flow_control.suspend()
            consumer.pause_partitions(consumer.assignment())
            self._app.flow_control.clear()
            await self._rounds_end()
            await self._finish(self.before_stop, limit_s=STOP_S, moment="stop")
        for loop in self._loops:
            loop.cancel()
        if self._loops:
            await asyncio.wait(self._loops, timeout=_CANCEL_S)

    async def revoke(self) -> None:
        """To be awaited when Faust says that partitions are revoked."""
        if self._membership.holds() and not self._ending:
            await self._finish(self.before_loss, limit_s=REVOKE_S, moment="rebalance")
        self._holdings.lose()

    async def _rounds_end(self) -> None:
        """Until no step runs, or GRACE_S: a deliver step may wait for its target for hours."""
        try:
            async with asyncio.timeout(GRACE_S):
                while self._busy:  # noqa: ASYNC110 - several loops, and only here
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.info("a round is broken off", loops=len(self._busy))

    async def _finish(self, callbacks: list[Callback], *, limit_s: float, moment: str) -> None:
        """Run the callbacks, then commit what is acknowledged."""
        consumer = self._app.consumer
        try:
            async with asyncio.timeout(limit_s):
                for callback in callbacks:
                    await callback()
                # A commit that is under way does not have what was acknowledged just now.
                await consumer.maybe_wait_for_commit_to_finish()
                await consumer.commit()
        except TimeoutError:
            log.warning("work in hand was not finished in time", moment=moment, limit_s=limit_s)
        except Exception as error:  # it comes again, to us or to the next owner
            log.exception("work in hand was not finished", moment=moment, error=str(error))
