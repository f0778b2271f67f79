"""The archive agent's promise on memory: bounded whatever the dates and partitions, never stuck.

The real agent, writer and folder store; Kafka is tests/contract/archive_world.py.
"""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import duckdb
import psutil
import pyarrow.parquet as pq
import pytest

from connectors.lake import base
from connectors.lake.commit import Prepared
from connectors.lake.local_store import LocalStore
from connectors.lake.writer import LakeWriter
from pipeline.agents import archive
from pipeline.agents.archive import STEP_EVENTS
from pipeline.core.archive import Resume
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_size import message_size
from pipeline.topology import DEDUPLICATED
from tests.contract.archive_world import AT_MS, CODEC, Watched, batch, made, running, value
from tests.waiting import WITHIN_S, until

MB = 1_000_000


def rows(folder: Path) -> Counter[float]:
    """Every value in the lake's files, and how often."""
    files = sorted(folder.glob("telemetry/date=*/*.parquet"))
    return Counter(
        one for file in files for one in pq.ParquetFile(file).read(["value"])["value"].to_pylist()
    )


@pytest.mark.timeout(2 * WITHIN_S + 300)
async def test_four_hundred_dates_and_twelve_partitions_stay_within_the_limit(
    tmp_path: Path,
) -> None:
    dates, partitions, a_date, most = 400, 12, 120, 6 * MB
    topics = {
        p: [
            # Each message has dates far from one another, so every range has many.
            value(batch(p, at, [(at + step * 100) % dates for step in range(4)], a_date))
            for at in range(dates // 4)
        ]
        for p in range(partitions)
    }
    one = message_size(batch(0, 0, range(4), a_date))
    assert partitions * dates // 4 * one > 4 * most, "it would fit into memory"
    store = Watched(tmp_path / "lake")
    # No range goes by its age: on a busy machine the memory would never fill.
    world = made(tmp_path, topics, store, most=most, flush_s=3_600.0)
    really: list[int] = []

    def look() -> None:
        world.look()
        states = world.writer._partitions.values()  # noqa: SLF001 - what is really there
        files = [s.prepared.size for s in states if isinstance(s.prepared, Prepared)]
        really.append(sum(s.buffer.size for s in states) + sum(files))

    store.looks.append(look)
    gc.collect()
    before = psutil.Process().memory_info().rss
    grown: list[int] = []
    store.looks.append(lambda: grown.append(psutil.Process().memory_info().rss - before))

    def rest_is_in_the_lake() -> bool:
        for partition in topics:
            world.archiver.flush(partition)
        return world.done()

    async with running(world):
        # 4,800 files and more, each brought to the disk for good: as slow as the disk is.
        await until(
            lambda: world.taken == partitions * dates // 4,
            lambda: f"{world.taken}",
            within_s=2 * WITHIN_S,
        )
        await until(rest_is_in_the_lake, lambda: f"{world.committed()}")
    # Reserved for a message: itself, its files, and 16 kB for each of its four dates.
    step = STEP_EVENTS * (2 * one + 4 * 16_384)
    assert most / 2 < world.peak <= most + step
    assert max(really) <= world.peak, "more was held than was counted"
    assert max(grown) < 200 * MB
    expected = [v for p in topics for v in range(p * MB * 10, p * MB * 10 + dates * a_date)]
    have = rows(tmp_path / "lake")
    assert have == Counter(map(float, expected))
    found = duckdb.execute(
        "SELECT count(*), count(DISTINCT value), count(DISTINCT date) "
        "FROM read_parquet(?, hive_partitioning = true)",
        [str(tmp_path / "lake/telemetry/*/*.parquet")],
    ).fetchall()
    assert found == [(len(expected), len(expected), dates)]


async def test_a_partition_that_goes_quiet_is_flushed_by_its_age(tmp_path: Path) -> None:
    topics = {p: [value(batch(p, 0, [p], 5))] for p in range(3)}
    world = made(tmp_path, topics, Watched(tmp_path / "lake"), most=100 * MB, flush_s=0.3)
    async with running(world):
        await until(world.done)
    assert sum(rows(tmp_path / "lake").values()) == 15
    assert world.memory.held == 0


async def test_a_store_that_is_away_holds_the_reading_back_and_then_it_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "RETRY_S", 0.05)
    monkeypatch.setattr(archive, "LONGEST_S", 0.1)
    topics = {p: [value(batch(p, at, [0], 500)) for at in range(80)] for p in range(4)}
    one = message_size(batch(0, 0, [0], 500))
    most = 60 * one
    store = Watched(tmp_path / "lake")
    world = made(tmp_path, topics, store, most=most, flush_s=2.0)
    async with running(world):
        await until(lambda: world.taken)
        store.away = True
        # Not sooner: what goes by its age on a busy machine is refused before there is no room.
        await until(lambda: world.memory.held >= most)
        refused = store.refused
        await until(lambda: store.refused > refused + 1)
        stands = world.taken
        await until(lambda: store.refused > refused + 3)
        assert world.taken == stands, "it read on though nothing can go"
        assert world.peak <= most + STEP_EVENTS * (2 * one + 16_384)
        store.away = False
        await until(world.done)
    have = rows(tmp_path / "lake")
    assert len(have) == 4 * 80 * 500
    assert set(have.values()) == {1}


