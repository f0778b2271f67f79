"""Our clients against a real broker that asks for a password."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka.errors import KafkaError

from infra.local.kafka import Kafka
from infra.local.parts import PARTS, Spec
from infra.local.stack import Stack
from pipeline.ops import topics
from pipeline.settings import Settings
from pipeline.topology import EVENTS
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka

pytestmark = pytest.mark.parts

LOGIN = """
listener.name.client.sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.client.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required \
username="broker" password="b" user_broker="b" user_fieldline="right";
"""


class LockedKafka(Kafka):
    """The local broker, with SASL on the listener that clients use."""

    def prepare(self) -> None:
        super().prepare()
        text = self._config.read_text(encoding="utf-8")
        locked = text.replace("CLIENT:PLAINTEXT", "CLIENT:SASL_PLAINTEXT") + LOGIN
        self._config.write_text(locked, encoding="utf-8")

    def ready(self) -> bool:
        return asyncio.run(lets_in(settings(f"127.0.0.1:{self.port}", "right")))


async def lets_in(ours: Settings) -> bool:
    admin = kafka.admin(ours)
    try:
        await admin.start()
    except KafkaError:
        return False
    finally:
        await admin.close()
    return True


def locked(spec: Spec) -> Spec:
    return Spec(
        name=spec.name,
        ports=spec.ports,
        variables=spec.variables,
        build=lambda ports, folder, log_dir: LockedKafka(
            port=ports["kafka"],
            controller_port=ports["kafka-controller"],
            folder=folder,
            log_dir=log_dir,
        ),
    )


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("locked")
    parts = tuple(locked(spec) for spec in PARTS if spec.name == "kafka")
    stack = Stack(root, say=lambda _: None, parts=parts)
    try:
        yield stack.start()["KAFKA_BOOTSTRAP"]
    finally:
        stack.stop()


def settings(broker: str, password: str) -> Settings:
    return Settings(
        kafka_bootstrap=broker,
        kafka_security="SASL_PLAINTEXT",
        kafka_username="fieldline",
        kafka_password=password,
    )


async def test_with_the_password_topics_are_made_written_and_read(broker: str) -> None:
    ours = settings(broker, "right")
    admin = kafka.admin(ours)
    await admin.start()
    try:
        await topics.create(admin, all_topics(("lake",)), ours)
    finally:
        await admin.close()
    producer, consumer = kafka.producer(ours), kafka.consumer(ours)
    await producer.start()
    await consumer.start()
    try:
        sent = await producer.send_and_wait(EVENTS, b"x", partition=0)
        partitions = await kafka.topic_partitions(consumer, [EVENTS])
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        got = await consumer.getone()
        assert (got.offset, got.value) == (sent.offset, b"x")
    finally:
        await producer.stop()
        await consumer.stop()


async def test_without_it_nothing_is_let_in(broker: str) -> None:
    admin = kafka.admin(settings(broker, "wrong"))
    with pytest.raises(KafkaError):
        await admin.start()
    await admin.close()
