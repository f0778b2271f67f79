"""Who may talk to the target now: the sink's breaker, which all its workers share.

The worker's own breaker decides; what the board (Redis) says of the others is taken over
before. An opening is posted there, and of all workers one sends the one probe. Where the
board is away, each worker is by itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import structlog

from connectors.timing import Timing
from pipeline.core.breaker import Breaker, Hold, Phase, Shared

log = structlog.get_logger(__name__)

LOOK_S = 0.5
"""How old what is known of the other workers may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a round says about the system as a whole; `stay_away_s` is its own wish.

    `reason` is a code, '' where it is up.
    """

    up: bool
    stay_away_s: float = 0.0
    reason: str = ""


class Board(Protocol):
    """What the gate needs of pipeline.state.sink_board.SinkBoard."""

    async def read(self) -> Shared | None:
        """See SinkBoard.read."""
        ...

    async def opened(self, for_s: float, openings: int, reason: str) -> int | None:
        """See SinkBoard.opened."""
        ...

    async def closed(self, serial: int) -> bool | None:
        """See SinkBoard.closed."""
        ...

    async def probe(self, for_s: float) -> bool | None:
        """See SinkBoard.probe."""
        ...

    async def no_probe(self) -> bool | None:
        """See SinkBoard.no_probe."""
        ...

    async def pause(self, for_s: float) -> bool | None:
        """See SinkBoard.pause."""
        ...


class Gate:
    """The breaker, shared by all lanes. `probe_s` is the longest that a probe may take."""

    def __init__(
        self,
        breaker: Breaker,
        *,
        sink: str = "",
        board: Board | None = None,
        probe_s: float = 60.0,
        timing: Timing,
    ) -> None:
        self.breaker = breaker
        self._sink = sink
        self._board = board
        self._probe_s = probe_s
        self._timing = timing
        self._door = asyncio.Lock()
        self._back = asyncio.Event()
        self._looked_s = float("-inf")
        self._pause_until_s = 0.0

    async def enter(self) -> bool:
        """Wait for admission; True where this one is the probe. `leave` must follow."""
        async with self._door:  # one lane waits for the breaker, the others for that lane
            while True:
                await self._look()
                pause_s = self._pause_until_s - self._timing.clock()
                if pause_s > 0:
                    await self._wait("pause", pause_s)
                    continue
                self.breaker, verdict = self.breaker.admit(self._timing.clock())
                if not isinstance(verdict, Hold):
                    if not verdict.probe or await self._may_probe():
                        return verdict.probe
                elif verdict.delay_s is None:
                    self._back.clear()
                    await self._back.wait()
                else:
                    await self._wait("breaker", verdict.delay_s)

    async def leave(self, *, probe: bool, evidence: Evidence | None) -> None:
        """Report back; None = it went without an answer or a failure of the system."""
        before = self.breaker
        if evidence is None:
            self.breaker = before.nothing(probe=probe)
        elif evidence.up:
            self.breaker = before.good(probe=probe)
        else:
            self.breaker = before.bad(
                self._timing.clock(), probe=probe, at_least_s=evidence.stay_away_s
            )
        self._back.set()
        self._tell(before, evidence)
        if self._board is not None:
            await self._post(self._board, before, probe=probe, evidence=evidence)

    def _tell(self, before: Breaker, evidence: Evidence | None) -> None:
        now, was = self.breaker.phase, before.phase
        if now is Phase.OPEN and was is Phase.CLOSED and evidence is not None:
            log.warning("delivery.paused", sink=self._sink, reason=evidence.reason)
        elif now is Phase.CLOSED and was is not Phase.CLOSED:
            log.warning("delivery.goes_on", sink=self._sink)

    async def _post(
        self, board: Board, before: Breaker, *, probe: bool, evidence: Evidence | None
    ) -> None:
        now_s = self._timing.clock()
        if evidence is None:
            if probe:
                await board.no_probe()
        elif evidence.up:
            if probe:
                await board.closed(before.serial)
        elif self.breaker.phase is Phase.OPEN and before.phase is not Phase.OPEN:
            open_s = self.breaker.until_s - now_s
            serial = await board.opened(open_s, self.breaker.openings, evidence.reason)
            if serial is not None:
                self.breaker = self.breaker.posted(serial)
        elif evidence.stay_away_s > 0:
            self._pause_until_s = max(self._pause_until_s, now_s + evidence.stay_away_s)
            await board.pause(evidence.stay_away_s)

    async def _look(self) -> None:
        now_s = self._timing.clock()
        if self._board is None or 0 <= now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        shared = await self._board.read()
        before = self.breaker
        self.breaker = before.adopt(shared, self._timing.clock())
        reason = shared.reason if shared is not None else ""
        self._tell(before, Evidence(up=False, reason=reason))
        if shared is not None and shared.pause_s > 0:
            self._pause_until_s = max(self._pause_until_s, self._timing.clock() + shared.pause_s)

    async def _may_probe(self) -> bool:
        if self._board is None or await self._board.probe(self._probe_s) is not False:
            return True
        self.breaker = self.breaker.beaten(self._timing.clock(), LOOK_S)
        return False

    async def _wait(self, reason: str, delay_s: float) -> None:
        """Wait, but look at the board now and then: another worker may know sooner."""
        most_s = float("inf") if self._board is None else LOOK_S
        await self._timing.wait(reason, delay_s, at_most_s=most_s)
