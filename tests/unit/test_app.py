from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.agents import app
from pipeline.agents.app import Worker, make_app
from pipeline.agents.membership import FETCH_WAIT_MS, Membership, now_s
from pipeline.agents.recovery import BoundedRecovery
from pipeline.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, recovery_s=77.0)


class Coordinator:
    """aiokafka's, as far as Membership uses it."""

    def __init__(self) -> None:
        self.taken = True
        self.started = 0

    async def _do_heartbeat(self) -> bool:
        return self.taken

    def _start_heartbeat_task(self) -> None:
        self.started += 1


def test_only_the_role_with_a_table_keeps_standbys_and_recovery_is_bounded(
    settings: Settings,
) -> None:
    for role, standbys in (("detect", 1), ("fanout", 0), ("deliver-tryton", 0), ("archive", 0)):
        made = make_app(settings, role=role, instance=2)
        assert made.conf.table_standby_replicas == standbys
        assert made.conf.consumer_group_instance_id == f"fieldline-{role}-2"
        # Two heartbeats may be lost, and one worker's longest wait is not the whole group's.
        assert made.conf.broker_heartbeat_interval * 3 <= made.conf.broker_session_timeout


async def test_recovery_is_ours_and_has_the_settings_limit(settings: Settings) -> None:
    made = make_app(settings, role="detect", instance=3)
    recovery = cast("Any", made.tables).recovery
    assert isinstance(recovery, BoundedRecovery)
    said = vars(recovery)
    assert 77.0 in said.values()
    assert any("fieldline state rebuild --instance 3" in str(value) for value in said.values())


def test_roles_that_wait_for_a_target_are_patient() -> None:
    assert "archive".startswith(app.PATIENT)
    assert "deliver-tryton".startswith(app.PATIENT)
    assert not "detect".startswith(app.PATIENT)
    assert not "fanout".startswith(app.PATIENT)


async def test_a_lease_lasts_a_session_from_the_last_heartbeat_that_was_taken(
    settings: Settings,
) -> None:
    membership = Membership(make_app(settings, role="fanout", instance=0), session_s=10.0)
    assert membership.lease_s() == 0.0, "nothing was heard yet"
    coordinator: Any = Coordinator()
    before = now_s()
    await membership.joined(coordinator)
    assert coordinator.started == 1
    left = membership.lease_s()
    assert 10.0 - (now_s() - before) <= left <= 10.0
    coordinator.taken = False
    await coordinator._do_heartbeat()  # noqa: SLF001 - as aiokafka's own task does
    assert membership.lease_s() <= left, "one that was refused renews nothing"
    coordinator.taken = True
    await membership.joined(coordinator)
    assert membership.lease_s() > 9.0 - (now_s() - before)
    membership.end()
    assert membership.lease_s() == 0.0
    assert not membership.holds()


async def test_state_is_written_only_while_the_lease_holds(settings: Settings) -> None:
    worker = Worker(settings, role="fanout", instance=0, sinks=())
    waiting = asyncio.create_task(worker.leased())
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done, "a worker that the group has not heard of waits"
    coordinator: Any = Coordinator()
    await worker.membership.joined(coordinator)
    await asyncio.wait_for(waiting, 30)


async def test_the_consumer_asks_for_short_fetches(settings: Settings) -> None:
    worker = Worker(settings, role="fanout", instance=0, sinks=())
    worker.app.finalize()
    consumer: Any = worker.app.consumer
    client = consumer._thread._create_worker_consumer(worker.app.transport)  # noqa: SLF001 - Faust's
    assert client._fetch_max_wait_ms == FETCH_WAIT_MS  # noqa: SLF001 - aiokafka's
