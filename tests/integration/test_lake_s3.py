"""The lake on a real S3 server, read back with DuckDB: each row once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
import s3fs

from connectors.lake import base, reader, readonly
from connectors.lake.config import LakeConfig
from connectors.lake.mapping import claim_key, encode_claim
from connectors.lake.store import S3Store
from connectors.lake.writer import LakeWriter, Message, prepare
from pipeline.core import archive
from pipeline.core.events import BusinessEvent, Severity, SnapshotEntry, Source
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_records import Shape
from pipeline.core.lake_rows import batch_arrival
from pipeline.core.telemetry import DeduplicatedBatch
from pipeline.settings import Settings
from pipeline.wire.avro import Codec
from pipeline.wire.lake import RecordReader, columns_of
from pipeline.wire.records import encode_event
from tests.integration.s3_server import Server
from tests.lake_world import pumps
from tests.waiting import WITHIN_S

pytestmark = pytest.mark.parts

DAY = 86_400_000
FIRST_MS = 20_000 * DAY


@pytest.fixture
def lake(server: Server) -> Settings:
    return Settings.model_validate(dict(server.part.settings()))


def topic_of(request: pytest.FixtureRequest) -> str:
    """A topic for each test: one bucket holds them side by side."""
    return str(request.node.name)[-60:]


def batch(offset: int, *, devices: int = 5, samples: int = 10) -> DeduplicatedBatch:
    """`devices * samples * 2` readings; every tenth message crosses midnight."""
    return pumps(offset, devices=devices, samples=samples, over_midnight=offset % 10 == 0)


READINGS = 100


def patient(lake: Settings) -> LakeConfig:
    """A busy machine is no trouble of the store's."""
    return replace(LakeConfig.from_settings(lake), read_s=60.0, call_s=120.0)


def writer(store: base.ObjectStore, dataset: Dataset = Dataset.TELEMETRY) -> LakeWriter:
    return LakeWriter(store, dataset=dataset, flush_rows=1_000, flush_s=60.0)


def counted(lake: Settings, topic: str) -> tuple[int, int]:
    """Rows, and rows that differ, of one test's files."""
    connection = reader.connect(lake)
    pattern = f"{readonly.ROOT}/telemetry/*/{topic}-*.parquet"
    [(rows, different)] = connection.execute(
        "SELECT count(*), count(DISTINCT (source_offset, device_id, metric, sequence)) "
        "FROM read_parquet(?)",
        [pattern],
    ).fetchall()
    connection.close()
    return rows, different


def test_an_empty_lake_is_two_empty_views_with_their_columns(lake: Settings) -> None:
    arguments = LakeConfig.from_settings(lake).s3fs_arguments()
    s3fs.S3FileSystem(**arguments).call_s3("create_bucket", Bucket="empty")
    connection = reader.connect(lake.model_copy(update={"s3_bucket": "empty"}))
    events = connection.execute("SELECT count(*), any_value(date) FROM events").fetchall()
    assert events == [(0, None)]
    columns = [row[0] for row in connection.execute("DESCRIBE telemetry").fetchall()]
    assert columns[:4] == ["tenant", "device_id", "metric", "time"]
    assert columns[-1] == "date"


async def test_the_store_writes_a_name_once_and_lists_after_a_name(lake: Settings) -> None:
    async with S3Store(patient(lake)) as store:
        assert await store.put_new("probe/a", b"hello") == base.Created()
        assert await store.put_new("probe/a", b"other") == base.Exists()
        assert await store.get("probe/a") == base.Content(data=b"hello", size=5)
        assert await store.tail("probe/a", 2) == base.Content(data=b"lo", size=5)
        assert await store.tail("probe/a", 100) == base.Content(data=b"hello", size=5)
        assert await store.get("probe/none") == base.Missing()
        assert await store.tail("probe/none", 2) == base.Missing()
        await store.put_new("probe/b", b"")
        assert await store.list_after("probe/", "probe/a") == base.Names(
            names=("probe/b",), more=False
        )
        secret = lake.s3_secret_key
        assert secret is not None
        assert secret.get_secret_value() not in repr(store) + repr(LakeConfig.from_settings(lake))


