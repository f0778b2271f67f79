"""The detect agent over a real RocksDB table, with Kafka's answers in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from pipeline.agents import detect
from pipeline.agents.app import Worker
from pipeline.agents.emit import Record, Sent
from pipeline.agents.rounds import Message, Round
from pipeline.core.registry import Registry
from pipeline.core.telemetry import Sample, TelemetryBatch, pack
from pipeline.settings import Settings
from pipeline.state import partition_state
from pipeline.state.device_state import StateError
from pipeline.topology import DEDUPLICATED, READINGS
from pipeline.wire.avro import Codec
from pipeline.wire.records import decode_deduplicated, encode_batch
from tests.unit.detect_world import RULES


class HaltedError(Exception):
    """The worker ended itself."""


class Kafka:
    """Where output goes; `open` lets it through."""

    def __init__(self) -> None:
        self.written: dict[str, list[bytes]] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = asyncio.Event()

    async def emit(self, topic: str, _: int, records: Iterable[Record]) -> list[Sent]:
        if not self.open.is_set():
            self.waiting.set()
            await self.open.wait()
        log = self.written.setdefault(topic, [])
        values = [value or b"" for _, value, _ in records]
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(SimpleNamespace(offset=len(log)))
        log += values
        return [Sent(done, len(values))]


async def _at_once() -> None:
    """A lease that is long enough."""


async def _refused(*_: object, **__: object) -> asyncio.Future[Any]:
    """A quarantine that Kafka has at once."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    done.set_result(SimpleNamespace(offset=0))
    return done


class World:
    """A detector that owns partitions 0 and 1 of telemetry.readings."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(data_dir=folder)
        self.codec = Codec()
        self.worker = Worker(settings, role="detect", instance=0, sinks=())
        self.kafka = Kafka()
        rules: Any = SimpleNamespace(latest=RULES, version=lambda _: RULES)
        registry: Any = Registry()
        self.detector = detect.Detector(
            self.worker, settings, codec=self.codec, rules=rules, registry=registry
        )
        self.holdings = self.worker.holdings
        self.holdings.on_loss(self.detector.forget)
        monkeypatch.setattr(self.detector, "_emitter", self.kafka)
        monkeypatch.setattr(self.detector, "_leased", _at_once)
        monkeypatch.setattr(self.detector, "_quarantine", SimpleNamespace(send=_refused))
        monkeypatch.setattr(self.worker.app, "_consumer", SimpleNamespace(highwater=lambda _: 0))
        self.detector._ready.set()  # noqa: SLF001 - what start() of rules and registry leads to
        self.begin(0, 0)

    def begin(self, *acknowledged: int | None) -> None:
        """Partitions are given to us, and the group stands there."""
        self.holdings.begins = {TP(READINGS, n): offset for n, offset in enumerate(acknowledged)}

    def hand(self, *places: tuple[int, int]) -> Round:
        """Partition and offset of messages; each holds the sample of that number."""
        events = []
        for partition, offset in places:
            batch: TelemetryBatch = pack(
                [Sample(f"acme/d{partition}", 1, offset, 1_000 + offset, 2_000, (("m", 1.0),))]
            )
            tp = TP(READINGS, partition)
            value = encode_batch(self.codec, batch)
            record = SimpleNamespace(offset=offset, key=b"k", value=value, headers=(), timestamp=1)
            self.holdings.acks.hand(tp, offset)
            events.append(Message(tp, record))
        return Round(self.holdings, self.holdings.epoch, events)

    def kept(self) -> list[tuple[int, int]]:
        """Offset of each output and how many samples it left."""
        out = [decode_deduplicated(self.codec, v) for v in self.kafka.written[DEDUPLICATED]]
        return [(batch.source_offset, batch.batch.samples) for batch in out]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


async def test_what_a_lost_round_would_open_is_not_kept_for_the_next_epoch(world: World) -> None:
    """It is read before the tables are recovered: the next epoch would go on from the past."""
    world.kafka.open.clear()
    round_ = asyncio.create_task(world.detector.round(world.hand((0, 0), (1, 0))))
    await world.kafka.waiting.wait()
    world.holdings.lose()
    world.kafka.open.set()
    await round_
    assert world.detector._partitions == {}  # noqa: SLF001 - the state in memory is the point


async def test_a_state_behind_what_is_acknowledged_is_built_again_and_then_a_persons_case(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halt() -> None:
        raise HaltedError

    monkeypatch.setattr(detect, "halt", halt)
    await world.detector.round(world.hand((0, 0), (0, 1)))
    await world.detector.finish()
    world.holdings.lose()
    world.begin(2)
    await world.detector.round(world.hand((0, 2)))
    assert world.kept() == [(0, 1), (1, 1), (2, 1)], "up to there it is whole"

    world.holdings.lose()
    world.begin(3)
    with pytest.raises(HaltedError):
        await world.detector.round(world.hand((0, 3)))
    with pytest.raises(StateError, match=r"at offset 2 .* group at 3, .*:0 --reset.*to-offset 2 "):
        await world.detector.round(world.hand((0, 3)))


async def test_an_offset_is_noted_though_no_device_changed_before_it_is_acknowledged(
    world: World,
) -> None:
    await world.detector.round(world.hand((0, 0)))
    await world.detector.finish()
    unreadable = world.hand((0, 1))
    unreadable.events[0].value = b"?"
    await world.detector.round(unreadable)
    await world.detector.finish()
    tp = TP(READINGS, 0)
    note = partition_state.decode(world.detector._table.note(0))  # noqa: SLF001 - what is stored
    assert note.until == world.holdings.acks.take(tp) == 2
    assert note.lacks(3)
    assert not note.lacks(2)


def test_a_note_of_before_says_nothing_of_offsets_and_none_at_all_says_the_first() -> None:
    old = b'{"rules": 1, "memory": {}, "checkpoint": 2, "seal": 3}'
    assert partition_state.decode(old).until is None
    assert not partition_state.decode(old).lacks(5)
    assert not partition_state.decode(None).lacks(None)
    assert not partition_state.decode(None).lacks(0)
    assert partition_state.decode(None).lacks(1), "acknowledged, and no state at all"
    kept = partition_state.Kept(1, {"storm": b"x"}, 2, 3, 4)
    assert partition_state.decode(partition_state.encode(kept)) == kept
