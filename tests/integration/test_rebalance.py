"""Workers that come, go, die, freeze and hang, on a real Kafka: nothing is lost, nothing waits."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import rocksdict
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CommitFailedError
from faust.stores.rocksdb import Store

from pipeline.agents.halt import HALTED
from pipeline.settings import Settings
from pipeline.state.table import REBUILT
from pipeline.topology import DETECT_STATE, EVENTS, READINGS
from pipeline.wire import kafka
from tests.crash.command import OTHERS
from tests.integration.rebalance_world import DEADLINE_S, Trickle, World, world
from tests.waiting import until

pytestmark = pytest.mark.parts

HANGING = """
import asyncio, sys
import faust
from pipeline import logs
from pipeline.agents.app import Worker
from pipeline.settings import load

worker = Worker(load(), role="fanout", instance=0, sinks=())

async def hang(hand):
    if sys.argv[1] == "finishing":
        await asyncio.Event().wait()
    hand.acknowledge()
    worker.app.consumer.pause_partitions(worker.app.consumer.assignment())

worker.agent(worker.source("events.business"), hang, name="hanging", limit=1)
logs.configure()
faust.Worker(
    worker.app, loglevel="INFO", override_logging=False, redirect_stdouts=False, quiet=True
).execute_from_commandline()
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # Other tests of the session have parts of their own in the environment: here it is ours.
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(OTHERS)]:
            patch.delenv(name)
        with world(tmp_path_factory.mktemp("rebalance")) as made:
            yield made


@pytest.fixture(autouse=True)
def _no_worker_is_left(parts: World) -> Iterator[None]:
    yield
    parts.workers.stop()


async def test_workers_that_join_leave_and_die_lose_nothing_and_keep_the_order(
    parts: World,
) -> None:
    workers = parts.workers
    async with Trickle(parts.settings).running() as trickle:
        await workers.join(0)
        await trickle.flowing()
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            await workers.join(1)
            await trickle.flowing(0.5)
            code = await workers.end(1, number)
            assert code == (0 if number is signal.SIGTERM else -number)
            await trickle.flowing(0.5)
        await workers.end(0, signal.SIGKILL)
        await workers.join(0)
    assert trickle.in_order()


async def test_a_worker_that_was_frozen_longer_than_its_session_comes_back(parts: World) -> None:
    workers = parts.workers
    async with Trickle(parts.settings).running() as trickle:
        await workers.join(0)
        await workers.join(1)
        await trickle.flowing()
        workers.send(1, signal.SIGSTOP)
        await until(lambda: not trickle.flows(), lambda: "the frozen worker had no partition")
        await trickle.flowing()
        seen = workers.said(1, "Worker ready")
        workers.send(1, signal.SIGCONT)
        await until(lambda: workers.said(1, "Worker ready") > seen, lambda: "it did not come back")
        await trickle.flowing()
    assert trickle.in_order()


async def test_a_worker_that_is_asked_to_end_has_committed_all_and_left_its_group(
    parts: World,
) -> None:
    async with Trickle(parts.settings).running() as trickle:
        await parts.workers.join(0)
        await trickle.flowing()
    assert await parts.workers.end(0) == 0
    admin: AIOKafkaAdminClient = kafka.admin(parts.settings)
    await admin.start()
    try:
        committed = await admin.list_consumer_group_offsets("fieldline-detect")
        [answer] = await admin.describe_consumer_groups(["fieldline-detect"])
    finally:
        await admin.close()
    found = {tp.partition: o.offset for tp, o in committed.items() if tp.topic == READINGS}
    assert found == {partition: last + 1 for partition, last in trickle.sent.items()}
    assert answer.groups[0][2] == "Empty"


async def test_every_local_copy_is_exactly_the_changelog_up_to_its_offset(parts: World) -> None:
    workers = parts.workers
    async with Trickle(parts.settings).running() as trickle:
        await workers.join(0)
        for _ in range(3):
            await workers.join(1)
            await trickle.flowing(0.5)
            await workers.end(1)
            await trickle.flowing(0.5)
        await workers.join(1)
        await trickle.flowing()
    await workers.end(1)
    await workers.end(0)
    logged: dict[int, list[tuple[int, bytes, bytes]]] = defaultdict(list)
    for message in await kafka.read_all(parts.settings, DETECT_STATE):
        logged[message.partition].append((message.offset, message.key, message.value))
    for instance in (0, 1):
        found = databases(parts.settings, instance)
        assert sorted(found) == [0, 1, 2, 3], "two workers: each has its own and the other's"
        for partition, (offset, rows) in found.items():
            assert offset >= 0
            wanted = {key: value for at, key, value in logged[partition] if at <= offset}
            assert rows == wanted, f"worker {instance} partition {partition} at {offset}"


async def test_a_changelog_that_ends_in_a_marker_does_not_hold_up_the_start(parts: World) -> None:
    workers, settings = parts.workers, parts.settings
    async with Trickle(settings).running() as trickle:
        await workers.join(0)
        await trickle.flowing()
    refused = rebuild(parts)
    assert refused.returncode == 1
    assert re.search(r"A worker \(process \d+\) uses .*: stop it first", refused.stderr)
    await workers.end(0)
    assert "Deleted the local copy" in rebuild(parts).stdout
    await end_in_a_marker(settings)
    async with Trickle(settings).running() as trickle:
        await workers.join(0)
        await trickle.flowing()
    await workers.end(0)
    assert workers.said(0, "changelog ends without a record")


