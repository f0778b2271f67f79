"""A message that cannot be read goes to the quarantine as Kafka gave it, and stops nobody."""

from __future__ import annotations

from typing import Any, cast

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from pipeline.agents.app import Worker
from pipeline.agents.rounds import Message
from pipeline.agents.unreadable import Quarantine
from pipeline.core.quarantine import Reason
from pipeline.wire.avro import Codec, UnreadableError

AT_MS = 1_790_000_000_123


class Sent:
    """A worker's topic that keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []

    def target(self, _topic: str) -> Sent:
        return self

    async def send(self, *, key: bytes, value: bytes) -> None:
        self.messages.append((key, value))


async def test_an_unreadable_message_is_quarantined_with_its_place_bytes_and_time() -> None:
    sent, codec = Sent(), Codec()
    record: ConsumerRecord[Any, Any] = ConsumerRecord(
        "events.business", 3, 42, AT_MS, 0, b"k", b"oops", None, 1, 4, ()
    )
    message = Message(TP("events.business", 3), record)
    quarantine = Quarantine(cast("Worker", sent), codec)
    error = UnreadableError("it is no event")
    await quarantine.send(message, error, reason=Reason.UNREADABLE_EVENT)
    [(key, value)] = sent.messages
    told = codec.decode("quarantined.v1", value)
    assert key == b"events.business/3/42"
    assert told["payload"] == b"oops"
    assert told["received_ms"] == AT_MS
    assert told["reason"] == "unreadable_event"
    assert "it is no event" in told["detail"]
