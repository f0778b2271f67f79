"""The lake's tables: real Iceberg over a folder and SQLite, and what may go wrong with them."""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy.exc import OperationalError

from connectors.lake import base
from connectors.lake.catalog import NAMESPACE, open_catalog
from connectors.lake.config import LakeConfig
from connectors.lake.iceberg import RANGES, IcebergTable, standings
from connectors.lake.local_store import LocalStore
from connectors.lake.mapping import claim_key
from connectors.lake.writer import LakeWriter
from pipeline.core.archive import Claim
from pipeline.core.lake_columns import TELEMETRY, Dataset
from pipeline.core.lake_records import Shape
from tests.contract.lake_tables import (
    READINGS,
    TOPIC,
    Lake,
    Stuck,
    batch,
    brought,
    opened,
    write_partitions,
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def offsets_in(lake: Lake, partition: int = 0) -> list[int]:
    """Source offset of each row that the table has of a partition, rising."""
    rows = lake.rows().to_pydict()
    both = zip(rows["source_partition"], rows["source_offset"], strict=True)
    return sorted(offset for own, offset in both if own == partition)


def each_once(offsets: range) -> list[int]:
    return [offset for offset in offsets for _ in range(READINGS)]


class Watched(LocalStore):
    """Counts the table's rows after every file that is put."""

    def __init__(self, lake: Lake) -> None:
        super().__init__(lake.root / "lake")
        self._lake = lake
        self.seen: list[int] = []

    async def put_new(self, key: str, data: bytes) -> base.Created | base.Exists | base.Unavailable:
        answer = await super().put_new(key, data)
        if key.endswith(".parquet"):
            self.seen.append(self._lake.rows().num_rows)
        return answer


async def test_a_range_of_several_dates_appears_in_the_table_whole(lake: Lake) -> None:
    store = Watched(lake)
    writer = lake.writer(store=store)
    await opened(writer)
    writer.offer(0, 0, batch(0, days=(0, 1, 2)))
    assert isinstance(await writer.flush(0), base.Flushed)
    assert store.seen == [0, 0, 0]
    assert lake.rows().num_rows == READINGS
    [file, *_] = files = [one.file for one in lake.loaded().scan().plan_files()]
    assert len(files) == 3
    assert file.file_path.startswith(f"{lake.url}/telemetry/date=")
    snapshot = lake.loaded().current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary.additional_properties[RANGES] == f"{TOPIC}/0/0-0"


async def test_two_writers_of_one_partition_bring_each_row_once(lake: Lake) -> None:
    one, other = lake.writer(), lake.writer()
    await opened(one)
    await opened(other)
    for offset in range(10):
        one.offer(0, offset, batch(offset))
        other.offer(0, offset, batch(offset))
    for offset in range(10, 15):
        other.offer(0, offset, batch(offset))
    answers = await asyncio.gather(one.flush(0), other.flush(0))
    # Whichever claimed the range, the other wrote the same or waits for what it has not read.
    for answer in answers:
        assert isinstance(answer, base.Flushed | base.Wait), answer
    for offset in range(10, 15):
        one.offer(0, offset, batch(offset))
    await asyncio.gather(one.flush(0), other.flush(0))
    await asyncio.gather(one.flush(0), other.flush(0))
    assert offsets_in(lake) == each_once(range(15))
    assert standings(lake.loaded())[TOPIC, 0].last == 14


async def test_what_a_writer_that_died_had_not_shown_is_shown_without_kafka(lake: Lake) -> None:
    stuck = Stuck(lake.table())
    dying = lake.writer(table=stuck)
    await opened(dying)
    flush = asyncio.create_task(brought(dying, range(10)))
    await stuck.reached.wait()
    flush.cancel()
    assert lake.rows().num_rows == 0
    resume = await opened(lake.writer())
    assert (resume.next_offset, resume.redo) == (10, None)
    assert offsets_in(lake) == each_once(range(10))


async def test_a_zombie_adds_nothing_that_is_there(lake: Lake) -> None:
    stuck = Stuck(lake.table())
    zombie = lake.writer(table=stuck)
    await opened(zombie)
    late = asyncio.create_task(brought(zombie, range(10)))
    await stuck.reached.wait()
    heir = lake.writer()
    await opened(heir)
    await brought(heir, range(10, 20))
    stuck.go.set()
    assert (await late).last_offset == 9
    # It goes on as if it owned the partition still, with another cut.
    for offset in range(10, 15):
        zombie.offer(0, offset, batch(offset))
    assert await zombie.flush(0) == base.Wait(until=19)
    for offset in range(15, 20):
        zombie.offer(0, offset, batch(offset))
    assert isinstance(await zombie.flush(0), base.Flushed)
    assert offsets_in(lake) == each_once(range(20))
    assert zombie.counters.rows == 10 * READINGS


class AnswerLost(SqlCatalog):
    """A catalogue that commits, and whose connection breaks before it can say so."""

    lost = 0
    lose = 0

    def commit_table(self, *arguments: Any) -> Any:  # noqa: ANN401 - pyiceberg's
        answer = super().commit_table(*arguments)
        if AnswerLost.lost < AnswerLost.lose:
            AnswerLost.lost += 1
            raise OperationalError("COMMIT", {}, ConnectionResetError())
        return answer


def losing(config: LakeConfig) -> Catalog:
    known = open_catalog(config)
    return AnswerLost(NAMESPACE, **known.properties)


@pytest.mark.parametrize("lose", [1, 2])
async def test_a_commit_whose_answer_was_lost_is_not_done_again(lake: Lake, lose: int) -> None:
    AnswerLost.lost, AnswerLost.lose = 0, lose
    writer = lake.writer(table=IcebergTable(lake.config(), Dataset.TELEMETRY, catalogue=losing))
    await opened(writer)
    for start in (0, 10, 20):
        for offset in range(start, start + 10):
            writer.offer(0, offset, batch(offset))
        answer = await writer.flush(0)
        if start < lose * 10:
            assert isinstance(answer, base.Retry)
            answer = await writer.flush(0)
        assert isinstance(answer, base.Flushed)
    assert AnswerLost.lost == lose
    assert offsets_in(lake) == each_once(range(30))
    assert len(lake.loaded().snapshots()) == 3


def test_processes_that_commit_at_once_lose_no_range(lake: Lake) -> None:
    spawn = multiprocessing.get_context("spawn")
    shares = ([0, 1], [2, 3], [4])
    workers = [
        spawn.Process(target=write_partitions, args=(str(lake.root), share, 6)) for share in shares
    ]
    for one in workers:
        one.start()
    for one in workers:
        one.join(timeout=200)
    assert [one.exitcode for one in workers] == [0, 0, 0]
    for partition in range(5):
        assert offsets_in(lake, partition) == each_once(range(60))
    standing = standings(lake.loaded())
    assert {where[1]: at.last for where, at in standing.items()} == dict.fromkeys(range(5), 59)


class Together(Stuck):
    """Registers only once so many ranges are brought: files come to the disk as they like."""

    def __init__(self, table: IcebergTable, count: int) -> None:
        super().__init__(table)
        self._count = count
        self._come = 0

    async def register(
        self, claim: Claim, files: Sequence[base.Written]
    ) -> base.Retry | base.Halt | None:
        self._come += 1
        if self._come == self._count:
            self._come = 0
            self.go.set()
            self.go = asyncio.Event()
            return await self._table.register(claim, files)
        return await super().register(claim, files)


async def test_many_partitions_commit_together(lake: Lake) -> None:
    writer = lake.writer(table=Together(lake.table(), 12))
    for partition in range(12):
        await opened(writer, partition)
    for start in (0, 10):
        offsets = range(start, start + 10)
        await asyncio.gather(*(brought(writer, offsets, one) for one in range(12)))
    # One for whoever comes first and one for all who came meanwhile, each time.
    assert len(lake.loaded().snapshots()) <= 4
    assert lake.rows().num_rows == 12 * 20 * READINGS


async def test_three_readers_see_the_same_rows(lake: Lake) -> None:
    writer = lake.writer()
    await opened(writer)
    for start in (0, 10):
        for offset in range(start, start + 10):
            writer.offer(0, offset, batch(offset, days=(0, offset % 3)))
        assert isinstance(await writer.flush(0), base.Flushed)
    names = [column.name for column in TELEMETRY]
    by_iceberg = sorted(tuple(row.values()) for row in lake.rows().select(names).to_pylist())
    by_pyarrow = sorted(tuple(row.values()) for row in lake.hive().select(names).to_pylist())
    assert len(by_iceberg) == 20 * READINGS
    assert by_iceberg == by_pyarrow
    key = [names.index(name) for name in ("device_id", "value", "source_offset", "flag")]
    by_duck = lake.duck("SELECT device_id, value, source_offset, flag FROM lake")
    assert sorted(by_duck) == sorted(tuple(row[at] for at in key) for row in by_iceberg)
    [(days,)] = lake.duck("SELECT count(DISTINCT CAST(time AS DATE)) FROM lake")
    assert days == len(set(lake.hive()["date"].to_pylist())) == 3


async def test_a_catalogue_that_was_lost_while_we_write_is_made_again(lake: Lake) -> None:
    writer = lake.writer()
    await opened(writer)
    await brought(writer, range(10))
    made = lake.loaded().metadata.table_uuid
    lake.catalogue.unlink()
    for offset in range(10, 20):
        writer.offer(0, offset, batch(offset))
    answers = [await writer.flush(0), await writer.flush(0)]
    assert any(isinstance(answer, base.Flushed) for answer in answers), answers
    assert lake.loaded().metadata.table_uuid == made
    assert offsets_in(lake) == each_once(range(20))


async def test_a_commit_that_never_was_is_not_taken_for_the_newest(lake: Lake) -> None:
    """A loser's metadata stays behind, and its manifests were taken away again."""
    writer = lake.writer()
    await opened(writer)
    await brought(writer, range(10))
    folder = lake.root / "lake/telemetry/_iceberg"
    newest = max(folder.glob("*.metadata.json"))
    made = lake.loaded().metadata.table_uuid
    lost = newest.read_text().replace("snap-", "snap-gone-")
    (folder / "00099-00000000-0000-4000-8000-000000000000.metadata.json").write_text(lost)
    lake.catalogue.unlink()
    assert (await opened(lake.writer())).next_offset == 10
    assert lake.rows().num_rows == 10 * READINGS
    assert lake.loaded().metadata.table_uuid == made


async def test_a_table_of_which_nothing_is_left_is_made_of_the_claims(lake: Lake) -> None:
    writer = lake.writer()
    await opened(writer)
    for start in range(0, 30, 2):
        await brought(writer, range(start, start + 2))
    lake.catalogue.unlink()
    shutil.rmtree(lake.root / "lake/telemetry/_iceberg")
    assert (await opened(lake.writer())).next_offset == 30
    assert offsets_in(lake) == each_once(range(30))
    assert len(lake.loaded().snapshots()) <= 2


async def test_a_writer_that_runs_meanwhile_is_told_to_start_again(lake: Lake) -> None:
    writer = lake.writer()
    await opened(writer)
    await brought(writer, range(10))
    lake.catalogue.unlink()
    shutil.rmtree(lake.root / "lake/telemetry/_iceberg")
    for offset in range(10, 20):
        writer.offer(0, offset, batch(offset))
    answers = [await writer.flush(0), await writer.flush(0)]
    [halt] = [answer for answer in answers if isinstance(answer, base.Halt)]
    assert "start this worker again" in halt.reason
    assert (await opened(lake.writer())).next_offset == 20
    assert offsets_in(lake) == each_once(range(20))


async def test_a_table_that_cannot_be_made_of_the_claims_is_not_begun_anew(lake: Lake) -> None:
    writer = lake.writer()
    await opened(writer)
    await brought(writer, range(10))
    await brought(writer, range(10, 20))
    lake.catalogue.unlink()
    shutil.rmtree(lake.root / "lake/telemetry/_iceberg")
    (lake.root / "lake" / claim_key(Dataset.TELEMETRY, TOPIC, 0, 0)).unlink()
    answer = await lake.writer().open(TOPIC, 0)
    assert isinstance(answer, base.Halt)
    assert "put the catalogue back" in answer.reason


async def test_a_lake_that_began_without_tables_is_shown_whole(lake: Lake) -> None:
    plain = LakeWriter(lake.store, dataset=Dataset.TELEMETRY, flush_rows=10**6, flush_s=1)
    await opened(plain)
    await brought(plain, range(10))
    writer = lake.writer()
    assert (await opened(writer)).next_offset == 10
    await brought(writer, range(10, 20))
    rows = lake.rows()
    assert offsets_in(lake) == each_once(range(20))
    assert not rows["device_id"].null_count
    assert lake.loaded().properties["fieldline.without-ids"] == "true"


async def test_columns_keep_their_units_and_aliases(lake: Lake) -> None:
    shape = await lake.table(Dataset.DELIVERIES).open()
    assert isinstance(shape, Shape)
    again = await lake.table(Dataset.DELIVERIES).open()
    assert again == shape
    units = {column.name: column.unit for column in shape.columns if column.unit}
    assert units
    assert set(units.values()) <= {"ms", "s", "bytes"}
