"""The lake's keepers on Azure's and Google's object stores, as far as these are installed."""

from __future__ import annotations

import time

import pytest

from connectors.lake.compact import compact
from connectors.lake.config import LakeConfig
from connectors.lake.expire import Limits, expire
from connectors.lake.live import opened
from connectors.lake.verify import verify
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_keep import DAY_MS
from tests.contract.lake_keep_world import ALL, READINGS, World
from tests.integration.test_lake_cloud import cloud, config

pytestmark = pytest.mark.parts
__all__ = ["cloud", "config"]


async def test_files_are_merged_and_the_replaced_ones_deleted(config: LakeConfig) -> None:
    world = World(config)
    await world.telemetry(3)
    async with opened(config, Dataset.TELEMETRY) as live:
        [one] = await compact(live, ALL, clock=world.clock, token=world.token)
        assert (one.files, one.rows) == (3, 9 * READINGS)
        listed = await live.listed("telemetry/date=")
        now_ms = time.time_ns() // 1_000_000
        assert len(listed) == 4
        assert all(abs(now_ms - found.changed_ms) < DAY_MS for found in listed)
        assert sum(found.size for found in listed) == one.size + one.size_after
        world.now_ms = now_ms + DAY_MS
        limits = Limits(grace_ms=0, keep_days=0)
        freed = await expire(live, limits, clock=world.clock, token=world.token)
        assert freed.files == 3
        assert len(await live.listed("telemetry/date=")) == 1
        report = await verify(live, rows=True)
    assert (report.account.findings, report.account.sums) == ((), 9 * READINGS)
