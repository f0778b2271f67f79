"""The main job on real parts: undisturbed, with every worker killed, with every part away."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from connectors import registry
from connectors.settings import make as make_settings
from infra.local.parts import SANDBOXES
from infra.local.report import RunReport
from pipeline.ops import deadletters
from pipeline.simulate.player import Knobs
from pipeline.wire.avro import Codec
from tests.integration.rig import Moments, Rig

pytestmark = [pytest.mark.parts, pytest.mark.timeout(400)]

OUTAGE_S = 20.0


async def assert_nothing_lost_or_doubled(rig: Rig, report: RunReport) -> None:
    assert not [line for line in report.lines if not line.closes]
    # Every reading that the devices' journal has is in the lake, once; so is every event.
    assert report.lake.rows == report.lake.distinct_readings
    assert report.lake.event_rows == report.lake.distinct_events
    # The events are what the pure core makes of the same log: no state lost or applied twice.
    assert await rig.events_in_kafka() == await rig.events_by_the_log()
    # Each delivered event is one order in the ERP, or changes one.
    keys = [order.key for order in report.orders]
    tryton = report.sinks["tryton"]
    assert len(keys) == len(set(keys)) == tryton["delivered"] - tryton["changes"] > 0
    assert report.sinks["tryton"]["waiting"] == report.sinks["lake"]["waiting"] == 0
    # The other systems' own journals: each record made once.
    for system in SANDBOXES:
        assert report.sinks[system]["delivered"] > report.sinks[system]["waiting"] == 0
        url = make_settings(registry.system(system).settings).url
        async with httpx.AsyncClient(trust_env=False) as client:
            effects = (await client.get(f"{url}/_control/journal")).json()
        made = Counter((e["kind"], e["key"]) for e in effects if e["op"] == "create")
        assert made
        assert set(made.values()) == {1}


async def test_the_sample_arrives_and_the_balance_closes(rig: Rig) -> None:
    report = await rig.play()
    await assert_nothing_lost_or_doubled(rig, report)
    assert all(report.readings.values()), "the sample exercises every fate of a reading"
    assert report.sinks["tryton"]["dead_lettered"] > 0
    assert all("VAT" in why for _, _, why in report.dead_letters)
    assert report.lake.files > 0
    assert report.latencies_ms


async def test_every_worker_killed_in_mid_run_loses_and_doubles_nothing(rig: Rig) -> None:
    async def kill_each(moments: Moments) -> None:
        names = rig.supervisor.alive()
        for number, name in enumerate(names, start=1):
            await moments.sent(number / (len(names) + 1))
            await asyncio.to_thread(rig.supervisor.kill, name)

    before = dict(rig.supervisor.restarts)
    report = await rig.play(disturb=kill_each)
    assert all(n > before[name] for name, n in rig.supervisor.restarts.items())
    await assert_nothing_lost_or_doubled(rig, report)


async def test_second_workers_that_join_die_and_leave_lose_and_double_nothing(rig: Rig) -> None:
    command = str(Path(sys.executable).with_name("fieldline"))
    roles = ("detect", "archive", "deliver-tryton")

    async def join_die_and_leave(moments: Moments) -> None:
        await moments.sent(0.2)
        for role in roles:
            rig.supervisor.start(f"{role}-1", (command, "worker", role, "--instance", "1"))
        await moments.sent(0.6)
        for role in roles:
            await asyncio.to_thread(rig.supervisor.kill, f"{role}-1")
        await moments.sent(0.9)
        for role in roles:
            await asyncio.to_thread(rig.supervisor.stop, f"{role}-1")

    await assert_nothing_lost_or_doubled(rig, await rig.play(disturb=join_die_and_leave))


@pytest.mark.parametrize("part", ["kafka", "redis", "s3proxy", "tryton"])
async def test_a_part_away_for_20_s_pauses_the_run_and_it_catches_up(rig: Rig, part: str) -> None:
    async def take_away(moments: Moments) -> None:
        await moments.sent(0.5)
        await rig.outage(part, OUTAGE_S)

    report = await rig.play(disturb=take_away)
    await assert_nothing_lost_or_doubled(rig, report)


async def test_a_dead_letter_is_delivered_once_after_the_cause_is_mended(rig: Rig) -> None:
    await rig.play(Knobs(engines=30, speed=600.0))
    entries = await deadletters.read(rig.settings, Codec(), "tryton")
    entry = entries[-1]
    assert "VAT" in entry.record["message"]
    before = await rig.orders()
    await rig.mend_registry("FI1234567,", "FI20774740,")
    for _ in range(2):
        async with deadletters.Results(rig.settings, Codec(), "tryton") as results:
            await deadletters.replay(rig.settings, Codec(), [entry], replay_id="r1")
            ends = await results.of([entry.event_id], seconds=60)
        assert ends == {entry.event_id: "delivered"}
    made = Counter(await rig.orders()) - Counter(before)
    assert made == {entry.event_id: 1}