async def test_a_range_that_another_claimed_is_read_whole_though_it_is_larger_than_the_memory(
    tmp_path: Path,
) -> None:
    topics = {p: [value(batch(p, at, [0, 1], 200)) for at in range(120)] for p in range(2)}
    one = message_size(batch(0, 0, [0, 1], 200))
    store = Watched(tmp_path / "lake")
    # A worker with more memory claims a hundred messages of partition 0 and dies.
    dead = LakeWriter(store, dataset=Dataset.TELEMETRY, flush_rows=10**9, flush_s=10**6)
    assert isinstance(await dead.open(DEDUPLICATED, 0), Resume)
    for at in range(100):
        dead.offer(0, at, batch(0, at, [0, 1], 200))
    await dead.flush(0)
    for file in (tmp_path / "lake").glob("telemetry/date=*/*.parquet"):
        file.unlink()
    world = made(tmp_path, topics, store, most=10 * one, flush_s=2.0)
    async with running(world):
        await until(world.done, lambda: f"{world.committed()}, {world.memory.held}")
    # What was claimed, the reserve for it, a step, and a share for the other partition.
    claimed = 2 * 100 * one + 2 * 16_384
    assert world.peak <= claimed + 10 * one + STEP_EVENTS * (2 * one + 2 * 16_384)
    have = rows(tmp_path / "lake")
    assert len(have) == 2 * 120 * 400
    assert set(have.values()) == {1}
    claims = sorted((tmp_path / "lake/telemetry/_ranges").glob("*/00000/*.json"))
    assert len(claims) > 1


async def test_a_rebalance_while_a_flush_is_under_way_doubles_and_loses_nothing(
    tmp_path: Path,
) -> None:
    topics = {p: [value(batch(p, at, [0, 1], 50)) for at in range(90)] for p in range(3)}
    one = message_size(batch(0, 0, [0, 1], 50))
    store = Watched(tmp_path / "lake")
    world = made(tmp_path, topics, store, most=100 * one, flush_s=0.2, flush_rows=2_000)
    async with running(world):
        for times in range(1, 6):
            await until(world.archiver.ready)
            store.gate.clear()
            await until(lambda: store.waiting)
            world.rebalance()
            # Its bytes count as long as the flush runs that nobody wants any more.
            assert world.archiver.leaving
            assert world.memory.held > 0
            store.gate.set()
            await until(lambda: not world.archiver.leaving)
            if times < 5:
                for p, values in topics.items():
                    at = len(values)
                    values += [value(batch(p, at + i, [0, 1], 50)) for i in range(30)]
        await until(world.done, lambda: f"{world.committed()}")
    have = rows(tmp_path / "lake")
    assert len(have) == 3 * (90 + 4 * 30) * 100
    assert set(have.values()) == {1}


async def test_an_opening_that_a_rebalance_overtook_ends_no_worker_and_slows_no_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halts: list[str] = []
    monkeypatch.setattr(archive, "halt", lambda: halts.append("halt"))
    topics = {0: [value(batch(0, at, [0], 5)) for at in range(2)]}
    store = Watched(tmp_path / "lake")
    world = made(tmp_path, topics, store, most=MB, flush_s=0.2)
    store.gate.clear()
    async with running(world):
        # The partition's end is known, and the lake not yet asked how far it is.
        await until(lambda: world.consumer.asked and store.waiting)
        topics[0] += [value(batch(0, at, [0], 5)) for at in range(2, 6)]
        other = LakeWriter(
            LocalStore(tmp_path / "lake"), dataset=Dataset.TELEMETRY, flush_rows=1, flush_s=1
        )
        assert isinstance(await other.open(DEDUPLICATED, 0), Resume)
        for at in range(5):
            other.offer(0, at, batch(0, at, [0], 5))
        assert isinstance(await other.flush(0), base.Flushed)
        world.rebalance()
        store.gate.set()
        await until(world.done, lambda: f"{world.committed()}, {halts}")
    assert not halts, "the lake was taken for one of another topic"
    assert not world.archiver._pauses  # noqa: SLF001 - what would be waited the next time
    assert sorted(rows(tmp_path / "lake").values()) == [1] * 30


async def test_a_partition_that_was_taken_away_unsaid_ends_no_worker(tmp_path: Path) -> None:
    topics = {p: [value(batch(p, 0, [0], 5))] for p in range(2)}
    world = made(tmp_path, topics, Watched(tmp_path / "lake"), most=MB, flush_s=0.2)
    world.consumer.gone.add(1)
    async with running(world):
        await until(lambda: world.consumer.asked > 1)
        world.rebalance()
        world.consumer.gone.clear()
        await until(world.done, lambda: f"{world.committed()}")
    assert sorted(rows(tmp_path / "lake").values()) == [1] * 10


async def test_repetitions_that_are_more_than_the_memory_are_passed_over(tmp_path: Path) -> None:
    told = value(batch(0, 5, [0], 200))
    topics = {0: [told] * 300 + [value(batch(0, 6, [0], 200))]}
    most = 20 * message_size(batch(0, 0, [0], 200))
    world = made(tmp_path, topics, Watched(tmp_path / "lake"), most=most, flush_s=0.5)
    async with running(world):
        await until(world.done, lambda: f"{world.committed()}")
    assert sorted(set(rows(tmp_path / "lake").values())) == [1]
    assert world.writer.counters.skipped_repeated == 299


async def test_a_message_that_cannot_be_read_is_set_aside_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    topics = {0: [value(batch(0, 0, [0], 3)), b"nonsense", value(batch(0, 2, [0], 3))]}
    world = made(tmp_path, topics, Watched(tmp_path / "lake"), most=MB, flush_s=0.2)
    async with running(world):
        await until(world.done, lambda: f"{world.committed()}")
    [refused] = (CODEC.decode("quarantined.v1", value) for value in world.refused.values)
    assert refused["payload"] == b"nonsense"
    assert refused["received_ms"] == AT_MS + 1, "Kafka's own time of it"
    assert f"{DEDUPLICATED}/0/1" in refused["detail"]
    assert sum(rows(tmp_path / "lake").values()) == 6
