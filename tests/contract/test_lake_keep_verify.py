"""Verify names what is wrong with a lake that the real writer made; forget leaves no row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from connectors.lake import base, forget
from connectors.lake.verify import verify
from pipeline.core.lake_accounts import Wrong
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_forget import Whose
from pipeline.settings import SettingsError
from tests.contract.lake_keep_world import (
    DATE,
    READINGS,
    TOPICS,
    World,
    batch,
    expired,
    merged,
    wrongs,
)

TOPIC = TOPICS[Dataset.TELEMETRY]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.in_folder(tmp_path)


async def test_a_lost_a_changed_and_a_foreign_file_are_named(world: World) -> None:
    await world.telemetry(3)
    folder = world.folder / "telemetry" / f"date={DATE}"
    names = sorted(p for p in folder.iterdir())
    names[0].unlink()
    other = World.in_folder(world.folder / "other")
    await other.write([[batch(100 + n) for n in range(3)]])
    [foreign] = (other.folder / "telemetry" / f"date={DATE}").iterdir()
    names[1].write_bytes(foreign.read_bytes())  # it says that it holds 0 to 2, and other rows
    found = await wrongs(world)
    assert sorted(found) == [
        (Wrong.CHANGED, f"{TOPIC}/0/0-2"),
        (Wrong.LOST, ""),
        (Wrong.MISSING, f"{TOPIC}/0/3-5"),
    ]


async def test_values_that_changed_are_seen_when_the_rows_are_read(world: World) -> None:
    await world.telemetry(2)
    other = World.in_folder(world.folder / "other")
    await other.write([[batch(n, devices=2) for n in range(3)], [batch(3)]])
    name = f"telemetry/date={DATE}/{TOPIC}-00000-{0:020d}.parquet"
    (world.folder / name).write_bytes((other.folder / name).read_bytes())
    assert (await verify(world.live())).account.findings == ()
    assert await wrongs(world) == [(Wrong.CHANGED, f"{TOPIC}/0/0-2")]


async def test_a_gap_in_the_claims_is_named(world: World) -> None:
    await world.telemetry(3)
    (world.folder / f"telemetry/_ranges/{TOPIC}/00000/{3:020d}.json").unlink()
    found = await wrongs(world)
    assert (Wrong.GAP, f"{TOPIC}/0/3-5") in found
    assert (Wrong.UNCLAIMED, f"{TOPIC}/0/3-5") in found


async def test_a_lake_without_tables_is_verified_by_its_folders(world: World) -> None:
    bare = World(replace(world.config, catalog=None))
    await bare.telemetry(3)
    assert await wrongs(bare) == []
    report = await verify(bare.live())
    assert (report.by_table, report.account.rows) == (False, 9 * READINGS)
    (world.folder / f"telemetry/date={DATE}" / f"{TOPIC}-00000-{3:020d}.parquet").unlink()
    assert await wrongs(bare) == [(Wrong.MISSING, f"{TOPIC}/0/3-5")]


async def forgotten(
    world: World, whose: Whose, dataset: Dataset = Dataset.TELEMETRY
) -> forget.Forgotten:
    return await forget.forget(world.live(dataset), whose, clock=world.clock, token=world.token)


PUMP = Whose(devices=frozenset({"acme/pump-003"}))


async def test_a_forgotten_device_is_in_no_object_of_the_lake(world: World) -> None:
    await world.telemetry(4)
    await merged(world)
    await world.telemetry(2)
    assert await forget.count(world.live(), PUMP) == 18 * READINGS // 5
    done = await forgotten(world, PUMP)
    assert (done.rows, done.left, done.pending) == (18 * READINGS // 5, 0, [])
    taken = done.dates[DATE]
    assert taken.after.plus(taken.removed) == taken.before
    assert world.rows() == world.hive_rows() == 18 * READINGS * 4 // 5
    holders = [
        path.relative_to(world.folder).as_posix()
        for path in world.folder.rglob("*")
        if path.is_file() and b"pump-003" in path.read_bytes()
    ]
    assert holders == []
    assert len(world.table().snapshots()) == 1
    assert await wrongs(world) == []
    await world.telemetry(1)
    [one] = await merged(world)
    assert one.rows == world.rows()
    assert await wrongs(world) == []


async def test_a_file_with_nothing_else_in_it_goes_whole_and_verify_knows(world: World) -> None:
    dataset = Dataset.EVENTS
    await world.write(
        [world.events(0, 3), world.events(3, 2, device_id="acme/x", customer_id="C-9")],
        dataset=dataset,
    )
    done = await forgotten(world, Whose(devices=frozenset(), customer="C-9"), dataset)
    assert (done.rows, len(done.events), done.devices) == (2, 2, frozenset({"acme/x"}))
    assert (len(world.files(dataset)), world.rows(dataset)) == (1, 3)
    report = await verify(world.live(dataset), rows=True)
    assert (report.account.findings, report.account.forgotten) == ((), 2)


async def test_rows_that_a_tag_still_has_are_told(world: World) -> None:
    await world.telemetry(2)
    table = world.table()
    snapshot = table.current_snapshot()
    assert snapshot is not None
    with table.manage_snapshots() as manage:
        manage.create_tag(snapshot.snapshot_id, "audit")
    assert (await forgotten(world, PUMP)).held == ["audit"]


async def test_a_compaction_that_read_before_does_not_bring_them_back(world: World) -> None:
    await world.telemetry(4)
    live = world.live()
    put = live.store.put_new

    async def late(key: str, data: bytes) -> base.Created | base.Exists | base.Unavailable:
        if "/replaced/" in key:
            await forgotten(world, PUMP)
        return await put(key, data)

    live.store.put_new = late  # type: ignore[method-assign]
    [one] = await merged(world, live)
    assert one.skipped
    assert await forget.count(world.live(), PUMP) == 0
    assert world.hive_rows() == world.rows() == 12 * READINGS * 4 // 5
    assert await wrongs(world) == []


async def test_what_a_lake_without_its_catalogue_says(world: World) -> None:
    bare = World(replace(world.config, catalog=None))
    with pytest.raises(SettingsError, match="LAKE_CATALOG"):
        await merged(bare)


async def test_a_table_that_is_not_there_yet_has_nothing_to_keep(world: World) -> None:
    assert await merged(world) == ()
    assert (await expired(world)).files == 0
    assert (await forgotten(world, PUMP)).rows == 0
    report = await verify(world.live(), rows=True)
    assert (report.account.findings, report.account.claims) == ((), 0)
