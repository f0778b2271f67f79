"""Small files are merged on a lake that the real writer made: each row once, whatever happens."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

import duckdb
import pytest
from pyiceberg.table import Table
from pyiceberg.types import StringType

from connectors.lake import base
from connectors.lake.compact import merge, plan
from connectors.lake.iceberg import standings
from pipeline.core.archive import Resume
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_keep import DAY_MS, HOUR_MS
from tests.contract.lake_keep_world import (
    ALL,
    DAY_NUMBER,
    NOW_MS,
    READINGS,
    TOPICS,
    World,
    batch,
    expired,
    merged,
    now,
    wrongs,
)

TOPIC = TOPICS[Dataset.TELEMETRY]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.in_folder(tmp_path)


async def test_small_files_become_one_sorted_file_with_the_same_rows(world: World) -> None:
    await world.telemetry(5)
    await world.telemetry(4, partition=1)
    before = world.table().scan().to_arrow().sort_by("source_offset")
    [one] = await merged(world)
    assert (one.files, one.rows, one.skipped) == (9, 27 * READINGS, False)
    after = world.table().scan().to_arrow()
    assert len(world.files()) == 1
    order = [("device_id", "ascending"), ("metric", "ascending"), ("time", "ascending")]
    assert after.equals(after.sort_by(order))
    everything = [(name, "ascending") for name in ("device_id", "metric", "time", "sequence")]
    assert after.sort_by(everything).equals(before.sort_by(everything))
    assert await wrongs(world) == []
    assert await merged(world) == ()


async def test_dates_that_are_not_over_and_files_that_are_large_are_left_alone(
    world: World,
) -> None:
    await world.telemetry(4)
    world.now_ms = DAY_NUMBER * DAY_MS
    assert await plan(world.live(), ALL, world.now_ms) == ()
    world.now_ms = NOW_MS
    assert await plan(world.live(), replace(ALL, target=1), world.now_ms) == ()
    [group] = await plan(world.live(), ALL, world.now_ms)
    assert len(group) == 4


async def test_more_files_than_are_merged_at_once_are_merged_in_rounds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.lake.rewrite.FAN_IN", 3)
    await world.telemetry(11, each=1)
    [one] = await merged(world)
    assert one.files == 11
    assert world.rows() == 11 * READINGS
    assert await wrongs(world) == []


class Readers:
    """Threads that read the table over and over; what each look found, rows and different rows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stop = threading.Event()
        self.found: dict[str, list[tuple[int, int]]] = {"pyiceberg": [], "duckdb": []}
        self._threads = [
            threading.Thread(target=self._read, args=one)
            for one in (("pyiceberg", _by_pyiceberg), ("duckdb", _by_duckdb))
        ]

    def _read(self, name: str, count: Callable[[Table], tuple[int, int]]) -> None:
        while not self._stop.is_set():
            self.found[name].append(count(self._world.table()))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    async def look_again(self) -> None:
        """Wait until each has begun and ended a look since."""
        wanted = {name: len(found) + 2 for name, found in self.found.items()}
        deadline = time.monotonic() + 60
        while any(len(self.found[name]) < count for name, count in wanted.items()):
            assert time.monotonic() < deadline
            assert all(thread.is_alive() for thread in self._threads)
            await asyncio.sleep(0.01)


def _by_pyiceberg(table: Table) -> tuple[int, int]:
    rows = table.scan().to_arrow().select(["device_id", "metric", "time"])
    return rows.num_rows, rows.group_by(rows.column_names).aggregate([]).num_rows


def _by_duckdb(table: Table) -> tuple[int, int]:
    # It has planned, and opens the files of its plan one by one.
    files = [task.file.file_path.removeprefix("file://") for task in table.scan().plan_files()]
    with duckdb.connect() as connection:
        [(rows, different)] = connection.execute(
            "SELECT count(*), count(DISTINCT (device_id, metric, time)) FROM read_parquet(?)",
            [files],
        ).fetchall()
    return rows, different


async def test_readers_see_every_row_once_before_during_and_after(world: World) -> None:
    for day in range(3):
        await world.write(
            [
                [batch(day * 12 + n * 3 + k, day=DAY_NUMBER - day) for k in range(3)]
                for n in range(4)
            ]
        )
    rows = 36 * READINGS
    with Readers(world) as readers:
        await readers.look_again()
        assert len(await merged(world)) == 3
        await expired(world)
        await readers.look_again()
    assert {look for looks in readers.found.values() for look in looks} == {(rows, rows)}


async def test_a_writer_that_commits_in_between_loses_nothing(world: World) -> None:
    await world.telemetry(3)
    live = world.live()
    put = live.store.put_new
    raced = False

    async def put_new(key: str, data: bytes) -> base.Created | base.Exists | base.Unavailable:
        nonlocal raced
        if "/replaced/" in key and not raced:
            raced = True
            await world.telemetry(2)
        return await put(key, data)

    live.store.put_new = put_new  # type: ignore[method-assign]
    [one] = await merged(world, live)
    assert raced
    assert not one.skipped
    assert world.rows() == 15 * READINGS
    assert standings(world.table())[TOPIC, 0].last == 14
    assert await wrongs(world) == []


