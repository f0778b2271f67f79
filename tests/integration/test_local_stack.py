"""The stack with its real parts: what was acknowledged outlives every kind of end."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import botocore.session
import httpx
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from dotenv import dotenv_values

from infra.local.lock import holder
from infra.local.outside import addresses
from infra.local.part import StackError
from infra.local.parts import NAMES, PARTS
from infra.local.processes import birth, is_running, records
from infra.local.stack import Stack
from tests.waiting import blocking_until, until

pytestmark = pytest.mark.parts

TOPIC = "stack.test"
WORD = b"kept through the crash"
LIMIT_S = 180.0


def wiped() -> dict[str, str]:
    """Our environment without servers of the user's own."""
    variables = {name for spec in PARTS for name in spec.variables}
    return {name: value for name, value in os.environ.items() if name not in variables}


@pytest.fixture(autouse=True)
def _nobody_elses_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for spec in PARTS:
        for name in spec.variables:
            monkeypatch.delenv(name, raising=False)


@pytest.fixture
def orchestrators() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def orchestrate(
    started: list[subprocess.Popen[str]], root: Path, *parts: str
) -> subprocess.Popen[str]:
    """`python -m infra.local up`, once it says that all parts are up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.local", "--root", str(root), "up", *parts],
        stdout=subprocess.PIPE,
        text=True,
        env=wiped(),
    )
    started.append(process)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("All parts are up"):
            return process
    pytest.fail("".join(lines))


def settings(root: Path) -> dict[str, str]:
    return {k: v for k, v in dotenv_values(root / "fieldline.env").items() if v is not None}


def s3(env: dict[str, str]) -> Any:  # noqa: ANN401 - botocore makes its clients at run time
    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=env["S3_ENDPOINT"],
        region_name=env["S3_REGION"],
        aws_access_key_id=env["S3_ACCESS_KEY"],
        aws_secret_access_key=env["S3_SECRET_KEY"],
    )


async def write_kafka(env: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=env["KAFKA_BOOTSTRAP"])
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 4, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=env["KAFKA_BOOTSTRAP"], acks="all")
    await producer.start()
    await producer.send_and_wait(TOPIC, WORD, key=b"acme/one")
    await producer.stop()


async def read_kafka(env: dict[str, str]) -> bytes:
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=env["KAFKA_BOOTSTRAP"], auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        return bytes((await asyncio.wait_for(consumer.getone(), 30)).value)
    finally:
        await consumer.stop()


async def queue_mqtt(env: dict[str, str], folder: Path) -> None:
    """A message at QoS 1 for a bridge that is away, once the broker has saved it."""
    ((host, port),) = addresses(env["MQTT_URL"])
    session = aiomqtt.Client(host, port, identifier="bridge", clean_session=False)
    async with session as bridge:
        await bridge.subscribe("t/#", qos=1)
    async with aiomqtt.Client(host, port) as device:
        await device.publish("t/acme/one", WORD, qos=1)
    store = folder / "mosquitto.db"
    await until(lambda: store.exists() and WORD in store.read_bytes(), "Mosquitto did not save")


async def take_mqtt(env: dict[str, str]) -> bytes:
    ((host, port),) = addresses(env["MQTT_URL"])
    async with aiomqtt.Client(host, port, identifier="bridge", clean_session=False) as bridge:
        async with asyncio.timeout(30):
            async for message in bridge.messages:
                assert isinstance(message.payload, bytes)
                return message.payload
    pytest.fail("no message")


def tryton_knows_us(env: dict[str, str]) -> bool:
    login = {
        "id": 1,
        "method": "common.db.login",
        "params": [env["TRYTON_USER"], {"password": env["TRYTON_PASSWORD"]}, "en"],
    }
    reply = httpx.post(env["TRYTON_URL"] + "/rpc/", json=login, timeout=30, trust_env=False)
    return bool(reply.json().get("result"))


async def test_everything_acknowledged_outlives_a_crash_of_every_part_and_of_the_orchestrator(
    tmp_path: Path, orchestrators: list[subprocess.Popen[str]]
) -> None:
    root = tmp_path / ".local"
    up = await asyncio.to_thread(orchestrate, orchestrators, root)
    env = settings(root)
    await write_kafka(env)
    await queue_mqtt(env, root / "parts" / "mosquitto" / "data")
    ledger = redis.Redis.from_url(env["REDIS_URL"])
    ledger.set("row", WORD)
    s3(env).put_object(Bucket=env["S3_BUCKET"], Key="a/b", Body=WORD)
    assert tryton_knows_us(env)
    assert oct((root / "fieldline.env").stat().st_mode & 0o777) == "0o600"

    running = records(root)
    assert {record.name for record in running} == set(NAMES)
    up.kill()
    up.wait()
    for record in running:
        os.kill(record.pid, signal.SIGKILL)
    blocking_until(lambda: not any(is_running(record) for record in running))

    said: list[str] = []
    stack = Stack(root, say=said.append)
    try:
        assert await asyncio.to_thread(stack.start) == env  # ports and passwords too
        assert await read_kafka(env) == WORD
        assert await take_mqtt(env) == WORD
        assert ledger.get("row") == WORD
        body = s3(env).get_object(Bucket=env["S3_BUCKET"], Key="a/b")["Body"].read()
        assert body == WORD
        assert tryton_knows_us(env)

        for name in NAMES:
            await asyncio.to_thread(stack.stop_part, name, kill=True)
        assert stack.pids == {}
        for name in NAMES:
            await asyncio.to_thread(stack.start_part, name)
        assert await read_kafka(env) == WORD
        assert ledger.get("row") == WORD
        assert stack.dead() == {}
        pids = list(stack.pids.values())
    finally:
        await asyncio.to_thread(stack.stop)
    assert [birth(pid) for pid in pids] == [None] * len(NAMES)
    assert records(root) == []


def test_parts_left_by_a_killed_orchestrator_are_ended_before_new_ones_start(
    tmp_path: Path, orchestrators: list[subprocess.Popen[str]]
) -> None:
    root = tmp_path / ".local"
    up = orchestrate(orchestrators, root, "redis", "mosquitto")
    left = records(root)
    up.kill()
    up.wait()
    assert all(is_running(record) for record in left)
    said: list[str] = []
    stack = Stack(root, say=said.append, only=["redis", "mosquitto"])
    try:
        stack.start()
        assert not any(is_running(record) for record in left)
        assert sum("left by an earlier run" in line for line in said) == 2
    finally:
        stack.stop()


def test_stop_status_and_clean_work_from_another_terminal(
    tmp_path: Path, orchestrators: list[subprocess.Popen[str]]
) -> None:
    root = tmp_path / ".local"
    up = orchestrate(orchestrators, root, "redis")

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "infra.local", "--root", str(root), *words],
            capture_output=True,
            text=True,
            check=False,
            env=wiped(),
        )

    assert holder(root) == up.pid
    shown = command("status").stdout
    assert f"Run by process {up.pid}." in shown
    assert "redis" in shown
    refused = command("up", "redis")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "Another run" in refused.stderr
    assert command("stop").returncode == 0
    assert up.wait(30) == 0
    assert records(root) == []
    assert command("stop").stdout == "Nothing runs here.\n"
    assert command("clean").returncode == 0
    assert not root.exists()


def test_a_redis_of_the_users_is_used_and_one_that_is_away_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Stack(tmp_path / "theirs", say=print, only=["redis"])
    ours = Stack(tmp_path / "ours", say=print, only=["redis", "mosquitto"])
    try:
        url = theirs.start()["REDIS_URL"]
        monkeypatch.setenv("REDIS_URL", url)
        env = ours.start()
        assert env["REDIS_URL"] == url
        assert set(ours.pids) == {"mosquitto"}
        ours.stop()
        theirs.stop_part("redis")
        with pytest.raises(StackError, match="REDIS_URL is set, but nothing takes connections"):
            ours.start()
    finally:
        ours.stop()
        theirs.stop()


def test_redis_has_written_to_disk_before_it_answers(tmp_path: Path) -> None:
    stack = Stack(tmp_path, say=print, only=["redis"])
    try:
        url = stack.start()["REDIS_URL"]
        for number in range(20):
            redis.Redis.from_url(url).set("last", number)
            stack.stop_part("redis", kill=True)
            stack.start_part("redis")
            assert redis.Redis.from_url(url).get("last") == str(number).encode()
        assert redis.Redis.from_url(url).config_get("appendfsync") == {"appendfsync": "always"}
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(url.replace("//:", "//:not")).ping()
    finally:
        stack.stop()
