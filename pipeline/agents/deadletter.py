"""What a worker puts into its sink's DLQ: everything a person needs to decide."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pipeline.agents.app import Worker
from pipeline.core.scrub import scrub, secret_name
from pipeline.topology import dlq_topic
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.cloudevents import trace_parent

if TYPE_CHECKING:
    from pipeline.core.ledger import Note

HEADERS_BYTES: Final = 32_768
"""Most bytes of headers that are kept, names and values; those that come later are left out."""
_MESSAGE: Final = 1_000
_TRACE: Final = "traceparent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why an event needs a person. Fields as in schemas/avro/dead_letter.

    `history` is what the ledger noted, oldest first. `message` and `answer` may hold secrets
    of the target's: they are scrubbed on the way.
    """

    cause_class: str
    code: str
    message: str
    answer: str | None
    attempts: int
    event_id: str = ""
    tenant: str = ""
    history: Sequence[Note] = ()


def unreadable(error: UnreadableError) -> Cause:
    """The cause of a message that is no BusinessEvent."""
    return Cause(
        cause_class="unreadable",
        code="unreadable",
        message=f"The message is no BusinessEvent: {error}.",
        answer=None,
        attempts=0,
    )


def kept_headers(given: Any) -> dict[str, bytes]:  # noqa: ANN401 - a mapping, pairs, or None
    """Headers as a dead letter keeps them: without credentials, at most HEADERS_BYTES."""
    kept: dict[str, bytes] = {}
    left = HEADERS_BYTES
    for name, value in dict(given or {}).items():
        size = len(name.encode()) + len(value or b"")
        if size <= left and not secret_name(name):
            kept[name] = bytes(value or b"")
            left -= size
    return kept


def dead_letter(
    sink: str,
    message: Any,  # noqa: ANN401 - Faust has no types
    cause: Cause,
    *,
    now_ms: int,
) -> dict[str, Any]:
    """A dead_letter.v2. `message` has topic, partition, offset, key, value and headers."""
    headers = kept_headers(message.headers)
    return {
        "sink": sink,
        "event_id": cause.event_id,
        "tenant": cause.tenant,
        "key": (message.key or b"").decode(errors="replace"),
        "payload": message.value or b"",
        "cause_class": cause.cause_class,
        "code": cause.code,
        "message": scrub(cause.message, most=_MESSAGE),
        "answer": scrub(cause.answer) if cause.answer is not None else None,
        "attempts": cause.attempts,
        "history": [
            {"at_ms": note.at_ms, "state": note.state, "code": note.code, "owner": note.owner}
            for note in cause.history
        ],
        "headers": headers,
        "at_ms": now_ms,
        "source_topic": message.topic,
        "source_partition": message.partition,
        "source_offset": message.offset,
        "traceparent": _trace(headers, cause.event_id),
    }


def _trace(headers: Mapping[str, bytes], event_id: str) -> str | None:
    """The trace that the message belongs to, else the one its event begins."""
    given = headers.get(_TRACE, b"")
    if given and given.isascii():
        return given.decode()[:128]
    return trace_parent(event_id) if event_id else None


class DeadLetters:
    """One sink's DLQ."""

    def __init__(self, worker: Worker, *, sink: str, codec: Codec) -> None:
        self._topic = worker.target(dlq_topic(sink))
        self._sink = sink
        self._codec = codec

    async def send(self, message: Any, cause: Cause) -> Any:  # noqa: ANN401 - Faust has no types
        """Hand the entry to the producer; await what this returns for Kafka's answer."""
        record = dead_letter(self._sink, message, cause, now_ms=int(time.time() * 1000))
        return await self._topic.send(
            key=message.key, value=self._codec.encode("dead_letter.v2", record)
        )