async def test_a_lost_race_is_run_again_against_the_table_as_it_is_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.telemetry(3)
    live = world.live()
    files_of = live.files_of
    writers: list[threading.Thread] = []

    def overtaken(table: Table) -> object:
        found = files_of(table)
        if len(writers) < 3 and len(found) >= 3:
            # The table was read, and before our commit a writer's comes.
            thread = threading.Thread(target=lambda: asyncio.run(world.telemetry(1)))
            thread.start()
            thread.join()
            writers.append(thread)
        return found

    groups = await plan(live, ALL, world.now_ms)
    monkeypatch.setattr(live, "files_of", overtaken)
    one = await merge(live, groups[0], clock=world.clock, token=world.token)
    assert not one.skipped
    assert len(writers) == 3
    assert world.rows() == 18 * READINGS
    assert await wrongs(world) == []


async def test_of_two_compactions_at_once_one_wins_and_no_row_doubles(world: World) -> None:
    await world.telemetry(4)
    both = await asyncio.gather(merged(world), merged(world))
    outcomes = [one.skipped for result in both for one in result]
    assert outcomes.count(False) == 1
    assert world.rows() == 12 * READINGS
    assert len(world.files()) == 1
    assert await wrongs(world) == []


class DiedError(Exception):
    """The process ended here."""


@pytest.mark.parametrize("step", range(1, 4))
async def test_a_compaction_that_dies_anywhere_doubles_nothing_and_runs_again(
    world: World, step: int
) -> None:
    await world.telemetry(4)
    live = world.live()
    left = step

    def dying(act: Callable[..., object]) -> Callable[..., object]:
        async def call(*arguments: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise DiedError
            return await act(*arguments)  # type: ignore[misc]

        return call

    live.store.put_new = dying(live.store.put_new)  # type: ignore[assignment, method-assign]
    live.swap = dying(live.swap)  # type: ignore[assignment, method-assign]
    with pytest.raises(DiedError):
        await merged(world, live)
    assert world.rows() == 12 * READINGS
    assert await wrongs(world) == []
    [again] = await merged(world)
    assert not again.skipped
    assert world.rows() == 12 * READINGS
    assert await wrongs(world) == []
    now(world, later_ms=DAY_MS + HOUR_MS)
    await expired(world)
    assert world.hive_rows() == 12 * READINGS, "the leavings are swept a day later"


async def test_a_commit_whose_answer_was_lost_is_not_made_twice(world: World) -> None:
    await world.telemetry(3)
    live = world.live()
    act, calls = live._act, 0  # noqa: SLF001 - where the answer gets lost

    def lost(change: Callable[[Table], object]) -> object:
        nonlocal calls
        answer = act(change)
        if answer is True and calls == 0:
            calls += 1
            raise TimeoutError
        return answer

    live._act = lost  # type: ignore[assignment, method-assign]  # noqa: SLF001 - the same
    [one] = await merged(world, live)
    assert calls == 1
    assert not one.skipped
    assert world.rows() == 9 * READINGS
    assert await wrongs(world) == []


async def test_a_writer_goes_on_after_its_files_were_merged_and_removed(world: World) -> None:
    await world.telemetry(4)
    await merged(world)
    now(world, later_ms=2 * DAY_MS)
    freed = await expired(world)
    assert (freed.files, freed.claims) == (4, 3)
    assert world.hive_rows() == world.rows() == 12 * READINGS
    resumed = await world.writer().open(TOPIC, 0)
    assert isinstance(resumed, Resume)
    assert (resumed.next_offset, resumed.redo) == (12, None)
    await world.telemetry(2)
    assert world.rows() == 18 * READINGS
    assert await wrongs(world) == []


async def test_files_from_before_a_schema_change_are_merged_with_those_after(world: World) -> None:
    dataset = Dataset.EVENTS
    await world.write([world.events(0, 3)], dataset=dataset)

    def widen(table: Table) -> None:
        with table.update_schema() as columns:
            columns.rename_column("summary", "headline")
            columns.add_column("colour", StringType())

    await world.live(dataset).change(widen)
    before = world.table(dataset).scan().to_arrow()
    assert before["headline"].null_count == 0
    await world.write([world.events(3, 3)], dataset=dataset)
    [one] = await merged(world, world.live(dataset))
    after = world.table(dataset).scan().to_arrow()
    assert (one.files, after.num_rows) == (2, 6)
    texts = before["headline"].to_pylist()
    # The writer knows the column by its old name only, and was given one of that name.
    assert after["headline"].to_pylist() == [*texts, None, None, None]
    assert after["summary"].to_pylist() == [None, None, None, *texts]
    assert after["colour"].null_count == 6
    assert await wrongs(world, dataset) == []
