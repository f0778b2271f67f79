"""What an agent does with a message that it cannot read: quarantine, never stop."""

from __future__ import annotations

from typing import Any

import structlog

from pipeline.agents.app import Worker
from pipeline.core.quarantine import Reason
from pipeline.topology import QUARANTINE
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import encode_quarantined

log = structlog.get_logger(__name__)


class Quarantine:
    """Sends unreadable messages of other topics to telemetry.quarantine."""

    def __init__(self, worker: Worker, codec: Codec) -> None:
        self._topic = worker.target(QUARANTINE)
        self._codec = codec

    async def send(self, message: Any, error: UnreadableError, *, reason: Reason) -> Any:  # noqa: ANN401
        """Hand the record to the producer; await what this returns for Kafka's answer.

        The key is the message's coordinates, so a repetition after a crash can be told.
        """
        where = f"{message.topic}/{message.partition}/{message.offset}"
        log.warning("quarantined", where=where, reason=reason, detail=str(error))
        value = encode_quarantined(
            self._codec,
            reason=reason.value,
            detail=f"The message at {where} cannot be read: {error}.",
            mqtt_topic="",
            device_id=None,
            payload=message.value or b"",
            readings=0,
            received_ms=message.timestamp_ms,
        )
        return await self._topic.send(key=where.encode(), value=value)
