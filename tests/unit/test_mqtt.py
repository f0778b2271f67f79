# ruff: noqa: SLF001 - private parts are what this file is about
"""The private parts of aiomqtt, paho and aiokafka that we stand on: a release that changes
one must fail here, not in the field."""

from __future__ import annotations

import asyncio
import inspect
import socket

import paho.mqtt.client as paho
import pytest
from aiokafka import AIOKafkaProducer

from pipeline.bridge.mqtt import Address, ConnectionLostError, Inbox, Message, Outbox
from pipeline.settings import Settings, SettingsError
from pipeline.wire import kafka

NOWHERE = Address("127.0.0.1", 9, tls=False)


def inbox() -> Inbox:
    return Inbox(NOWHERE, client_id="test", receive_maximum=10, session_expiry_s=60)


async def test_the_client_acknowledges_by_hand_from_before_it_connects() -> None:
    client = inbox()._client._client
    assert isinstance(client, paho.Client)
    assert client._manual_ack is True
    assert list(inspect.signature(client.ack).parameters) == ["mid", "qos"]


async def test_arrivals_come_straight_from_paho_and_wake_the_waiter() -> None:
    box = inbox()
    message = paho.MQTTMessage(mid=7, topic=b"telemetry/acme/engine-001")
    message.payload, message.qos = b"{}", 1
    assert box._client._client.on_message == box._on_message
    box._client._client.on_message(box._client._client, None, message)
    assert box._wake.is_set()
    (received,) = await box.receive(5, 0.0)
    assert (received.topic, received.payload, received.qos, received.mid) == (
        "telemetry/acme/engine-001",
        b"{}",
        1,
        7,
    )


async def test_acknowledgements_of_one_turn_are_one_write_of_the_packets_paho_would_send() -> None:
    box = inbox()
    sent: list[bytes] = []
    box._lost = asyncio.get_running_loop().create_future()
    box._paho._packet_queue = lambda _command, packet, _mid, _qos: sent.append(packet)
    for mid in (1, 300):
        box.acknowledge(Message("t", b"", 1, mid))
    box.acknowledge(Message("t", b"", 0, 0))
    await asyncio.sleep(0)
    theirs: list[bytes] = []
    box._paho._packet_queue = lambda _command, packet, _mid, _qos: theirs.append(packet)
    for mid in (1, 300):
        box._paho._send_puback(mid)
    assert sent == [b"".join(theirs)]
    names = list(inspect.signature(paho.Client._packet_queue).parameters)
    assert names[:5] == ["self", "command", "packet", "mid", "qos"]


async def test_the_sign_of_a_lost_connection_is_a_future() -> None:
    assert isinstance(inbox()._client._disconnected, asyncio.Future)


async def test_paho_calls_our_handlers_of_connect_and_publish() -> None:
    box = Outbox(NOWHERE, client_id="test", window=5, on_ack=lambda *_: None)
    assert box._paho.on_publish == box._on_publish
    assert box._paho.on_connect == box._on_connect
    assert box._connected == box._client._on_connect
    assert box._paho.max_inflight_messages == 5


async def test_a_broker_that_is_away_is_a_lost_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", unused.getsockname()[1], tls=False)
        with pytest.raises(ConnectionLostError, match="cannot be reached"):
            async with Outbox(address, client_id="t", window=1, on_ack=lambda *_: None):
                pass


async def test_a_kafka_producer_can_be_abandoned_by_its_private_parts() -> None:
    producer = kafka.producer(Settings(), client_id="test")
    assert isinstance(producer, AIOKafkaProducer)
    assert producer._sender.sender_task is None
    assert producer._closed is False
    assert inspect.iscoroutinefunction(producer.client.close)
    await kafka.abandon(producer)
    assert producer._closed is True


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://127.0.0.1", Address("127.0.0.1", 1883, tls=False)),
        ("mqtts://broker.example", Address("broker.example", 8883, tls=True)),
        ("mqtt://u:p%40ss@[::1]:99", Address("::1", 99, tls=False, username="u", password="p@ss")),
    ],
)
def test_an_mqtt_url_is_taken_apart(url: str, expected: Address) -> None:
    assert Address.parse(url) == expected


@pytest.mark.parametrize("url", ["", "127.0.0.1:1883", "http://x", "mqtt://", "mqtt://h:port"])
def test_an_unusable_mqtt_url_is_refused_with_the_mend(url: str) -> None:
    with pytest.raises(SettingsError, match="write mqtt://"):
        Address.parse(url)


def test_neither_a_password_nor_its_url_is_shown() -> None:
    assert "secret" not in repr(Address.parse("mqtt://u:secret@h"))
    with pytest.raises(SettingsError) as error:
        Address.parse("http://u:secret@h")
    assert "secret" not in str(error.value)
