"""What the lake must hold, told from the Kafka topics alone: a second reading of the rules. Pure.

Nothing of the lake's own code is used, so that one mistake cannot be made twice: messages are
read with fastavro and the schema files, rows are made one by one.

- Avro 1.12, single-object encoding: C3 01, eight bytes of fingerprint, the record.
- deduplicated_batch: a message whose source_offset is not above the greatest seen so far of its
  source partition is a repetition.
- business_event: the same by (source offset, index); what an operator replayed counts once by id.
- deliveries and quarantine: every message is a row.
- A time before 1970 or after 9999 is set to that edge; a row lies in the UTC date of its time.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import fastavro
import numpy as np

Row = tuple[Any, ...]
"""Values of COLUMNS[dataset], times as µs since the epoch, doubles as their bits; the date last."""
Place = tuple[str, int, int]
"""Topic, partition, offset."""

SCHEMAS: Final = {
    "telemetry": "deduplicated_batch.v1",
    "events": "business_event.v2",
    "deliveries": "delivery_result.v2",
    "quarantine": "quarantined.v1",
}
TOPICS: Final = {
    "telemetry": "telemetry.deduplicated",
    "events": "sink.lake",
    "deliveries": "delivery.results",
    "quarantine": "telemetry.quarantine",
}
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "telemetry": (
        *("tenant", "device_id", "metric", "time", "value", "session", "sequence", "received_at"),
        *("late", "flag", "source_partition", "source_offset"),
    ),
    "events": (
        *("id", "type", "tenant", "device_id", "severity", "confidence", "disposition", "action"),
        *("entity_id", "summary", "metric", "rule", "occurred_at", "observed_at"),
        *("source_topic", "source_partition", "source_offset", "source_index", "flag"),
        *("kafka_partition", "kafka_offset"),
    ),
    "deliveries": (
        *("event_id", "sink", "device_id", "outcome", "action", "target_id", "attempts"),
        *("latency_ms", "at", "payload_hash", "flag", "kafka_partition", "kafka_offset"),
    ),
    "quarantine": (
        *("reason", "detail", "mqtt_topic", "device_id", "payload", "payload_size", "readings"),
        *("received_at", "flag", "kafka_partition", "kafka_offset"),
    ),
}
"""What is compared of each dataset."""

_LAST_MS: Final = 253_402_300_799_999
_DAY_MS: Final = 86_400_000
_HEADER: Final = 10
_NAN: Final = struct.pack("<d", math.nan)
_REPLAYS: Final = 256


class Message(Protocol):
    """A Kafka message as read back; `timestamp` in ms since the epoch."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(slots=True)
class Expected:
    """One dataset: its rows, which message each comes from, and rows of each message by date."""

    rows: Counter[Row] = field(default_factory=Counter)
    origin: dict[Row, Place] = field(default_factory=dict)
    dates: dict[Place, Counter[str]] = field(default_factory=dict)
    """Of the messages that were taken."""
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    """Greatest offset in the topic of each partition."""
    skipped: int = 0
    unreadable: int = 0


def bits(value: float | None) -> bytes | None:
    """A double as it is told apart: every NaN is one."""
    if value is None:
        return None
    return _NAN if math.isnan(value) else struct.pack("<d", value)


def expected(dataset: str, messages: Iterable[Message]) -> Expected:
    """The rows that a dataset must have, from all messages of its topic."""
    out = Expected()
    schema = _schema(SCHEMAS[dataset])
    seen = _Seen()
    for message in sorted(messages, key=lambda m: (m.partition, m.offset)):
        place = (message.topic, message.partition, message.offset)
        out.ends[place[:2]] = message.offset
        record = _record(schema, message.value)
        if record is None:
            out.unreadable += 1
            continue
        if seen.before(dataset, record, replay=_replayed(message)):
            out.skipped += 1
            continue
        dates: Counter[str] = Counter()
        for row in _ROWS[dataset](record, message):
            out.rows[row] += 1
            out.origin.setdefault(row, place)
            dates[row[-1]] += 1
        out.dates[place] = dates
    return out


class _Seen:
    def __init__(self) -> None:
        self._greatest: dict[tuple[str, int], tuple[int, int]] = defaultdict(lambda: (-1, -1))
        self._replayed: list[str] = []

    def before(self, dataset: str, record: Mapping[str, Any], *, replay: bool) -> bool:
        """Whether the reader's rule skips it; it is remembered either way."""
        if dataset == "telemetry":
            source = (record["source_topic"], record["source_partition"])
            position = (record["source_offset"], 0)
        elif dataset == "events":
            at = record["source"]
            source, position = (at["topic"], at["partition"]), (at["offset"], at["index"])
        else:
            return False
        if replay:
            known = record["id"] in self._replayed
            if not known:
                self._replayed = [*self._replayed, record["id"]][-_REPLAYS:]
            return known
        if position <= self._greatest[source]:
            return True
        self._greatest[source] = position
        return False


