"""The main job on real parts: undisturbed, with every worker killed, with every part away."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.rig import Moments, Ran, Rig

pytestmark = [pytest.mark.parts, pytest.mark.timeout(400)]

OUTAGE_S = 20.0
_calm: dict[str, Ran] = {}


async def calm(rig: Rig) -> Ran:
    """The undisturbed run of the same sample: what every disturbed run is held against."""
    if "run" not in _calm:
        _calm["run"] = await rig.play()
    return _calm["run"]


def assert_nothing_lost_or_doubled(ran: Ran, undisturbed: Ran) -> None:
    report = ran.report
    open_lines = [line for line in report.lines if not line.closes]
    assert not open_lines
    # Every reading that the devices' journal has is in the lake, once.
    assert report.lake.rows == report.lake.distinct_readings
    assert report.lake.event_rows == report.lake.distinct_events
    # The same alarms as undisturbed, each an order in the ERP once, or with a reason why not.
    assert ran.alarms == undisturbed.alarms
    keys = [order.key for order in report.orders]
    assert len(keys) == len(set(keys)) == report.sinks["tryton"]["delivered"]
    assert dict(report.sinks["tryton"]) == dict(undisturbed.report.sinks["tryton"])
    for kind in ("published", "accepted", "too_late", "quarantined"):
        assert report.readings[kind] == undisturbed.report.readings[kind], kind


async def test_the_sample_arrives_and_the_balance_closes(rig: Rig) -> None:
    ran = await calm(rig)
    report = ran.report
    assert report.closes, [line for line in report.lines if not line.closes]
    assert all(report.readings.values()), "the sample exercises every fate of a reading"
    assert report.sinks["tryton"]["delivered"] > 0
    assert report.sinks["tryton"]["dead_lettered"] > 0
    assert all("VAT" in why for _, _, why in report.dead_letters)
    assert report.lake.files > 0
    assert report.latencies_ms


async def test_every_worker_killed_in_mid_run_loses_and_doubles_nothing(rig: Rig) -> None:
    undisturbed = await calm(rig)

    async def kill_each(moments: Moments) -> None:
        for number, name in enumerate(rig.supervisor.alive(), start=1):
            await moments.sent(0.15 * number)
            await asyncio.to_thread(rig.supervisor.kill, name)

    before = dict(rig.supervisor.restarts)
    ran = await rig.play(disturb=kill_each)
    assert all(n > before[name] for name, n in rig.supervisor.restarts.items())
    assert_nothing_lost_or_doubled(ran, undisturbed)


@pytest.mark.parametrize("part", ["kafka", "redis", "s3proxy", "tryton"])
async def test_a_part_away_for_20_s_pauses_the_run_and_it_catches_up(rig: Rig, part: str) -> None:
    undisturbed = await calm(rig)

    async def take_away(moments: Moments) -> None:
        await moments.sent(0.5)
        await rig.outage(part, OUTAGE_S)

    assert_nothing_lost_or_doubled(await rig.play(disturb=take_away), undisturbed)
