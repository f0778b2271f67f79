"""Detect agent: telemetry.readings → telemetry.deduplicated and events.business.

Per round: decide message by message (core), emit everything and wait until Kafka has it,
store the changed devices, acknowledge. A crash between any two of these repeats work and
changes nothing: outputs carry their source offset or a deterministic id, and each device's
state carries the offset that it includes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from pipeline.agents.app import Worker
from pipeline.agents.rounds import Round
from pipeline.agents.unreadable import Quarantine
from pipeline.core.detect import At, Decision, DeviceState, decide
from pipeline.core.quarantine import Reason
from pipeline.core.registry import Devices
from pipeline.core.rules import Rules
from pipeline.state import device_state
from pipeline.state.table import DeviceTable
from pipeline.topology import DEDUPLICATED, EVENTS, READINGS
from pipeline.wire import cloudevents
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import decode_batch, encode_deduplicated, encode_event

ROUND_EVENTS = 256


class Detector:
    """What the agent does with one round of messages."""

    def __init__(
        self,
        worker: Worker,
        *,
        codec: Codec,
        rules: Rules,
        registry: Devices,
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
        self._states: dict[int, dict[str, DeviceState]] = defaultdict(dict)

    def forget(self) -> None:
        """Drop the cache: after a rebalance another worker may have moved the state on."""
        self._states.clear()

    async def round(self, hand: Round) -> None:
        """Process messages of any partitions, in order."""
        changed: dict[int, dict[str, DeviceState]] = defaultdict(dict)
        sent: list[Any] = []
        for event in hand.events:
            if hand.lost:
                return
            message = event.message
            try:
                batch = decode_batch(self._codec, message.value)
            except UnreadableError as error:
                refused = self._quarantine.send(message, error, reason=Reason.UNREADABLE_BATCH)
                sent.append(await refused)
                continue
            decision = decide(
                self._load(message.partition, batch.devices, changed[message.partition]),
                batch,
                At(topic=message.topic, partition=message.partition, offset=message.offset),
                self._rules,
                self._registry,
                self._window,
            )
            changed[message.partition].update(decision.states)
            sent.extend(await self._emit(message, decision))
        await asyncio.gather(*sent)
        for partition, states in changed.items():
            if hand.lost:
                return
            rows = {device: device_state.encode(state) for device, state in states.items()}
            await self._table.write(partition, rows)
        if not hand.lost:
            for partition, states in changed.items():
                self._states[partition].update(states)
            hand.acknowledge()

    def _load(
        self, partition: int, devices: tuple[str, ...], changed: Mapping[str, DeviceState]
    ) -> Mapping[str, DeviceState]:
        """States of these devices: of this round, else cached, else from the table."""
        cache = self._states[partition]
        found: dict[str, DeviceState] = {}
        for device in devices:
            state = changed.get(device) or cache.get(device)
            if state is None and (row := self._table.read(partition, device)) is not None:
                state = cache[device] = device_state.decode(row)
            if state is not None:
                found[device] = state
        return found

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
    worker.agent(worker.source(READINGS), detector.round, name="detect", limit=ROUND_EVENTS)
    worker.holdings.on_loss(detector.forget)