async def test_a_wrong_key_and_a_missing_bucket_say_how_to_mend_them(lake: Settings) -> None:
    for change, mend in (
        ({"s3_bucket": "no-such-bucket"}, "S3_BUCKET"),
        ({"s3_access_key": "nobody"}, "S3_ACCESS_KEY"),
    ):
        config = LakeConfig.from_settings(lake.model_copy(update=change))
        async with S3Store(config) as store:
            answer = await store.put_new("probe/c", b"")
            assert isinstance(answer, base.Unavailable)
            assert mend in answer.reason


async def test_rows_written_in_ranges_are_read_once_and_resume_goes_on(
    lake: Settings, request: pytest.FixtureRequest
) -> None:
    topic = topic_of(request)
    async with S3Store(patient(lake)) as store:
        first = writer(store)
        await first.open(topic, 1)
        for offset in range(25):
            first.offer(1, offset, batch(offset))
            if first.due(1, 0.0):
                assert isinstance(await first.flush(1), base.Flushed)
        second = writer(store)  # Kafka gives everything again, and some twice
        resumed = await second.open(topic, 1)
        assert isinstance(resumed, archive.Resume)
        assert (resumed.next_offset, resumed.redo) == (20, None)
        for offset in range(30):
            second.offer(1, offset, batch(min(offset, 27)))
        result = await second.flush(1)
        assert isinstance(result, base.Flushed)
        assert (result.last_offset, result.rows) == (29, 800)
    assert counted(lake, topic) == (28 * READINGS, 28 * READINGS)


async def test_a_range_claimed_by_a_writer_that_died_is_finished_exactly(
    lake: Settings, request: pytest.FixtureRequest
) -> None:
    topic = topic_of(request)
    buffer: archive.RangeBuffer[Message] = archive.RangeBuffer(
        archive.resume(None, complete=True), archive.Limits(rows=1, age_ms=1)
    )
    for offset in range(7):
        buffer.add(offset, batch(offset), batch_arrival(batch(offset)))
    selection = buffer.selection()
    assert isinstance(selection, archive.Selection)
    shape = Shape(columns=columns_of(Dataset.TELEMETRY))
    dying = prepare(Dataset.TELEMETRY, topic, 1, selection, shape)
    assert len(dying.files) == 2
    async with S3Store(patient(lake)) as store:
        key = claim_key(Dataset.TELEMETRY, topic, 1, 0)
        await store.put_new(key, encode_claim(dying.claim))
        await store.put_new(dying.files[0].key, dying.files[0].data)  # and here it died
        heir = writer(store)
        resumed = await heir.open(topic, 1)
        assert isinstance(resumed, archive.Resume)
        assert resumed.redo == dying.claim
        for offset in range(6):
            heir.offer(1, offset, batch(offset))
        assert await heir.flush(1) == base.Wait(until=6)
        for offset in range(6, 12):
            heir.offer(1, offset, batch(offset))
        result = await heir.flush(1)
        assert isinstance(result, base.Flushed)
        assert (result.last_offset, result.files) == (6, 1)
        assert isinstance(await heir.flush(1), base.Flushed)
    assert counted(lake, topic) == (12 * READINGS, 12 * READINGS)


async def test_two_writers_at_once_make_one_lake(
    lake: Settings, request: pytest.FixtureRequest
) -> None:
    topic = topic_of(request)

    both = asyncio.Barrier(2)

    async def work(step: int) -> LakeWriter:
        async with S3Store(patient(lake)) as store:
            one = writer(store)
            assert isinstance(await one.open(topic, 1), archive.Resume)
            # Each finds the lake empty, so at the latest over the first range they meet.
            await both.wait()
            for offset in range(40):
                one.offer(1, offset, batch(offset))
                if offset % step == step - 1:
                    result = await one.flush(1)
                    assert isinstance(result, base.Flushed | base.Wait)
            while not (
                isinstance(result := await one.flush(1), base.Flushed) and result.last_offset == 39
            ):
                assert isinstance(result, base.Flushed)
            return one

    writers = await asyncio.gather(work(3), work(5))
    assert sum(one.counters.claims_lost for one in writers) > 0
    assert sum(one.counters.rows for one in writers) == 40 * READINGS
    assert counted(lake, topic) == (40 * READINGS, 40 * READINGS)


