"""Questions of many askers in one call: a group commit.

Each round trip to the ledger ends with a write to Redis's disk, which takes the same time for
one row as for hundreds. While one call is under way, what others ask is collected for the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Together(Generic[A, B]):
    """`call` answers any number of questions, one answer each, in order."""

    def __init__(self, call: Callable[[list[A]], Awaitable[Sequence[B]]]) -> None:
        self._call = call
        self._waiting: list[tuple[Sequence[A], asyncio.Future[list[B]]]] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, questions: Sequence[A]) -> list[B]:
        """The answers, in order. Raises what `call` raises."""
        answer: asyncio.Future[list[B]] = asyncio.get_running_loop().create_future()
        self._waiting.append((questions, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await answer

    async def close(self) -> None:
        """Stop; nobody may be asking."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            try:
                answers = list(await self._call([one for many, _ in asked for one in many]))
            except Exception as error:  # noqa: BLE001 - it is the askers' to handle
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
                continue
            at = 0
            for many, future in asked:
                if not future.done():
                    future.set_result(answers[at : at + len(many)])
                at += len(many)
