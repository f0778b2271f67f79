"""What nobody needs goes from a lake that the real writer made, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from connectors.lake import claims
from connectors.lake.base import Written
from connectors.lake.expire import Limits, expire
from connectors.lake.verify import verify
from pipeline.core.archive import Resume
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_keep import DAY_MS, HOUR_MS
from tests.contract.lake_keep_world import (
    DATE,
    DAY_NUMBER,
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


async def test_replaced_files_stay_for_the_grace_and_go_after_it(world: World) -> None:
    await world.telemetry(3)
    now(world, later_ms=0)
    await merged(world)
    first = await expired(world)
    assert (first.files, first.snapshots) == (0, 0)
    assert world.hive_rows() == 2 * world.rows()
    now(world, later_ms=2 * HOUR_MS)
    dry = await expired(world, dry_run=True)
    assert (dry.files, world.hive_rows()) == (3, 2 * world.rows())
    second = await expired(world)
    assert (second.files, second.size) == (dry.files, dry.size)
    assert second.snapshots > 0
    assert world.hive_rows() == world.rows() == 9 * READINGS
    now(world, later_ms=2 * DAY_MS)
    assert (await expired(world)).metadata > 0
    assert (await expired(world)).metadata == 0
    assert world.rows() == 9 * READINGS
    assert await wrongs(world) == []


async def test_files_of_a_claim_that_the_table_lacks_are_no_leavings(world: World) -> None:
    await world.telemetry(2)
    [file] = [p for p in world.folder.rglob("*.parquet") if p.name.endswith("3.parquet")]
    # The range 6 to 8: claimed and written, and its writer died before it told the table.
    other = World.in_folder(world.folder / "other")
    await other.telemetry(3)
    for name in (
        f"telemetry/_ranges/{TOPIC}/00000/{6:020d}.json",
        f"telemetry/date={DATE}/{TOPIC}-00000-{6:020d}.parquet",
    ):
        target = world.folder / name
        target.write_bytes((other.folder / name).read_bytes())
    orphan = file.with_name(f"{TOPIC}-00000-{99:020d}.parquet")
    orphan.write_bytes(file.read_bytes())
    now(world, later_ms=5 * DAY_MS)
    freed = await expired(world)
    assert freed.files == 1
    assert not orphan.exists()
    assert target.exists()
    resumed = await world.writer().open(TOPIC, 0)
    assert isinstance(resumed, Resume)
    assert resumed.next_offset == 9
    assert world.rows() == 9 * READINGS
    assert await wrongs(world) == []


async def test_dates_whose_time_is_over_are_dropped_and_are_no_alarm(world: World) -> None:
    days = (DAY_NUMBER - 40, DAY_NUMBER - 5, DAY_NUMBER)
    await world.write([[batch(n, day=day)] for n, day in enumerate(days)])
    now(world, later_ms=2 * DAY_MS)
    world.now_ms = DAY_NUMBER * DAY_MS + HOUR_MS
    limits = Limits(grace_ms=0, keep_days=30)
    assert (await expired(world, limits, dry_run=True)).dropped_rows == READINGS
    assert world.rows() == 3 * READINGS
    freed = await expired(world, limits)
    assert (freed.dates, freed.dropped_rows) == (["2024-08-25"], READINGS)
    assert world.rows() == 2 * READINGS
    report = await verify(world.live(), rows=True)
    assert report.account.findings == ()
    assert report.account.dropped == READINGS


async def test_a_tag_keeps_its_version_and_the_files_it_names(world: World) -> None:
    await world.telemetry(3)
    table = world.table()
    snapshot = table.current_snapshot()
    assert snapshot is not None
    with table.manage_snapshots() as manage:
        manage.create_tag(snapshot.snapshot_id, "audit")
    await merged(world)
    now(world, later_ms=9 * DAY_MS)
    await expired(world)
    old = world.table().scan(snapshot_id=snapshot.snapshot_id).to_arrow()
    assert old.num_rows == 9 * READINGS


async def test_old_claims_put_together_say_the_same(world: World) -> None:
    await world.telemetry(5)
    before = (await claims.read_books(world.live())).lines()
    now(world, later_ms=2 * DAY_MS)
    assert (await expired(world)).claims == 4
    books = await claims.read_books(world.live())
    assert (len(books.claims), len(books.folded)) == (1, 4)
    assert sorted(books.lines(), key=lambda one: one.first) == sorted(
        before, key=lambda one: one.first
    )
    assert (await expired(world)).claims == 0


async def test_folding_that_died_halfway_is_finished_and_nothing_is_told_twice(
    world: World,
) -> None:
    await world.telemetry(5)
    now(world, later_ms=2 * DAY_MS)
    kept = {p: p.read_bytes() for p in (world.folder / "telemetry/_ranges" / TOPIC).rglob("*.json")}
    await expired(world)
    for path, data in list(kept.items())[:3]:
        path.write_bytes(data)
    assert await wrongs(world) == []
    now(world, later_ms=4 * DAY_MS)
    await expired(world)
    assert len(list((world.folder / "telemetry/_ranges" / TOPIC).rglob("*.json"))) == 1
    assert await wrongs(world) == []


async def test_a_compaction_that_comes_before_retentions_commit_keeps_no_rows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files that were to go are out of the table, and their rows are in it still."""
    await world.telemetry(3)
    now(world, later_ms=0)
    live = world.live()
    swap, tries = live.swap, 0

    async def overtaken(
        out: Collection[str], into: Collection[Written], told: Mapping[str, str]
    ) -> bool:
        nonlocal tries
        tries += 1
        if tries == 1:
            await merged(world)
        return await swap(out, into, told)

    monkeypatch.setattr(live, "swap", overtaken)
    freed = await expire(
        live, Limits(grace_ms=0, keep_days=5), clock=world.clock, token=world.token
    )
    assert tries == 2
    assert freed.dropped_rows == 9 * READINGS
    assert world.rows() == 0
    assert await wrongs(world) == []