async def test_a_store_that_goes_away_shows_as_values_and_heals(
    server: Server, lake: Settings, request: pytest.FixtureRequest
) -> None:
    topic = topic_of(request)
    async with S3Store(patient(lake)) as store:
        one = writer(store)
        await one.open(topic, 1)
        for offset in range(5):
            one.offer(1, offset, batch(offset))
        assert isinstance(await one.flush(1), base.Flushed)
        for offset in range(5, 11):
            one.offer(1, offset, batch(offset))
        held = one.size(1)
        server.kill()
        try:
            away = [await one.flush(1), await one.flush(1), await writer(store).open(topic, 1)]
        finally:
            server.start()
        assert all(isinstance(answer, base.Retry) for answer in away)
        assert one.size(1) == held > 0
        result = await one.flush(1)
        assert isinstance(result, base.Flushed)
        assert (result.last_offset, result.rows) == (10, 6 * READINGS)
    assert counted(lake, topic) == (11 * READINGS, 11 * READINGS)


async def test_a_store_that_hangs_shows_as_a_value_and_what_it_did_after_all_is_recognised(
    server: Server, lake: Settings, request: pytest.FixtureRequest
) -> None:
    topic = topic_of(request)
    deadline = time.monotonic() + WITHIN_S
    async with S3Store(replace(LakeConfig.from_settings(lake), call_s=0.5)) as store:
        one = writer(store)
        # Half a second is short where a client is made on a busy machine.
        while not isinstance(await one.open(topic, 1), archive.Resume):
            assert time.monotonic() < deadline
        for offset in range(5):
            one.offer(1, offset, batch(offset))
        server.freeze()
        try:
            answer = await one.flush(1)
        finally:
            server.freeze(thaw=True)
        assert isinstance(answer, base.Retry)
        # The claim may have been written by now, or not: both are fine.
        for offset in range(5, 9):
            one.offer(1, offset, batch(offset))
        safe = -1
        result: base.FlushResult | None = None
        while safe < 8:
            assert time.monotonic() < deadline, result
            result = await one.flush(1)
            assert isinstance(result, base.Flushed | base.Retry)
            safe = result.last_offset if isinstance(result, base.Flushed) else safe
    assert counted(lake, topic) == (9 * READINGS, 9 * READINGS)


async def test_events_are_read_with_their_snapshot(lake: Settings) -> None:
    event = BusinessEvent(
        id="e1",
        type="fieldline.limit.exceeded",
        tenant="acme",
        device_id="acme/pump-001",
        asset_id=None,
        customer_id="C-1",
        severity=Severity.CRITICAL,
        confidence=0.97,
        summary="Too hot.",
        detector="limit",
        metric="temperature",
        rule="hot@1",
        correlation_id="e1",
        occurred_at_ms=FIRST_MS + 5,
        observed_at_ms=FIRST_MS + 45,
        source=Source(topic="r", partition=1, offset=2, index=0, session=1, sequence=5),
        snapshot=(SnapshotEntry(metric="temperature", value=91.5, baseline=60.0, score=None),),
    )
    async with S3Store(patient(lake)) as store:
        one = writer(store, Dataset.EVENTS)
        await one.open("sink.lake", 0)
        codec = Codec()
        record = RecordReader(codec, Dataset.EVENTS).read(
            "sink.lake", 0, 0, encode_event(codec, event)
        )
        one.offer(0, 0, record)
        assert isinstance(await one.flush(0), base.Flushed)
    connection = reader.connect(lake)
    rows = connection.execute(
        "SELECT id, severity, epoch_ms(occurred_at), snapshot[1].value, snapshot[1].score, date "
        "FROM events"
    ).fetchall()
    [(event_id, severity, occurred, value, score, date)] = rows
    assert (event_id, severity, occurred, value, score) == (
        "e1",
        "critical",
        FIRST_MS + 5,
        91.5,
        None,
    )
    assert date.isoformat() == "2024-10-04"
    found = {one.dataset: (one.files, one.rows) for one in reader.summary(connection)}
    assert found[Dataset.EVENTS] == (1, 1)
