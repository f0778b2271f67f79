"""The lake's catalogue when it is locked, away or wrong, and what it keeps of the past."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.table.snapshots import Snapshot

from connectors.lake import base, iceberg_change
from connectors.lake.iceberg import IcebergTable, standings
from pipeline.core.archive import Claim, Resume, Seen
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_records import Shape
from tests.contract.lake_tables import READINGS, TOPIC, Lake, batch
from tests.waiting import until

SECRET = "hunter2"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.fixture
def silent() -> Iterator[int]:
    """Port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_locked_catalogue_is_a_retry_in_time_and_heals(lake: Lake) -> None:
    table = IcebergTable(lake.config(call_s=1.0, read_s=5.0), Dataset.TELEMETRY)

    async def made() -> bool:
        # A second is short for the first call on a busy machine.
        return isinstance(await table.open(), Shape)

    await until(made)
    lock = sqlite3.connect(lake.catalogue, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    before = time.monotonic()
    assert isinstance(await table.standing(TOPIC, 0), base.Retry)
    assert isinstance(await table.standing(TOPIC, 0), base.Retry)
    assert time.monotonic() - before < 20
    lock.close()
    writer = lake.writer(table=table)

    async def open_again() -> Resume | base.Halt | None:
        answer = await writer.open(TOPIC, 0)
        return None if isinstance(answer, base.Retry) else answer

    assert isinstance(await until(open_again), Resume)
    for offset in range(10):
        writer.offer(0, offset, batch(offset))

    async def flush_again() -> base.FlushResult | None:
        answer = await writer.flush(0)
        return None if isinstance(answer, base.Retry) else answer

    assert isinstance(await until(flush_again), base.Flushed)
    assert lake.rows().num_rows == 10 * READINGS


@pytest.mark.parametrize(
    "address",
    [
        f"http://client:{SECRET}@127.0.0.1:PORT/",
        f"http://:{SECRET}@127.0.0.1:PORT/?warehouse=w",
        f"http://:{SECRET}@127.0.0.1:1/",
        f"postgresql+psycopg2://user:{SECRET}@127.0.0.1:PORT/lake",
        f"postgresql+psycopg2://user:{SECRET}@127.0.0.1:1/lake",
        f"nothing://user:{SECRET}@127.0.0.1/lake",
        f"mysql+nothing://user:{SECRET}@127.0.0.1/lake",
        f"{SECRET}",
        f"sqlite:////nowhere/{SECRET}/catalogue.db",
    ],
)
async def test_a_catalogue_that_is_away_is_a_retry_in_time_without_secrets(
    lake: Lake, silent: int, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = lake.config(
        address.replace("PORT", str(silent)), connect_s=1.0, read_s=1.0, call_s=8.0
    )
    table = IcebergTable(config, Dataset.TELEMETRY)
    before = time.monotonic()
    answer = await table.open()
    assert time.monotonic() - before < 60
    assert isinstance(answer, base.Retry)
    assert "LAKE_CATALOG" in answer.reason
    for told in (answer.reason, repr(table), repr(config), caplog.text):
        assert SECRET not in told


def snapshot(number: int, at_ms: int) -> Snapshot:
    return Snapshot(snapshot_id=number, timestamp_ms=at_ms, manifest_list="")


@given(st.lists(st.integers(0, 5_000), max_size=500), st.sets(st.integers(0, 500)))
def test_dropped_snapshots_are_old_and_named_by_nothing(ages_s: list[int], kept: set[int]) -> None:
    all_ = [snapshot(number, 10**9 - age * 1000) for number, age in enumerate(ages_s)]
    gone = set(iceberg_change.expired(all_, kept))
    left = [one for one in all_ if one.snapshot_id not in gone]
    assert not gone & kept
    assert len(left) >= min(len(all_), iceberg_change.FEWEST)
    assert len(left) <= iceberg_change.MOST + len(kept)
    youngest_gone = max((one.timestamp_ms for one in all_ if one.snapshot_id in gone), default=0)
    assert all(one.timestamp_ms >= youngest_gone for one in left if one.snapshot_id not in kept)


async def test_metadata_does_not_grow_with_the_number_of_commits(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iceberg_change, "MOST", iceberg_change.FEWEST)
    table = lake.table()
    await table.open()
    sizes = []
    for offset in range(iceberg_change.FEWEST + 15):
        claim = Claim(
            topic=TOPIC,
            partition=0,
            first=offset,
            last=offset,
            seen_before=Seen(),
            seen=Seen(),
            messages=1,
            files=(),
        )
        assert await table.register(claim, ()) is None
        loaded = lake.loaded()
        sizes.append(len(loaded.io.new_input(loaded.metadata_location)))
    assert len(loaded.snapshots()) == iceberg_change.FEWEST
    assert max(sizes) - sizes[-10] < 500
    assert len(list((lake.root / "lake/telemetry/_iceberg").glob("*.metadata.json"))) <= 21
    assert standings(loaded)[TOPIC, 0].last == iceberg_change.FEWEST + 14
