"""A table whose worker's wall clock jumps: its snapshots still follow each other in time."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from connectors.lake.catalog import NAMESPACE, open_catalog
from connectors.lake.config import LakeConfig
from connectors.lake.lake import make_table
from pipeline.core.archive import Claim, Seen
from pipeline.core.lake_columns import Dataset
from pipeline.settings import Settings
from tests.crash.lake_world import CLOCKS_S


def empty(first: int) -> Claim:
    return Claim(
        topic="sink.lake",
        partition=0,
        first=first,
        last=first,
        seen_before=Seen(),
        seen=Seen(),
        messages=1,
        files=(),
    )


async def test_snapshots_rise_in_time_though_the_clock_goes_ahead_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_URL", f"file://{tmp_path}/lake")
    monkeypatch.setenv("LAKE_CATALOG", f"sqlite:///{tmp_path}/catalogue.db")
    config = LakeConfig.from_settings(Settings())
    table = make_table(config, Dataset.EVENTS)
    assert table is not None
    await table.open()
    true = time.time
    for first, offset_s in enumerate((0.0, *CLOCKS_S, 0.0)):
        monkeypatch.setattr(time, "time", lambda by=offset_s: true() + by)
        assert await table.register(empty(first), []) is None
    made = open_catalog(config).load_table((NAMESPACE, "events"))
    times = [one.timestamp_ms for one in made.snapshots()]
    assert len(times) == len(CLOCKS_S) + 2
    assert all(before < after for before, after in pairwise(times))
    logged = [one.timestamp_ms for one in made.metadata.snapshot_log]
    assert logged == sorted(logged)
    assert made.metadata.last_updated_ms >= times[-1]
