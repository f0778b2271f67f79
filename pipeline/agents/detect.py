"""Detect agent: telemetry.readings → telemetry.deduplicated and events.business.

Per round: decide (core), hand everything to Kafka, go on with the next round. Beside it, every
CHECKPOINT_S, a checkpoint: what has changed is copied, then we wait until everything emitted
so far is in Kafka, then the copy is stored, then the input is acknowledged. So the order is
emit → store → acknowledge though nothing waits for anything else; a crash between any two
repeats work and changes nothing: outputs carry their source offset or a deterministic id, and
each device's state carries the offset that it includes.

A checkpoint stores the devices that changed longest ago first, up to CHECKPOINT_BYTES; the
offset acknowledged is that of the oldest change not stored (as write-ahead logs do it: Mohan
et al., "ARIES", 1992, calls them fuzzy checkpoints). So a fleet of any size costs the same
steady trickle of state, and a crash costs reading again what came since.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import numpy as np
import structlog
from faust.types import TP

from pipeline.agents.app import Worker
from pipeline.agents.emit import Emitter, Record, Sent, settled
from pipeline.agents.halt import guarded, halt
from pipeline.agents.rounds import Round
from pipeline.agents.unreadable import Quarantine
from pipeline.core.detect import At, Decision, Detection
from pipeline.core.fleet import C_DIRTY
from pipeline.core.quarantine import Reason
from pipeline.core.registry import Registry
from pipeline.core.rules import MetricRule, Rules
from pipeline.core.telemetry import NO_SEQUENCE, Sample, TelemetryBatch, pack
from pipeline.settings import Settings
from pipeline.state import device_restore, device_state, partition_state
from pipeline.state.identities_live import LiveIdentities
from pipeline.state.rules_topic import RulesTopic
from pipeline.state.seal import Seal
from pipeline.state.table import Rows, RowTable
from pipeline.topology import DEDUPLICATED, EVENTS, READINGS
from pipeline.wire import cloudevents
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import decode_batch, encode_deduplicated, encode_event

log = structlog.get_logger(__name__)

ROUND_EVENTS = 256
"""Most messages of a round: large enough that what a round costs does not count."""
CHECKPOINT_S = 1.0
CHECKPOINT_BYTES = 24 * 1024 * 1024
"""State written per checkpoint at most, over all partitions."""
ROUNDS_AHEAD = 4
"""Rounds whose output may be on its way at once."""
_LOAD_AT_ONCE = 500


class _Partition:
    """One partition in hand: its detection, and what of it is on its way.

    `settled_at` is where the topic ended when the partition was opened: what lies before may
    have been emitted by an owner before us, under the rules noted then.
    """

    def __init__(
        self, number: int, detection: Detection, seal: Seal, *, until: int | None, settled_at: int
    ) -> None:
        self.number = number
        self.seal = seal
        self.detection = detection
        self.until = until
        """Every reading before this offset is part of the stored state; None if never noted."""
        self.settled_at = settled_at
        self.use(detection)
        self.next_offset = -1
        """The offset after the last message applied."""
        self.sent: list[Sent] = []
        self.moving = asyncio.Lock()
        """Held from applying messages until their output is in `sent`: no copy in between."""

    def use(self, detection: Detection) -> None:
        """Go on with this detection."""
        self.detection = detection
        self.encoder = device_state.Encoder(detection.fleet, detection.plans, self.number)


class Detector:
    """What the agent does with one round of messages, and its checkpoints."""

    def __init__(
        self,
        worker: Worker,
        settings: Settings,
        *,
        codec: Codec,
        rules: RulesTopic,
        registry: LiveIdentities,
    ) -> None:
        self._app = worker.app
        self._holdings = worker.holdings
        self._leased = worker.leased
        self._codec = codec
        self._rules = rules
        self._registry = registry
        self._window = settings.dedup_window
        self._emitter = Emitter(settings, name="fieldline-detect")
        self._table = RowTable(worker.app, "devices", append=self._append)
        worker.target(DEDUPLICATED)
        worker.target(EVENTS)
        self._quarantine = Quarantine(worker, codec)
        self._partitions: dict[int, _Partition] = {}
        self._ahead: deque[list[Sent]] = deque()
        self._row_bytes = 1_024.0
        self._storing = asyncio.Lock()
        self._ready = asyncio.Event()

    def forget(self) -> None:
        """Drop the state: after a rebalance another worker may have moved it on."""
        self._partitions.clear()
        self._ahead.clear()

    async def round(self, hand: Round) -> None:
        """Process messages of any partitions, in order within each."""
        await self._ready.wait()
        by_partition: dict[int, list[Any]] = {}
        for event in hand.events:
            by_partition.setdefault(event.message.partition, []).append(event.message)
        sent: list[Sent] = []
        for number, messages in by_partition.items():
            if hand.lost:
                # What is opened now is not recovered yet, and would be there when it is.
                return
            partition = self._partitions.get(number) or await self._open(number, hand)
            if hand.lost or partition is None:
                return
            if self._rules_are_due(partition, messages[0].offset):
                await self._change_rules(partition)
                if hand.lost:
                    return
            async with partition.moving:
                batches = await self._decode(partition, messages)
                decisions = partition.detection.apply(batches)
                emitted = await self._emit(number, messages, decisions)
                partition.next_offset = messages[-1].offset + 1
                partition.sent += emitted
            sent += emitted
        self._ahead.append(sent)
        while len(self._ahead) > ROUNDS_AHEAD:
            await settled(self._ahead.popleft())

    def _rules_are_due(self, partition: _Partition, offset: int) -> bool:
        return (
            self._rules.latest is not partition.detection.plans.rules
            and self._rules.latest != partition.detection.plans.rules
            and offset >= partition.settled_at
        )

    async def _open(self, number: int, hand: Round) -> _Partition | None:
        """The partition's state from the table; None where a rebalance came between.

        It goes on with the rules that it was working with, so that what an owner before us
        emitted and did not store comes out the same again.
        """
        kept = partition_state.decode(self._table.note(number))
        acknowledged = self._holdings.begins.get(TP(READINGS, number))
        if kept.lacks(acknowledged):
            self._rebuild(
                number,
                mark=f"until {kept.until}",
                why=(
                    f"The stored state of partition {number} stands at offset {kept.until} of "
                    f"{READINGS} and the group at {acknowledged}, so the changelog has lost "
                    "records: stop the workers, move the group back with kafka-consumer-groups.sh "
                    f"--group {self._app.conf.id} --topic {READINGS}:{number} --reset-offsets "
                    f"--to-offset {kept.until} --execute, and start them; what is read twice "
                    "changes nothing."
                ),
            )
        rules = self._rules.version(kept.rules_version) or self._rules.latest
        detection = Detection(rules, self._registry, window=self._window)
        decoder = device_restore.Decoder(detection, number)
        seal = Seal(kept.checkpoint)
        for count, (device, row) in enumerate(self._table.rows(number), start=1):
            decoder.decode(device, row)
            checkpoint, before = device_restore.mark_of(row)
            seal.found(device, row, checkpoint=checkpoint, before=before)
            if count % _LOAD_AT_ONCE == 0:
                # Heartbeats go through this same loop.
                await asyncio.sleep(0)
                if hand.lost:
                    return None
        if seal.claimed != kept.seal:
            self._rebuild(
                number,
                mark=str(kept.seal),
                why=(
                    f"The stored state of partition {number} is not whole, nor is its changelog "
                    f"{self._table.changelog}: restore the topic, or clear both and replay the "
                    "readings."
                ),
            )
        detection.remember(kept.memory)
        try:
            end = self._app.consumer.highwater(TP(READINGS, number))
        except AssertionError:
            return None  # aiokafka's word for a partition that was taken away just now
        partition = _Partition(number, detection, seal, until=kept.until, settled_at=end or 0)
        self._partitions[number] = partition
        return partition

    async def _change_rules(self, partition: _Partition) -> None:
        """Go over to the newest rules: everything under the old ones is stored first."""
        log.info(
            "rules change",
            partition=partition.number,
            offset=partition.next_offset,
            before=partition.detection.plans.rules.label,
            after=self._rules.latest.label,
        )
        async with self._storing:
            await self._store(partition, 1 << 40, self._holdings.epoch)
        old = partition.detection
        rows = partition.encoder.encode(range(old.fleet.devices))
        detection = Detection(self._rules.latest, self._registry, window=self._window)
        decoder = device_restore.Decoder(detection, partition.number)
        for device, row in rows.items():
            decoder.decode(device, row)
        detection.clock_ms = old.clock_ms
        detection.remember(old.remembered())
        partition.use(detection)
        # From here on a replay goes by the new rules: all before is stored.
        await self._note(partition)

    def _rebuild(self, number: int, *, mark: str, why: str) -> None:
        """The local copy lacks rows: have it read from the changelog anew, and start again.

        Where that has been done for the same `mark` and rows still lack, the changelog itself
        lacks them: StateError, then, with `why` for a person, who must decide.
        """
        if not self._table.rebuild(number, mark=mark):
            raise device_state.StateError(why)
        log.critical("local state is not whole, building it from the changelog", partition=number)
        halt()

    async def _note(self, partition: _Partition) -> None:
        """Store what is kept of the partition as a whole: this ends a checkpoint."""
        detection, seal = partition.detection, partition.seal
        note = partition_state.Kept(
            detection.plans.rules.version,
            detection.remembered(),
            seal.checkpoint,
            seal.total,
            partition.until,
        )
        epoch = self._holdings.epoch
        await self._table.write_note(
            partition.number,
            partition_state.encode(note),
            ours=lambda: self._holdings.epoch == epoch,
        )
        seal.note()

    async def _decode(
        self, partition: _Partition, messages: list[Any]
    ) -> list[tuple[At, TelemetryBatch]]:
        out = []
        for message in messages:
            try:
                batch = decode_batch(self._codec, message.value)
            except UnreadableError as error:
                refused = await self._quarantine.send(
                    message, error, reason=Reason.UNREADABLE_BATCH
                )
                partition.sent.append(Sent(refused, 1))
                continue
            at = At(topic=message.topic, partition=message.partition, offset=message.offset)
            out.append((at, batch))
        return out

    async def _emit(
        self, partition: int, messages: list[Any], decisions: list[Decision]
    ) -> list[Sent]:
        keys = {message.offset: message.key for message in messages}
        kept = [
            Record(
                keys[d.deduplicated.source_offset],
                encode_deduplicated(self._codec, d.deduplicated),
            )
            for d in decisions
        ]
        events = [
            Record(
                event.device_id.encode(),
                encode_event(self._codec, event),
                tuple(cloudevents.headers(event).items()),
            )
            for d in decisions
            for event in d.events
        ]
        sent = await self._emitter.emit(DEDUPLICATED, partition, kept)
        if events:
            sent += await self._emitter.emit(EVENTS, partition, events)
        return sent

    async def _append(self, topic: str, partition: int, rows: Rows) -> int:
        records = (Record(device.encode(), row) for device, row in rows.items())
        return await settled(await self._emitter.emit(topic, partition, records))

    async def checkpoint(self, limit_bytes: int = CHECKPOINT_BYTES) -> None:
        """Store what has changed, up to so many bytes, and acknowledge what that allows."""
        async with self._storing:
            epoch = self._holdings.epoch
            for partition in tuple(self._partitions.values()):
                share = limit_bytes // max(1, len(self._partitions))
                await self._store(partition, share, epoch)

    async def _store(self, partition: _Partition, limit_bytes: int, epoch: int) -> None:
        async with partition.moving:
            if self._holdings.epoch != epoch or partition.next_offset < 0:
                return
            stored, done_below = self._copy(partition, limit_bytes)
            sent, partition.sent = partition.sent, []
        await settled(sent)
        await self._leased()
        if self._holdings.epoch != epoch:
            return
        await self._table.write(
            partition.number, stored, ours=lambda: self._holdings.epoch == epoch
        )
        if (stored or done_below != partition.until) and self._holdings.epoch == epoch:
            partition.until = done_below
            await self._note(partition)
        if self._holdings.epoch == epoch:
            tp = TP(READINGS, partition.number)
            self._holdings.acks.finish_below(tp, done_below)

    def _copy(self, partition: _Partition, limit_bytes: int) -> tuple[dict[str, bytes], int]:
        """Changed devices as rows, longest unstored first, and the offset that they reach."""
        fleet = partition.detection.fleet
        dirty = fleet.arrays.columns[: fleet.devices, C_DIRTY]
        rows = np.flatnonzero(dirty >= 0)
        most = max(1, int(limit_bytes / self._row_bytes))
        done_below = partition.next_offset
        if len(rows) > most:
            oldest = np.argsort(dirty[rows], kind="stable")
            done_below = int(dirty[rows[oldest[most]]])
            rows = rows[oldest[:most]]
        stored = partition.encoder.encode(rows.tolist(), partition.seal)
        if stored:
            size = sum(map(len, stored.values())) / len(stored)
            self._row_bytes += 0.2 * (size - self._row_bytes)
        dirty[rows] = -1
        return stored, done_below

    async def checkpoints(self) -> None:
        """Read the rules and the identity map, then checkpoint for ever."""
        await guarded(lambda _: self._rules.start(), None)
        await guarded(lambda _: self._registry.start(), None)
        self._ready.set()
        while True:
            await asyncio.sleep(CHECKPOINT_S)
            await guarded(lambda _: self.checkpoint(), None)

    async def finish(self) -> None:
        """Store all that has changed: on a stop, and when partitions go to another worker."""
        await self.checkpoint(limit_bytes=1 << 40)

    async def stop(self) -> None:
        """Store all, then let go of Kafka."""
        await self.finish()
        await self._rules.stop()
        await self._registry.stop()


def compile_kernel() -> None:
    """Have the loops compiled, or taken from the disk, before the worker joins its group.

    Compiling takes seconds the first time, in which no heartbeat would go out.
    """
    nothing = MetricRule(detectors=())
    detection = Detection(Rules(name="", version=0, defaults=nothing), Registry(), window=64)
    sample = Sample("t/d", 0, NO_SEQUENCE, 0, 0, (("m", 0.0),))
    at = At(topic="", partition=0, offset=0)
    detection.apply([(at, pack([sample]))])
    device_state.Encoder(detection.fleet, detection.plans, 0).encode([0])


def register(worker: Worker, detector: Detector) -> None:
    """Put the agent into the app."""
    compile_kernel()
    worker.agent(worker.source(READINGS), detector.round, name="detect", limit=ROUND_EVENTS)
    worker.holdings.on_loss(detector.forget)
    worker.on_stop(detector.stop)
    worker.on_revoke(detector.finish)

    @worker.app.task  # type: ignore[untyped-decorator]  # Faust has no types
    async def checkpoints() -> None:
        await detector.checkpoints()