def _replayed(message: Message) -> bool:
    return any(name == "fieldline-replay" for name, _ in message.headers)


def _schema(name: str) -> Any:  # noqa: ANN401 - fastavro's
    path = Path("schemas/avro") / f"{name}.avsc"
    return fastavro.parse_schema(json.loads(path.read_text(encoding="utf-8")))


def _record(schema: Any, value: bytes | None) -> dict[str, Any] | None:  # noqa: ANN401 - the same
    """None where it is no Avro."""
    if value is None or not value.startswith(b"\xc3\x01"):
        return None
    found: Any = fastavro.schemaless_reader(io.BytesIO(value[_HEADER:]), schema, None)
    return dict(found)


def _clamped(time_ms: int) -> int:
    return max(0, min(time_ms, _LAST_MS))


def _date(time_ms: int) -> str:
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=_clamped(time_ms) // _DAY_MS)
    return day.date().isoformat()


def _flag(time_ms: int, arrived_ms: int, *values: float | None) -> str | None:
    if time_ms != _clamped(time_ms):
        return "clamped"
    if time_ms - _clamped(arrived_ms) > _DAY_MS:
        return "future"
    if _clamped(arrived_ms) - time_ms > 400 * _DAY_MS:
        return "past"
    finite = all(value is None or math.isfinite(value) for value in values)
    return None if finite else "not_finite"


def _readings(record: Mapping[str, Any], message: Message) -> Iterator[Row]:
    del message

    def column(name: str, kind: str) -> list[Any]:
        listed: list[Any] = np.frombuffer(record[name], dtype=kind).tolist()
        return listed

    metric, value = column("reading_metric", "<i4"), column("reading_value", "<f8")
    at = 0
    for device, session, sequence, time_ms, received_ms, count, late in zip(
        column("sample_device", "<i4"),
        column("sample_session", "<i8"),
        column("sample_seq", "<i8"),
        column("sample_time_ms", "<i8"),
        column("sample_received_ms", "<i8"),
        column("sample_readings", "<i4"),
        column("sample_late", "u1"),
        strict=True,
    ):
        name = record["devices"][device]
        for place in range(at, at + count):
            yield (
                name.split("/")[0],
                name,
                record["metrics"][metric[place]],
                _clamped(time_ms) * 1000,
                bits(value[place]),
                session,
                sequence,
                _clamped(received_ms) * 1000,
                late == 1,
                _flag(time_ms, received_ms, value[place]),
                record["source_partition"],
                record["source_offset"],
                _date(time_ms),
            )
        at += count


def _event(record: Mapping[str, Any], message: Message) -> Iterator[Row]:
    occurred, observed = record["occurred_at_ms"], record["observed_at_ms"]
    source = record["source"]
    values = [
        entry[name] for entry in record["snapshot"] for name in ("value", "baseline", "score")
    ]
    made = {
        **record,
        "confidence": bits(record["confidence"]),
        "occurred_at": _clamped(occurred) * 1000,
        "observed_at": _clamped(observed) * 1000,
        **{f"source_{name}": source[name] for name in ("topic", "partition", "offset", "index")},
        "flag": _flag(occurred, observed, record["confidence"], *values),
    }
    yield _row("events", made, message, _date(occurred))


def _delivery(record: Mapping[str, Any], message: Message) -> Iterator[Row]:
    # There is no arrival to compare its time with.
    at_ms = record["at_ms"]
    made = {**record, "at": _clamped(at_ms) * 1000, "flag": _flag(at_ms, _clamped(at_ms))}
    yield _row("deliveries", made, message, _date(at_ms))


def _refused(record: Mapping[str, Any], message: Message) -> Iterator[Row]:
    at_ms = record["received_ms"]
    made = {**record, "received_at": _clamped(at_ms) * 1000, "flag": _flag(at_ms, _clamped(at_ms))}
    yield _row("quarantine", made, message, _date(at_ms))


def _row(dataset: str, made: dict[str, Any], message: Message, date: str) -> Row:
    made |= {"kafka_partition": message.partition, "kafka_offset": message.offset}
    return (*(made[name] for name in COLUMNS[dataset]), date)


_ROWS: Final = {
    "telemetry": _readings,
    "events": _event,
    "deliveries": _delivery,
    "quarantine": _refused,
}
