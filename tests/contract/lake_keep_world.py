"""A lake in a folder with tables, written by the real writer, for the tests of its keepers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
from pydantic import SecretStr
from pyiceberg.table import Table

from connectors.lake import base
from connectors.lake.catalog import NAMESPACE, open_catalog
from connectors.lake.compact import Merged, Rules, compact
from connectors.lake.config import LakeConfig
from connectors.lake.expire import Freed, Limits, expire
from connectors.lake.lake import make_store, make_table
from connectors.lake.live import Live
from connectors.lake.local_store import LocalStore
from connectors.lake.store import S3Store
from connectors.lake.verify import verify
from connectors.lake.writer import LakeWriter, Message
from pipeline.core.archive import Resume
from pipeline.core.events import BusinessEvent
from pipeline.core.lake_accounts import Wrong
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_keep import HOUR_MS
from pipeline.core.telemetry import DeduplicatedBatch
from pipeline.topology import DEDUPLICATED, QUARANTINE, RESULTS
from pipeline.wire.avro import Codec
from pipeline.wire.lake import RecordReader
from pipeline.wire.records import encode_event
from tests.lake_world import pumps
from tests.unit.examples import event
from tests.waiting import until

DAY = 86_400_000
DAY_NUMBER = 20_000
DATE = "2024-10-04"
"""Day 20,000 since 1970."""
NOW_MS = (DAY_NUMBER + 10) * DAY
READINGS = 20
"""Rows of one message of `batch`."""
TOPICS = {
    Dataset.TELEMETRY: DEDUPLICATED,
    Dataset.EVENTS: "sink.lake",
    Dataset.DELIVERIES: RESULTS,
    Dataset.QUARANTINE: QUARANTINE,
}


def batch(offset: int, *, day: int = DAY_NUMBER, devices: int = 5) -> DeduplicatedBatch:
    """Two samples of each device with two readings each, some minutes after midnight."""
    return pumps(offset, devices=devices, samples=READINGS // (devices * 2), day=day)


def told_event(number: int, **fields: object) -> BusinessEvent:
    """The event with this id and this source offset."""
    one = event(id=f"{number:024d}", occurred_at_ms=DAY_NUMBER * DAY + number, **fields)
    return replace(one, source=replace(one.source, offset=number))


def delivered(codec: Codec, event_id: str, number: int) -> bytes:
    """A message of delivery.results: event `event_id` is there."""
    record = {
        "event_id": event_id,
        "sink": "tryton",
        "tenant": "acme",
        "device_id": "",
        "outcome": "delivered",
        "action": "raise",
        "entity_id": "",
        "code": "",
        "message": "",
        "target_id": "4711",
        "cause_class": "",
        "attempts": 1,
        "latency_ms": 20 + number,
        "at_ms": DAY_NUMBER * DAY + number,
        "payload_hash": f"{number:064x}",
        "request_hash": None,
        "replay": None,
    }
    return codec.encode("delivery_result.v2", record)


def refused(codec: Codec, number: int) -> bytes:
    """A message of telemetry.quarantine."""
    payload = b"?" * number
    record = {
        "reason": "unreadable_payload",
        "detail": "It is no JSON.",
        "mqtt_topic": "acme/telemetry",
        "device_id": None,
        "payload": payload,
        "payload_size": len(payload),
        "readings": 1,
        "received_ms": DAY_NUMBER * DAY + number,
    }
    return codec.encode("quarantined.v1", record)


@dataclass
class World:
    """One lake. `now_ms` is what the keepers' clock says."""

    config: LakeConfig
    now_ms: int = NOW_MS
    written: dict[tuple[Dataset, int], int] = field(default_factory=dict)
    _tokens: itertools.count[int] = field(default_factory=itertools.count)

    @classmethod
    def in_folder(cls, folder: Path) -> World:
        return cls(
            LakeConfig(
                url=folder.as_uri(),
                catalog=SecretStr(f"sqlite:///{folder}/catalogue.db"),
                endpoint=None,
                region="nowhere",
                access_key=None,
                secret_key=None,
            )
        )

    @property
    def folder(self) -> Path:
        return Path(self.config.url.removeprefix("file://"))

    def clock(self) -> int:
        return self.now_ms

    def token(self) -> str:
        return f"t{next(self._tokens):08d}"

    def live(self, dataset: Dataset = Dataset.TELEMETRY) -> Live:
        store = make_store(self.config)
        assert isinstance(store, LocalStore | S3Store)
        return Live(self.config, dataset, store)

    def writer(self, dataset: Dataset = Dataset.TELEMETRY) -> LakeWriter:
        return LakeWriter(
            make_store(self.config),
            dataset=dataset,
            flush_rows=10**6,
            flush_s=60,
            table=make_table(self.config, dataset),
        )

    async def write(
        self,
        ranges: Sequence[Sequence[Message]],
        *,
        partition: int = 0,
        dataset: Dataset = Dataset.TELEMETRY,
    ) -> None:
        """Each of these as a range of its own, after what the partition has."""
        writer = self.writer(dataset)
        opened = await _answered(lambda: writer.open(TOPICS[dataset], partition))
        assert isinstance(opened, Resume), opened
        offset = opened.next_offset
        for messages in ranges:
            for message in messages:
                writer.offer(partition, offset, message)
                offset += 1
            flushed = await _answered(lambda: writer.flush(partition))
            assert isinstance(flushed, base.Flushed), flushed
            assert flushed.last_offset == offset - 1

    async def telemetry(self, ranges: int, *, partition: int = 0, each: int = 3) -> None:
        """Ranges of `each` messages of one date."""
        start = self.written.get((Dataset.TELEMETRY, partition), 0)
        await self.write(
            [[batch(start + r * each + n) for n in range(each)] for r in range(ranges)],
            partition=partition,
        )
        self.written[Dataset.TELEMETRY, partition] = start + ranges * each

    def events(self, start: int, count: int, **fields: object) -> list[Message]:
        """Records of events with source offsets from `start` on."""
        codec = Codec()
        reader = RecordReader(codec, Dataset.EVENTS)
        out: list[Message] = []
        for n in range(start, start + count):
            value = encode_event(codec, told_event(n, **fields))
            out.append(reader.read("sink.lake", 0, n, value))
        return out

    def deliveries(self, events: Sequence[str]) -> list[Message]:
        """Records of what was delivered of these events, about no device."""
        codec = Codec()
        reader = RecordReader(codec, Dataset.DELIVERIES)
        topic = TOPICS[Dataset.DELIVERIES]
        return [
            reader.read(topic, 0, n, delivered(codec, event_id, n))
            for n, event_id in enumerate(events)
        ]

    def table(self, dataset: Dataset = Dataset.TELEMETRY) -> Table:
        return open_catalog(self.config).load_table((NAMESPACE, str(dataset)))

    def rows(self, dataset: Dataset = Dataset.TELEMETRY) -> int:
        """What pyiceberg's reader counts in the table."""
        return int(self.table(dataset).scan().to_arrow().num_rows)

    def hive_rows(self, dataset: Dataset = Dataset.TELEMETRY) -> int:
        """What whoever reads the folders counts."""
        with duckdb.connect() as connection:
            [(rows,)] = connection.execute(
                "SELECT count(*) FROM read_parquet(?)",
                [f"{self.folder}/{dataset}/date=*/*.parquet"],
            ).fetchall()
        return int(rows)

    def files(self, dataset: Dataset = Dataset.TELEMETRY) -> list[str]:
        """Names of the files that the table has now."""
        return sorted(
            Path(task.file.file_path).name for task in self.table(dataset).scan().plan_files()
        )


async def _answered(call: Callable[[], Awaitable[object]]) -> object:
    """What the writer says; where the store did not do it yet, it is asked again, as agents do."""

    async def look() -> object:
        answer = await call()
        return None if isinstance(answer, base.Retry) else answer

    return await until(look, "the store never did it")


ALL = Rules(target=10**9, after_days=1)
GRACE = Limits(grace_ms=HOUR_MS, keep_days=0)


async def merged(world: World, live: Live | None = None, rules: Rules = ALL) -> tuple[Merged, ...]:
    return await compact(live or world.live(), rules, clock=world.clock, token=world.token)


async def expired(world: World, limits: Limits = GRACE, *, dry_run: bool = False) -> Freed:
    return await expire(world.live(), limits, clock=world.clock, token=world.token, dry_run=dry_run)


async def wrongs(world: World, dataset: Dataset = Dataset.TELEMETRY) -> list[tuple[Wrong, str]]:
    report = await verify(world.live(dataset), rows=True)
    return [(one.wrong, one.offsets) for one in report.account.findings]


def now(world: World, *, later_ms: int) -> None:
    """The keepers' clock: so long after what was written now, by this machine's."""
    world.now_ms = time.time_ns() // 1_000_000 + later_ms