async def test_a_state_that_is_gone_is_told_instead_of_counting_everything_anew(
    parts: World,
) -> None:
    workers, settings = parts.workers, parts.settings
    async with Trickle(settings).running() as trickle:
        await workers.join(0)
        await trickle.flowing()
    await workers.end(0)
    rebuild(parts)
    await empty(settings)
    told = "move the group back with kafka-consumer-groups.sh --group fieldline-detect"
    async with Trickle(settings).running() as trickle:
        for _ in range(settings.partitions + 1):  # each has its changelog read again first
            workers.start(0)
            assert await workers.ended(0) == HALTED
            if workers.said(0, told):
                break
        assert workers.said(0, told)
        await move_back(settings)
        await workers.join(0)
        await trickle.flowing()


async def test_a_recovery_without_an_end_ends_the_worker_with_one_sentence(parts: World) -> None:
    workers = parts.workers
    began = workers.said(0, "(Re-)joining group")
    workers.start(0, FIELDLINE_RECOVERY_S="5")
    await until(lambda: workers.said(0, "(Re-)joining group") > began, lambda: "it never joined")
    broker = parts.stack.pids["kafka"]
    os.kill(broker, signal.SIGSTOP)
    try:
        assert await workers.ended(0) == HALTED
    finally:
        os.kill(broker, signal.SIGCONT)
    assert workers.said(0, "has not ended in 5 s") == 1
    async with Trickle(parts.settings).running() as trickle:
        await workers.join(0)
        await trickle.flowing()


@pytest.mark.parametrize("kind", ["finishing", "reading"])
async def test_a_partition_that_stands_still_ends_the_worker(parts: World, kind: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HANGING,
        kind,
        env=parts.workers.environment(FIELDLINE_STALL_S="5"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        ended = asyncio.create_task(process.communicate())
        async with kafka.producer(parts.settings) as producer, asyncio.timeout(DEADLINE_S):
            while not (await asyncio.wait({ended}, timeout=0.2))[0]:
                await producer.send_and_wait(EVENTS, b"anything", key=b"d", partition=2)
        output, _ = await ended
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = output.decode()
    assert process.returncode == HALTED, said
    [line] = [line for line in said.splitlines() if '"critical"' in line]
    assert "Topic events.business partition 2 stands still at offset" in line
    assert ("none was finished" if kind == "finishing" else "none was read") in line


def rebuild(parts: World) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        parts.workers.command("state", "rebuild", "--instance", "0"),
        env=parts.workers.environment(COLUMNS="500"),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def databases(settings: Settings, instance: int) -> dict[int, tuple[int, dict[bytes, bytes]]]:
    """Changelog offset and rows of each partition that a stopped worker has a copy of."""
    found = {}
    for path in (settings.data_dir / f"detect-{instance}").glob("**/devices-*.db"):
        opened = rocksdict.Rdict(
            str(path),
            rocksdict.Options(raw_mode=True),
            access_type=rocksdict.AccessType.read_only(),
        )
        rows: dict[Any, Any] = dict(opened.items())
        opened.close()
        rows.pop(REBUILT, None)
        offset = int(rows.pop(Store.offset_key, b"-1"))
        found[int(path.stem.rpartition("-")[2])] = (offset, rows)
    return found


async def end_in_a_marker(settings: Settings) -> None:
    """The last offset of each partition is a transaction's commit marker, which is no record."""
    last = {m.partition: m for m in await kafka.read_all(settings, DETECT_STATE)}
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap, transactional_id="markers"
    )
    await producer.start()
    try:
        async with producer.transaction():
            for partition, m in last.items():
                await producer.send_and_wait(DETECT_STATE, m.value, key=m.key, partition=partition)
    finally:
        await producer.stop()


async def move_back(settings: Settings) -> None:
    """What the worker's sentence asks for, of all partitions."""
    consumer = kafka.consumer(settings, group="fieldline-detect")
    await consumer.start()
    try:
        partitions = [TopicPartition(READINGS, p) for p in range(settings.partitions)]
        consumer.assign(partitions)

        async def moved() -> bool:
            try:
                await consumer.commit(dict.fromkeys(partitions, 0))
            except CommitFailedError:
                return False  # until its session is over, a worker that halted is a member
            return True

        await until(moved, "the group still has members")
    finally:
        await consumer.stop()


async def empty(settings: Settings) -> None:
    """Every record of the changelog is deleted, as somebody might who is short of space."""
    partitions = [TopicPartition(DETECT_STATE, p) for p in range(settings.partitions)]
    reader = kafka.consumer(settings)
    await reader.start()
    admin: AIOKafkaAdminClient = kafka.admin(settings)
    await admin.start()
    try:
        ends = await reader.end_offsets(partitions)
        for policy in ("delete", "compact"):
            await admin.alter_configs(
                [
                    ConfigResource(
                        ConfigResourceType.TOPIC, DETECT_STATE, configs={"cleanup.policy": policy}
                    )
                ]
            )
            if policy == "delete":
                await admin.delete_records(
                    {tp: RecordsToDelete(before_offset=end) for tp, end in ends.items()}
                )
    finally:
        await admin.close()
        await reader.stop()
