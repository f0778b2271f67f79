"""The entries of a DLQ: read, found by what a person types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.events import BusinessEvent
from pipeline.ops.dlq_filters import Filter
from pipeline.settings import Settings, SettingsError
from pipeline.topology import dlq_topic
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.cloudevents import EDITED
from pipeline.wire.kafka import Progress, read_through
from pipeline.wire.records import decode_event

SCHEMA = "dead_letter.v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One dead letter: its sink, its offset in the DLQ, and the record (schemas/avro/dead_letter).

    `trouble` says why the record itself could not be read: then the record holds what the
    message shows, and its payload is the whole message. '' where it could.
    """

    offset: int
    record: dict[str, Any]
    sink: str = ""
    trouble: str = ""

    @property
    def event_id(self) -> str:
        """Event id; empty where the payload could not be read."""
        return str(self.record["event_id"])

    @property
    def name(self) -> str:
        """What it is called: the event's id, else the offset."""
        return self.event_id or f"offset {self.offset}"

    @property
    def edited(self) -> bool:
        """Whether a person has changed the payload."""
        return EDITED in self.record["headers"]

    def goes_by(self, typed: str) -> bool:
        """Whether a person may mean it: the first letters of the event's id, or the offset."""
        starts = bool(typed and self.event_id) and self.event_id.startswith(typed)
        return starts or typed in {str(self.offset), self.name}

    def event(self, codec: Codec) -> BusinessEvent:
        """The event; UnreadableError where there is none."""
        if self.trouble:
            raise UnreadableError(self.trouble)
        return decode_event(codec, self.record["payload"])


async def read(
    settings: Settings,
    codec: Codec,
    sink: str,
    *,
    wanted: Filter | None = None,
    names: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[Entry]:
    """A sink's entries, oldest first; the last entry of an event stands for it.

    Only those that `wanted` takes and, where there are `names`, that one of them may mean: what
    is left out is not kept in memory.
    """
    out: dict[str, Entry] = {}
    async for message in read_through(settings, dlq_topic(sink), progress=progress):
        entry = _entry(codec, sink, message)
        out.pop(entry.name, None)
        meant = not names or any(map(entry.goes_by, names))
        if meant and (wanted is None or wanted.takes(entry.record)):
            out[entry.name] = entry
    return list(out.values())


def _entry(codec: Codec, sink: str, message: Any) -> Entry:  # noqa: ANN401 - aiokafka has no types
    try:
        record = codec.decode(SCHEMA, message.value)
    except UnreadableError as error:
        record = _shown(sink, message, str(error))
        return Entry(offset=message.offset, record=record, sink=sink, trouble=str(error))
    return Entry(offset=message.offset, record=record, sink=sink)


def _shown(sink: str, message: Any, why: str) -> dict[str, Any]:  # noqa: ANN401
    """What can be said of a message that is no dead letter, in the record's fields."""
    return {
        "sink": sink,
        "event_id": "",
        "tenant": "",
        "key": (message.key or b"").decode(errors="replace"),
        "payload": message.value or b"",
        "cause_class": "unreadable",
        "code": "dlq.unreadable",
        "message": f"This record of the DLQ cannot be read: {why}.",
        "answer": None,
        "attempts": 0,
        "history": [],
        "headers": {},
        "at_ms": message.timestamp,
        "source_topic": "",
        "source_partition": -1,
        "source_offset": -1,
        "traceparent": None,
    }


def find(entries: Sequence[Entry], wanted: str) -> Entry:
    """The entry whose event id starts with `wanted`, or whose offset it is."""
    hits = [e for e in entries if e.goes_by(wanted)]
    by_id = [e for e in hits if e.event_id.startswith(wanted)]
    hits = [e for e in by_id if e.event_id == wanted] or by_id or hits
    if not hits:
        raise SettingsError(
            f"No dead letter {wanted!r}: `fieldline dlq list --state all` shows them."
        )
    if len({e.name for e in hits}) < len(hits):
        sinks = " and ".join(sorted({e.sink for e in hits}))
        raise SettingsError(f"{wanted!r} stands in the DLQs of {sinks}: say which with --sink.")
    if len(hits) > 1:
        raise SettingsError(f"{wanted!r} fits {len(hits)} dead letters: give more of the id.")
    return hits[0]
