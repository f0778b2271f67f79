"""Fan-out agent: events.business → sink.<name>, by the routing table.

The event's bytes and headers go on as they came, so every sink sees the same envelope.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from pipeline.agents.app import TAKE_EVENTS, TAKE_WITHIN_S, Worker, ack_in_order, guarded
from pipeline.agents.unreadable import Quarantine
from pipeline.core.quarantine import Reason
from pipeline.core.routing import Route, sinks_for, sinks_of
from pipeline.topology import EVENTS, sink_topic
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import decode_event


class FanOut:
    """What the agent does with one round of messages."""

    def __init__(self, worker: Worker, *, codec: Codec, routes: Sequence[Route]) -> None:
        self._codec = codec
        self._routes = routes
        self._sinks = {sink: worker.target(sink_topic(sink)) for sink in sinks_of(routes)}
        self._quarantine = Quarantine(worker, codec)

    async def round(self, events: list[Any]) -> int:
        """Forward messages in order; returns how many records went to sinks."""
        sent = [record for event in events for record in await self._forward(event.message)]
        await asyncio.gather(*sent)
        ack_in_order(events)
        return len(sent)

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

    @worker.app.agent(worker.source(EVENTS), name="fanout", concurrency=1)
    async def fanout(stream: Any) -> AsyncIterator[int]:  # noqa: ANN401
        async for events in stream.noack_take(TAKE_EVENTS, within=TAKE_WITHIN_S):
            yield await guarded(fan_out.round, events)
