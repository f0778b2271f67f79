"""Table recovery with an end: it comes through, or the worker says why not and ends.

Faust recovers a table until its offset is the changelog's last one. What is wrong with that,
read in faust 0.15.3, tables/recovery.py:

- The last offset may hold no record (a transaction's marker; a record that compaction removed:
  faust#176, #597, #651). Faust then waits for ever. Here the consumer's position decides, as in
  Kafka's own clients: past the end with nothing left in the queue is recovered.
- Where Kafka does not say in time how far a changelog goes, Faust goes on without, that is with
  a table that lacks records, and nobody is told. Here that ends the worker.
- At the end it seeks the streams to their committed offsets while messages already flow, and
  then empties all queues. A message that was read between the two is lost: of a stream for
  good, of a standby's changelog from its local copy, which nobody notices until it takes over.
  Here the flow stands still from before the seek until after (and pipeline.agents.changelog
  uses no queue).
- Nothing bounds the whole. Here `limit_s` does, from the beginning of a rebalance on.

A worker that was ended here starts again and reads on where it stood: what was recovered is
in the local copy already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Never

import structlog
from aiokafka.errors import KafkaTimeoutError
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP
from mode import Service

from pipeline.agents.halt import halt

log = structlog.get_logger(__name__)

LOOK_S = 1.0
_SURE = 3
"""Looks at which nothing moves before an end without a record is believed."""
_ANSWER_SHARE = 0.8
"""Of Faust's own waiting time, after which it would go on without the answer."""


def give_up(text: str) -> Never:
    """End the worker with one sentence for a person; the supervisor starts it again."""
    log.critical("worker halts", detail=text)
    halt()
    raise AssertionError  # halt() does not return


