"""`verify --kafka` on a real broker: every range made again from the topic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from connectors.lake.base import Flushed
from connectors.lake.verify import verify
from infra.local.parts import PARTS
from infra.local.stack import Stack
from pipeline.core.archive import Resume
from pipeline.core.lake_accounts import Wrong
from pipeline.core.lake_columns import Dataset
from pipeline.core.telemetry import DeduplicatedBatch
from pipeline.ops import lake_kafka, topics
from pipeline.ops.books import group_of
from pipeline.settings import Settings
from pipeline.topology import DEDUPLICATED, LAKE
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.lake import NEWEST, RecordReader
from pipeline.wire.records import decode_deduplicated, encode_deduplicated, encode_event
from tests.contract.lake_keep_world import (
    READINGS,
    TOPICS,
    World,
    batch,
    delivered,
    refused,
    told_event,
)

pytestmark = pytest.mark.parts


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    stack = Stack(
        tmp_path_factory.mktemp("kafka"),
        say=lambda _: None,
        parts=tuple(spec for spec in PARTS if spec.name == "kafka"),
    )
    try:
        yield stack.start()["KAFKA_BOOTSTRAP"]
    finally:
        stack.stop()


@pytest.fixture(scope="module")
async def with_topics(broker: str) -> str:
    """The same broker with all topics, made once."""
    settings = Settings(kafka_bootstrap=broker)
    admin = kafka.admin(settings)
    await admin.start()
    try:
        await topics.create(admin, all_topics((LAKE,)), settings)
    finally:
        await admin.close()
    return broker


class Archive:
    """One topic-partition and a lake that is written from it."""

    def __init__(self, broker: str, folder: Path, dataset: Dataset = Dataset.TELEMETRY) -> None:
        self.world = World.in_folder(folder)
        self.dataset = dataset
        self.topic = TOPICS[dataset]
        self.codec = Codec()
        config = self.world.config
        self.settings = Settings(
            kafka_bootstrap=broker, lake_url=config.url, lake_catalog=config.catalog
        )

    async def send(self, messages: Sequence[DeduplicatedBatch | bytes]) -> None:
        producer = kafka.producer(self.settings)
        await producer.start()
        try:
            for one in messages:
                value = one if isinstance(one, bytes) else encode_deduplicated(self.codec, one)
                await producer.send_and_wait(self.topic, value, partition=0)
        finally:
            await producer.stop()

    async def archive(self, each: int) -> None:
        """Everything that is new, in ranges of so many messages."""
        writer = self.world.writer(self.dataset)
        opened = await writer.open(self.topic, 0)
        assert isinstance(opened, Resume)
        reader = RecordReader(self.codec, self.dataset) if self.dataset in NEWEST else None
        read = 0
        async for message in kafka.read_through(self.settings, self.topic):
            if message.partition or message.offset < opened.next_offset or message.value == b"?":
                continue
            writer.offer(
                0,
                message.offset,
                decode_deduplicated(self.codec, message.value)
                if reader is None
                else reader.read(self.topic, 0, message.offset, message.value),
            )
            read += 1
            if read % each == 0:
                assert isinstance(await writer.flush(0), Flushed)
        assert isinstance(await writer.flush(0), Flushed)

    async def commit(self, offset: int) -> None:
        consumer = kafka.consumer(self.settings, group=group_of(LAKE))
        await consumer.start()
        try:
            at = TopicPartition(self.topic, 0)
            consumer.assign([at])
            await consumer.commit({at: offset})
        finally:
            await consumer.stop()

    async def compared(self) -> lake_kafka.Compared:
        report = await verify(self.world.live(self.dataset))
        assert report.account.findings == ()
        return await lake_kafka.compare(self.settings, self.codec, report)


async def test_a_lake_is_compared_with_its_topic(with_topics: str, tmp_path: Path) -> None:
    archive = Archive(with_topics, tmp_path)

    # One comes twice, one cannot be read: neither has rows, and both are in the offsets.
    await archive.send([batch(0), batch(1), batch(1), b"?", batch(2), batch(3)])
    await archive.archive(2)
    await archive.commit(6)
    good = await archive.compared()
    assert good.findings == ()
    assert (good.messages, good.rows) == (4, 4 * READINGS)
    at = good.standings[0]
    assert (at.begin, at.end, at.committed, at.reached) == (0, 6, 6, 6)

    # Committed beyond the claims: right as long as it needs no row.
    await archive.send([batch(3)])
    await archive.commit(7)
    assert (await archive.compared()).findings == ()
    await archive.send([batch(4)])
    await archive.commit(8)
    [lost] = (await archive.compared()).findings
    assert (lost.wrong, lost.offsets) == (Wrong.MISSING, f"{DEDUPLICATED}/0/6-7")

    # Another topic of the same name: its rows are others.
    await archive.archive(9)
    assert (await archive.compared()).findings == ()
    [claim, *_] = sorted((tmp_path / "telemetry/_ranges" / DEDUPLICATED / "00000").iterdir())
    text = claim.read_text(encoding="utf-8")
    claim.write_text(text.replace(f'"rows": {2 * READINGS}', f'"rows": {2 * READINGS - 1}'))
    report = await verify(archive.world.live())
    assert [one.wrong for one in report.account.findings] == [Wrong.DOUBLED]
    told = await lake_kafka.compare(archive.settings, archive.codec, report)
    assert [one.wrong for one in told.findings] == [Wrong.OTHER_THAN_KAFKA]
    assert Dataset.TELEMETRY is told.dataset


MESSAGES: dict[Dataset, Callable[[Codec, int], bytes]] = {
    Dataset.EVENTS: lambda codec, n: encode_event(codec, told_event(n)),
    Dataset.DELIVERIES: lambda codec, n: delivered(codec, f"{n:024d}", n),
    Dataset.QUARANTINE: refused,
}


@pytest.mark.parametrize("dataset", MESSAGES)
async def test_rows_of_records_are_made_again_from_their_topic(
    with_topics: str, tmp_path: Path, dataset: Dataset
) -> None:
    archive = Archive(with_topics, tmp_path, dataset)
    one = [MESSAGES[dataset](archive.codec, n) for n in range(6)]
    # What cannot be read is no row and has an offset; an event that comes twice is one row.
    await archive.send([*one[:3], b"?", *one[3:5], one[2]])
    await archive.archive(2)
    await archive.commit(7)
    good = await archive.compared()
    assert good.findings == ()
    rows = 5 if dataset is Dataset.EVENTS else 6
    assert good.rows == archive.world.rows(dataset) == rows
    assert good.standings[0].reached == 7

    # Committed, and nobody has its row.
    await archive.send([one[5]])
    await archive.commit(8)
    [lost] = (await archive.compared()).findings
    assert (lost.wrong, lost.offsets) == (Wrong.MISSING, f"{archive.topic}/0/7-7")

    # The claim says another sum than the topic's messages have.
    await archive.archive(9)
    claims = tmp_path / str(dataset) / "_ranges" / archive.topic / "00000"
    [claim, *_] = sorted(claims.iterdir())
    record = json.loads(claim.read_bytes())
    report = await verify(archive.world.live(dataset))
    [part] = record["files"].values()
    part["sum"] = f"{int(part['sum'], 16) ^ 1:016x}"
    claim.write_text(json.dumps(record), encoding="utf-8")
    told = await lake_kafka.compare(archive.settings, archive.codec, report)
    assert [(f.wrong, f.offsets) for f in told.findings] == [
        (Wrong.OTHER_THAN_KAFKA, f"{archive.topic}/0/0-1")
    ]
