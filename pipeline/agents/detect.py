"""Detect agent: telemetry.readings → telemetry.deduplicated and events.business.

Per round: decide message by message (core), emit everything and wait until Kafka has it,
store the changed devices, acknowledge. A crash between any two of these repeats work and
changes nothing: outputs carry their source offset or a deterministic id, and each device's
state carries the offset that it includes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pipeline.agents.app import TAKE_EVENTS, TAKE_WITHIN_S, Worker, ack_in_order, guarded
from pipeline.agents.unreadable import Quarantine
from pipeline.core.detect import At, Decision, decide
from pipeline.core.quarantine import Reason
from pipeline.core.registry import Registry
from pipeline.core.rules import Rules
from pipeline.state import device_state
from pipeline.state.table import DeviceTable
from pipeline.topology import DEDUPLICATED, EVENTS, READINGS
from pipeline.wire import cloudevents
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import decode_batch, encode_deduplicated, encode_event


class Detector:
    """What the agent does with one round of messages."""

    def __init__(
        self,
        worker: Worker,
        *,
        codec: Codec,
        rules: Rules,
        registry: Registry,
        window: int,
    ) -> None:
        self._codec = codec
        self._rules = rules
        self._registry = registry
        self._window = window
        self._table = DeviceTable(worker.app, "devices")
        self._deduplicated = worker.target(DEDUPLICATED)
        self._events = worker.target(EVENTS)
        self._quarantine = Quarantine(worker, codec)
        # Decoded rows of the partitions we own: a cache of the table, dropped on rebalance.
        self._states: dict[int, dict[str, Any]] = defaultdict(dict)

    def forget(self) -> None:
        """Drop the cache: after a rebalance another worker may have moved the state on."""
        self._states.clear()

    async def round(self, events: list[Any]) -> int:
        """Process messages of any partitions, in order; returns how many."""
        changed: dict[int, dict[str, Any]] = defaultdict(dict)
        sent: list[Any] = []
        for event in events:
            message = event.message
            try:
                batch = decode_batch(self._codec, message.value)
            except UnreadableError as error:
                sent.append(
                    await self._quarantine.send(message, error, reason=Reason.UNREADABLE_BATCH)
                )
                continue
            states = self._load(message.partition, batch.devices)
            decision = decide(
                states,
                batch,
                At(topic=message.topic, partition=message.partition, offset=message.offset),
                self._rules,
                self._registry,
                self._window,
            )
            sent.extend(await self._emit(message, decision))
            self._states[message.partition].update(decision.states)
            changed[message.partition].update(decision.states)
        await asyncio.gather(*sent)
        for partition, states in changed.items():
            rows = {device: device_state.encode(state) for device, state in states.items()}
            await self._table.write(partition, rows)
        ack_in_order(events)
        return len(events)

    def _load(self, partition: int, devices: tuple[str, ...]) -> Mapping[str, Any]:
        cache = self._states[partition]
        for device in devices:
            if device not in cache:
                row = self._table.read(partition, device)
                if row is not None:
                    cache[device] = device_state.decode(row)
        return {device: cache[device] for device in devices if device in cache}

    async def _emit(self, message: Any, decision: Decision) -> list[Any]:  # noqa: ANN401
        sent = [
            await self._deduplicated.send(
                key=message.key,
                value=encode_deduplicated(self._codec, decision.deduplicated),
                partition=message.partition,
            )
        ]
        for event in decision.events:
            sent.append(  # noqa: PERF401 - an async comprehension hides the awaits
                await self._events.send(
                    key=event.device_id.encode(),
                    value=encode_event(self._codec, event),
                    partition=message.partition,
                    headers=cloudevents.headers(event),
                )
            )
        return sent


def register(worker: Worker, detector: Detector) -> None:
    """Put the agent into the app."""

    @worker.app.agent(worker.source(READINGS), name="detect", concurrency=1)
    async def detect(stream: Any) -> AsyncIterator[int]:  # noqa: ANN401
        async for events in stream.noack_take(TAKE_EVENTS, within=TAKE_WITHIN_S):
            yield await guarded(detector.round, events)

    @worker.app.on_partitions_revoked.connect
    async def revoked(*_: object, **__: object) -> None:
        detector.forget()

    @worker.app.on_partitions_assigned.connect
    async def assigned(*_: object, **__: object) -> None:
        detector.forget()
