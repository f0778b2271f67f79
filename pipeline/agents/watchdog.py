"""The watchdog: a worker that stands still ends itself, so that its supervisor starts it again.

Two watches, because the first cannot run when the second is needed:

- `Watchdog` looks at every assigned partition (pipeline.core.watchdog decides). It asks the
  broker with a client of its own: a consumer that has stopped fetching does not know that there
  is more, and where the broker does not answer, nobody is blamed.
- `Pulse` is a thread that sees whether the event loop still turns at all.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from faust.types import TP

from pipeline.agents.halt import halt
from pipeline.agents.recovery import position_of
from pipeline.agents.rounds import Holdings
from pipeline.core.watchdog import Clock, Kind, Limits, Look, Stall, watch
from pipeline.settings import Settings
from pipeline.wire import kafka

log = structlog.get_logger(__name__)

LOOK_S = 5.0
PULSE_S = 1.0
_GAPS = 3.0
"""A pause of so many looks means that the process was frozen or the broker away."""
_ANSWER_S = 10.0


def sentence(stall: Stall[TP], limit_s: float) -> str:
    """What stands still and what is done about it."""
    look, tp = stall.look, stall.partition
    what = (
        f"{look.in_hand} messages are in hand and none was finished"
        if stall.kind is Kind.FINISHING
        else f"messages wait up to {look.end} and none was read"
    )
    return (
        f"Topic {tp.topic} partition {tp.partition} stands still at offset {look.position} "
        f"(committed: {'none' if look.committed is None else look.committed}): {what} for "
        f"{stall.for_s:.0f} s, so the worker starts again; raise FIELDLINE_STALL_S (now "
        f"{limit_s:.0f}) if it only was slow."
    )


class Watchdog:
    """Looks at one app's partitions."""

    def __init__(
        self,
        app: Any,  # noqa: ANN401 - Faust's private parts
        holdings: Holdings,
        settings: Settings,
        *,
        patient: bool,
        end: Callable[[], object] = halt,
    ) -> None:
        self._app = app
        self._holdings = holdings
        self._settings = settings
        self._end = end
        self._every_s = min(LOOK_S, settings.stall_s / 4)
        self._limits = Limits(
            stall_s=settings.stall_s,
            # An answer may take its time; that is no gap.
            gap_s=_GAPS * self._every_s + _ANSWER_S,
            patient=patient,
        )
        self._clocks: dict[TP, Clock] = {}

    async def run(self) -> None:
        """Look for ever; to be cancelled."""
        client: AIOKafkaConsumer | None = None
        try:
            while True:
                await asyncio.sleep(self._every_s)
                try:
                    if client is None:
                        client = kafka.consumer(self._settings, client_id=f"{kafka.CLIENT}-watch")
                        await asyncio.wait_for(client.start(), _ANSWER_S)
                    ends = await self._ends(client)
                except (KafkaError, TimeoutError, OSError) as error:
                    log.debug("the watchdog had no answer", error=type(error).__name__)
                    await _dropped(client)
                    client = None
                    continue
                self.judge(ends, monotonic())
        finally:
            await _dropped(client)

    def judge(self, ends: dict[TP, int], now_s: float) -> None:
        """Compare with the last look, and end the worker where something stands still."""
        self._clocks, stalls = watch(self._clocks, self._looks(ends), now_s, self._limits)
        if stalls:
            worst = max(stalls, key=lambda stall: stall.for_s)
            log.critical(
                "worker halts",
                detail=sentence(worst, self._limits.stall_s),
                topic=worst.partition.topic,
                partition=worst.partition.partition,
                offset=worst.look.position,
                partitions=len(stalls),
            )
            self._end()

    async def _ends(self, client: AIOKafkaConsumer) -> dict[TP, int]:
        """The broker's ends of what we read now; nothing in a rebalance: recovery bounds that."""
        if self._app.rebalancing or self._app.should_stop:
            return {}
        changelogs = self._app.tables.changelog_topics
        ours = [tp for tp in self._app.consumer.assignment() if tp.topic not in changelogs]
        if not ours:
            return {}
        async with asyncio.timeout(_ANSWER_S):
            return dict(await client.end_offsets(ours))

    def _looks(self, ends: dict[TP, int]) -> dict[TP, Look]:
        acks, unsaved = self._holdings.acks, set(self._holdings.acks.pending())
        committed = self._app.monitor.tp_committed_offsets
        return {
            tp: Look(
                end=end,
                position=position,
                committed=committed.get(tp),
                in_hand=acks.in_hand(tp),
                unsaved=tp in unsaved,
            )
            for tp, end in ends.items()
            if (position := position_of(self._app, tp)) is not None
        }


async def _dropped(client: AIOKafkaConsumer | None) -> None:
    if client is not None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                await client.stop()
        except (KafkaError, TimeoutError, OSError) as error:
            log.debug("the watchdog's client did not close", error=type(error).__name__)


class Pulse(threading.Thread):
    """Ends the process when `beat` was not called for `limit_s` seconds, until `rest`.

    Seconds are counted in steps of this thread's own sleep, so that a process that was frozen,
    and with it this thread, is not taken for one whose loop hangs.
    """

    def __init__(
        self, *, limit_s: float, every_s: float = PULSE_S, end: Callable[[], object] = halt
    ) -> None:
        super().__init__(name="pulse", daemon=True)
        self._misses = max(1, round(limit_s / every_s))
        self._every_s = every_s
        self._end = end
        self._beats = 0
        self._off = threading.Event()

    def beat(self) -> None:
        """The loop turns."""
        self._beats += 1

    def rest(self) -> None:
        """Watch no more."""
        self._off.set()

    def run(self) -> None:
        """The thread."""
        seen, misses = -1, 0
        while not self._off.wait(self._every_s):
            if seen != self._beats:
                seen, misses = self._beats, 0
                continue
            misses += 1
            if misses >= self._misses:
                # The stacks say what the loop is busy with.
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                log.critical(
                    "worker halts",
                    detail=f"The event loop did not turn for {misses * self._every_s:.0f} s: the "
                    "worker starts again; what it did stands above this line.",
                )
                self._end()
                return
