"""What a worker puts into its sink's DLQ: everything a person needs to decide."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pipeline.agents.app import Worker
from pipeline.topology import dlq_topic
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.cloudevents import trace_parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why an event needs a person. Fields as in schemas/avro/dead_letter."""

    cause_class: str
    code: str
    message: str
    answer: str | None
    attempts: int
    event_id: str = ""
    tenant: str = ""


def unreadable(error: UnreadableError) -> Cause:
    """The cause of a message that is no BusinessEvent."""
    return Cause(
        cause_class="unreadable",
        code="unreadable",
        message=f"The message is no BusinessEvent: {error}.",
        answer=None,
        attempts=0,
    )


class DeadLetters:
    """One sink's DLQ."""

    def __init__(self, worker: Worker, *, sink: str, codec: Codec) -> None:
        self._topic = worker.target(dlq_topic(sink))
        self._sink = sink
        self._codec = codec

    async def send(self, message: Any, cause: Cause) -> Any:  # noqa: ANN401 - Faust has no types
        """Hand the entry to the producer; await what this returns for Kafka's answer."""
        record = {
            "sink": self._sink,
            "event_id": cause.event_id,
            "tenant": cause.tenant,
            "key": (message.key or b"").decode(errors="replace"),
            "payload": message.value or b"",
            "cause_class": cause.cause_class,
            "code": cause.code,
            "message": cause.message,
            "answer": cause.answer,
            "attempts": cause.attempts,
            "at_ms": int(time.time() * 1000),
            "source_topic": message.topic,
            "source_partition": message.partition,
            "source_offset": message.offset,
            "traceparent": trace_parent(cause.event_id) if cause.event_id else None,
        }
        return await self._topic.send(
            key=message.key, value=self._codec.encode("dead_letter.v1", record)
        )