class BoundedRecovery(Recovery):
    """Faust's recovery with the three gaps closed. `limit_s` in seconds."""

    def __init__(self, *args: Any, limit_s: float, mend: str, **kwargs: Any) -> None:  # noqa: ANN401 - Faust's own
        self._limit_s = limit_s
        self._mend = mend
        self._still: dict[TP, tuple[int | None, int | None, int]] = {}
        self._ends_of: int | None = None
        super().__init__(*args, **kwargs)

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Called when Faust takes the tables for recovered, before messages flow."""
        if self.app.consumer_generation_id == generation_id:
            for tp in sorted(self.active_tps):
                end, offset = self.active_highwaters.get(tp), self.active_offsets.get(tp)
                if end is None or offset is None or offset < end:
                    give_up(
                        f"Table recovery ended early: {_where(tp, offset, end)}; the worker "
                        f"starts again, and if it says this twice, {self._mend}."
                    )
            self._stand_still()
        await super().on_recovery_completed(generation_id)

    def _stand_still(self) -> None:
        """Stop the flow, until Faust has sought all and resumes it."""
        self.app.consumer.stop_flow()
        self.app.flow_control.suspend()

    def signal_end(self) -> None:
        """To be called when records were applied, and the flow is on.

        Says nothing while a rebalance asks anew how far to read: by the ends of the one before
        there may be nothing left to read, and Faust would take that for the answer to the next.
        """
        known = self._ends_of == self._generation_id
        if known and self.in_recovery and not self.need_recovery():
            self.signal_recovery_end.set()

    async def _build_highwaters(self, consumer: Any, tps: Any, *rest: Any) -> None:  # noqa: ANN401 - Faust's own
        if tps is self.active_tps:
            self._ends_of = None
            self.signal_recovery_end.clear()
        await self._answered(super()._build_highwaters(consumer, tps, *rest), "ends", tps)

    async def _build_offsets(self, consumer: Any, tps: Any, *rest: Any) -> None:  # noqa: ANN401 - Faust's own
        await self._answered(super()._build_offsets(consumer, tps, *rest), "begins", tps)

    async def _seek_offsets(self, consumer: Any, tps: Any, *rest: Any) -> None:  # noqa: ANN401 - Faust's own
        generation = self._generation_id
        await self._answered(super()._seek_offsets(consumer, tps, *rest), "can be read", tps)
        if tps is self.active_tps:
            self._ends_of = generation

    async def _answered(self, asking: Coroutine[Any, Any, None], what: str, tps: set[TP]) -> None:
        names = ", ".join(sorted({tp.topic for tp in tps})) or "a changelog"
        await answered(self.app, asking, f"where {names} {what}")

    @Service.task
    async def _bound(self) -> None:
        """Look each second how the rebalance goes."""
        count, since = -1, 0.0
        while not self.should_stop:
            await self.sleep(LOOK_S)
            if not self.app.rebalancing:
                count = -1
                self._still.clear()
                continue
            if count != self.app.rebalancing_count:
                count, since = self.app.rebalancing_count, monotonic()
            if self.in_recovery:
                self._pass_empty_ends()
            if monotonic() - since >= self._limit_s:
                self._too_long()

    def _pass_empty_ends(self) -> None:
        """Take a partition as recovered whose last offsets hold no record."""
        still: dict[TP, tuple[int | None, int | None, int]] = {}
        for tp, remaining in self.active_remaining().items():
            if remaining <= 0:
                continue
            offset, position = self.active_offsets[tp], position_of(self.app, tp)
            last_offset, last_position, looks = self._still.get(tp, (None, None, 0))
            same = (offset, position) == (last_offset, last_position)
            still[tp] = (offset, position, looks + 1 if same else 0)
            end = self.active_highwaters[tp]
            if position is not None and position > end and still[tp][2] >= _SURE:
                log.info(
                    "changelog ends without a record",
                    topic=tp.topic,
                    partition=tp.partition,
                    last_record=offset,
                    end=end + 1,
                )
                self.active_offsets[tp] = end
        self._still = still
        self.signal_end()

    def _too_long(self) -> None:
        """Say what recovery waits for, and end."""
        behind = sorted(tp for tp, remaining in self.active_remaining().items() if remaining > 0)
        if not (self.in_recovery and behind):
            give_up(
                f"A rebalance of group {self.app.conf.id} has not ended in {self._limit_s:.0f} s: "
                "the worker starts again; if that repeats, look for a worker of the group that "
                "hangs, or raise FIELDLINE_RECOVERY_S."
            )
        first = behind[0]
        more = f" (and {len(behind) - 1} more partitions)" if len(behind) > 1 else ""
        offset, end = self.active_offsets[first], self.active_highwaters[first]
        give_up(
            f"Table recovery has not ended in {self._limit_s:.0f} s: "
            f"{_where(first, offset, end, position_of(self.app, first))}{more}; raise "
            f"FIELDLINE_RECOVERY_S where it only needs longer, else {self._mend}."
        )


async def answered(app: Any, asking: Coroutine[Any, Any, None], what: str) -> None:  # noqa: ANN401 - Faust has no types
    """Await what Faust asks of Kafka; end the worker where no answer comes.

    Faust waits broker_request_timeout and then goes on as if there had been one: be sooner.
    """
    limit_s = app.conf.broker_request_timeout * _ANSWER_SHARE
    try:
        async with asyncio.timeout(limit_s):
            await asking
    except (TimeoutError, KafkaTimeoutError) as error:
        give_up(
            f"Kafka did not say within {limit_s:.0f} s {what} ({type(error).__name__}): "
            "check the brokers; the worker starts again."
        )


def _where(tp: TP, offset: int | None, end: int | None, position: int | None = None) -> str:
    at = "an unknown offset" if offset is None else f"offset {offset}"
    read = "" if position is None else f", with the consumer at {position}"
    last = "an end that is not known" if end is None else str(end)
    return f"{tp.topic} partition {tp.partition} stands at {at} of {last}{read}"


def position_of(app: Any, tp: TP) -> int | None:  # noqa: ANN401 - Faust's private parts
    """Offset that the consumer reads next, without asking anybody; None where it has none."""
    client = app.consumer._thread._consumer  # noqa: SLF001 - the public way waits for one
    subscription = client and client._subscription.subscription  # noqa: SLF001 - the same
    assignment = subscription and subscription.assignment
    if not assignment or tp not in assignment.tps:
        return None
    state = assignment.state_value(tp)
    return state.position if state.has_valid_position else None


def bounded(*, limit_s: float, mend: str) -> type[TableManager]:
    """A table manager class for one app. `mend` says how to build the local copy again."""

    class Tables(TableManager):
        async def on_start(self) -> None:
            # Faust sleeps a second here first; the conductor waits for tables anyway.
            await self._update_channels()
            await self.recovery.start()

        @property
        def recovery(self) -> Recovery:
            if self._recovery is None:
                self._recovery = BoundedRecovery(
                    self.app,
                    self,
                    limit_s=limit_s,
                    mend=mend,
                    beacon=self.beacon,
                    loop=self.loop,
                )
            return self._recovery

    return Tables
