"""The timeseries worker on a real Kafka and PostgreSQL: outages and deaths leave each row once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pipeline.core.telemetry import DeduplicatedBatch
from pipeline.settings import Settings
from pipeline.topology import DEDUPLICATED, QUARANTINE
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import encode_deduplicated
from tests.contract.timeseries_examples import batch, fleet, sample
from tests.crash.command import OTHERS
from tests.integration.postgres_server import PASSWORD, USER, Postgres
from tests.integration.rebalance_world import Workers, World, world
from tests.waiting import until

pytestmark = pytest.mark.parts


class Timeseries(Workers):
    """Workers of that role."""

    def command(self, *arguments: str) -> list[str]:
        return super().command(*(one.replace("detect", "timeseries") for one in arguments))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # Other tests of the session have parts of their own in the environment: here it is ours.
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(OTHERS)]:
            patch.delenv(name)
        with world(tmp_path_factory.mktemp("timeseries")) as made:
            yield made


async def send(settings: Settings, *messages: DeduplicatedBatch | bytes) -> None:
    producer = kafka.producer(settings)
    await producer.start()
    try:
        for number, one in enumerate(messages):
            value = one if isinstance(one, bytes) else encode_deduplicated(Codec(), one)
            partition = number % settings.partitions
            await producer.send_and_wait(DEDUPLICATED, value, partition=partition)
    finally:
        await producer.stop()


async def rows(server: Postgres) -> list[Any]:
    [there] = await server.fetch("SELECT to_regclass('telemetry') IS NOT NULL")
    return await server.fetch("SELECT device_id, value FROM telemetry") if there[0] else []


async def test_every_reading_is_one_row_whatever_dies_in_between(parts: World) -> None:
    started = parts.workers
    async with Postgres() as server:
        env = {
            "TIMESERIES_URL": server.url,
            "TIMESERIES_USERNAME": USER,
            "TIMESERIES_PASSWORD": PASSWORD,
        }
        workers = Timeseries(started.environment(**env), started._folder)  # noqa: SLF001 - one suite
        messages = [fleet(offset=n) for n in range(40)]
        try:
            await workers.join(0)
            await send(parts.settings, *messages[:10])
            await until(lambda: has(server, 240), "the first rows do not come")

            server.kill()
            await send(parts.settings, *messages[10:20])
            await until(lambda: workers.said(0, "time-series store waits"), "it does not wait")
            await server.start()
            await until(lambda: has(server, 480), "nothing comes after the outage")

            await send(parts.settings, *messages[20:30])
            await workers.end(0, signal.SIGKILL)
            await workers.join(0)
            await send(parts.settings, *messages[30:])
            await until(lambda: has(server, 960), "nothing comes after the kill")

            bad = replace(sample("acme/odd"), readings=(("ok", 1.0), ("bad", float("inf"))))
            await send(parts.settings, b"no batch", batch([bad]), batch([sample("acme/last")]))
            await until(lambda: has(server, 962), "the bad point held up the good ones")
            assert await workers.end(0) == 0
        finally:
            workers.stop()
    quarantined = await kafka.read_all(parts.settings, QUARANTINE)
    assert [message.key for message in quarantined] == [b"acme/odd"]


async def has(server: Postgres, wanted: int) -> bool:
    found = len(await rows(server))
    assert found <= wanted, "a row is there twice"
    return found == wanted


async def test_a_worker_without_an_address_says_what_to_set(parts: World) -> None:
    command = parts.workers.command("worker", "timeseries")
    process = await asyncio.create_subprocess_exec(
        *command,
        env=parts.workers.environment(TIMESERIES_URL=""),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode != 0
    assert b"timeseries" in said
    assert b"Traceback" not in said
