"""Fan-out agent: events.business → sink.<name>, by the routing table.

The event's bytes and headers go on as they came, so every sink sees the same envelope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pipeline.agents.app import Worker
from pipeline.agents.rounds import Round
from pipeline.agents.unreadable import Quarantine
from pipeline.core.quarantine import Reason
from pipeline.core.routing import Route, sinks_for, sinks_of
from pipeline.topology import EVENTS, sink_topic
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import decode_event

ROUND_EVENTS = 256


class FanOut:
    """What the agent does with one round of messages."""

    def __init__(self, worker: Worker, *, codec: Codec, routes: Sequence[Route]) -> None:
        self._codec = codec
        self._routes = routes
        self._sinks = {sink: worker.target(sink_topic(sink)) for sink in sinks_of(routes)}
        self._quarantine = Quarantine(worker, codec)

    async def round(self, hand: Round) -> None:
        """Forward messages in order; wait until Kafka has them."""
        sent: list[Any] = []
        for event in hand.events:
            if hand.lost:
                return
            sent.extend(await self._forward(event.message))
        await asyncio.gather(*sent)
        hand.acknowledge()

    async def _forward(self, message: Any) -> list[Any]:  # noqa: ANN401
        try:
            event = decode_event(self._codec, message.value)
        except UnreadableError as error:
            return [await self._quarantine.send(message, error, reason=Reason.UNREADABLE_EVENT)]
        return [
            await self._sinks[sink].send(
                key=message.key,
                value=message.value,
                partition=message.partition,
                headers=message.headers,
            )
            for sink in sinks_for(event, self._routes)
        ]


def register(worker: Worker, fan_out: FanOut) -> None:
    """Put the agent into the app."""
    worker.agent(worker.source(EVENTS), fan_out.round, name="fanout", limit=ROUND_EVENTS)
