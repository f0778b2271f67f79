"""Timeseries agent: telemetry.deduplicated → the time-series store of live dashboards.

A round is one write: what has come is sent, then acknowledged. While the store is away the
round waits and Kafka keeps the rest; nothing goes to a dead-letter queue. Points that the store
can never take go to telemetry.quarantine. What comes again after a crash is written over with
the same (connectors/timeseries).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from connectors.timeseries.base import Refused, Retry, Written
from connectors.timeseries.writer import TimeseriesWriter
from pipeline.agents.app import Worker
from pipeline.agents.rounds import Round
from pipeline.core.quarantine import Reason
from pipeline.core.telemetry import DeduplicatedBatch
from pipeline.topology import DEDUPLICATED, QUARANTINE
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import encode_quarantined

log = structlog.get_logger(__name__)

ROUND_EVENTS = 64
"""Most messages in one write: a message has up to about a thousand readings."""
RETRY_S = 1.0
LONGEST_S = 30.0
_LOOK_S = 0.25
"""How soon a waiting round hears that it is lost."""


class Dashboards:
    """The topic on its way into the store."""

    def __init__(
        self,
        worker: Worker,
        *,
        codec: Codec,
        writer: TimeseriesWriter,
        decode: Callable[[bytes | None], DeduplicatedBatch],
    ) -> None:
        self.channel = worker.source(DEDUPLICATED)
        self._quarantine = worker.target(QUARANTINE)
        self._codec = codec
        self._writer = writer
        self._decode = decode

    async def round(self, hand: Round) -> None:
        """Write what has come, then acknowledge it."""
        batches: list[DeduplicatedBatch] = []
        for event in hand.events:
            try:
                batches.append(self._decode(event.message.value))
            except UnreadableError as error:
                # The archive agent reads the same topic, and quarantines it.
                at = f"{event.message.topic}/{event.message.partition}/{event.message.offset}"
                log.warning("unreadable message left out", where=at, detail=str(error))
        written = await self._write(hand, batches)
        if written is None:
            return
        for refused in written.refused:
            if hand.lost:
                return
            await (await self._set_aside(refused))
        hand.acknowledge()

    async def _write(self, hand: Round, batches: Sequence[DeduplicatedBatch]) -> Written | None:
        """None where a rebalance took the round away: it comes again, to us or to another."""
        delay_s = RETRY_S
        while not hand.lost:
            outcome = await self._writer.write(batches)
            if isinstance(outcome, Written):
                return outcome
            log.warning("time-series store waits", reason=outcome.reason, wait_s=delay_s)
            await _pause(hand, outcome, delay_s)
            delay_s = min(2 * delay_s, LONGEST_S)
        return None

    async def _set_aside(self, refused: Refused) -> Any:  # noqa: ANN401 - Faust has no types
        said = {"points": refused.points, "device": refused.device_id, "reason": refused.reason}
        log.warning("points refused", **said)
        value = encode_quarantined(
            self._codec,
            reason=Reason.INVALID_FIELD.value,
            detail=f"The time-series store refuses {refused.points} points: {refused.reason}."[
                :500
            ],
            mqtt_topic="",
            device_id=refused.device_id,
            payload=refused.example,
            # They are accepted readings, counted where they came in: no second time here.
            readings=0,
            received_ms=int(time.time() * 1000),
        )
        return await self._quarantine.send(key=refused.device_id.encode(), value=value)


async def _pause(hand: Round, retry: Retry, delay_s: float) -> None:
    left = max(delay_s, retry.wait_s or 0.0)
    while left > 0 and not hand.lost:
        await asyncio.sleep(min(left, _LOOK_S))
        left -= _LOOK_S


def register(worker: Worker, dashboards: Dashboards, writer: TimeseriesWriter) -> None:
    """Put the agent into the app."""
    worker.agent(dashboards.channel, dashboards.round, name="timeseries", limit=ROUND_EVENTS)
    worker.on_stop(writer.close)
