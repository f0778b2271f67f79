"""Names and bytes of the lake's objects: pure.

    DATASET/date=YYYY-MM-DD/TOPIC-PPPPP-OOOOOOOOOOOOOOOOOOOO.parquet   rows of one range
    DATASET/_ranges/TOPIC/PPPPP/OOOOOOOOOOOOOOOOOOOO.json              its claim

O is the first offset of the range, P the partition, both zero-padded so that names sort as
numbers do. Query engines ignore folders that begin with an underscore.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.archive import Claim, Seen
from pipeline.core.lake_rows import EVENTS_SCHEMA, TELEMETRY_SCHEMA, event_tables, telemetry_tables

CLAIM_VERSION = 1
MAX_CLAIM_BYTES = 1_048_576
"""A claim larger than this is not one of ours."""
ROW_GROUP_ROWS = 122_880
"""DuckDB's own row group: one unit of its parallel scan."""

_RANGE_KEY = b"fieldline.range"
_ZSTD_LEVEL = 3
_DELTA = ("time", "received_at", "sequence", "source_offset", "occurred_at", "observed_at")
"""Columns that rise in small steps once rows are sorted by device and time."""
_PLAIN = ("id", "correlation_id", "summary", "confidence", "late")
"""Columns with hardly a value twice, where a dictionary only costs."""


class Dataset(StrEnum):
    """The two datasets: one topic each."""

    TELEMETRY = "telemetry"
    EVENTS = "events"

    @property
    def schema(self) -> pa.Schema:
        """Columns of its files."""
        return {Dataset.TELEMETRY: TELEMETRY_SCHEMA, Dataset.EVENTS: EVENTS_SCHEMA}[self]

    def tables(self, messages: Sequence[Any]) -> tuple[tuple[str, pa.Table], ...]:
        """(date, table) of its messages, dates rising."""
        return telemetry_tables(messages) if self is Dataset.TELEMETRY else event_tables(messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a Parquet file says of itself: the range it was made from ('' = none), its rows."""

    range: str
    rows: int


def claims_prefix(dataset: Dataset, topic: str, partition: int) -> str:
    """Folder of the claims of one topic-partition."""
    return f"{dataset}/_ranges/{topic}/{partition:05d}/"


def claim_key(dataset: Dataset, topic: str, partition: int, first: int) -> str:
    """Name of the claim of the range that starts at `first`."""
    return f"{claims_prefix(dataset, topic, partition)}{first:020d}.json"


def first_of_claim(key: str) -> int | None:
    """First offset in a claim's name; None where it is no claim's name."""
    stem, dot, ending = key.rpartition("/")[2].partition(".")
    return int(stem) if dot and ending == "json" and stem.isascii() and stem.isdigit() else None


def after_key(dataset: Dataset, topic: str, partition: int, first: int) -> str:
    """Name after which the claims with a first offset above `first` (-1: all) are listed."""
    if first < 0:
        return claims_prefix(dataset, topic, partition)
    return claim_key(dataset, topic, partition, first)


def file_key(dataset: Dataset, claim: Claim, date: str) -> str:
    """Name of the file of one date of a claim's range."""
    return f"{dataset}/date={date}/{claim.topic}-{claim.partition:05d}-{claim.first:020d}.parquet"


def probe_key(dataset: Dataset) -> str:
    """Name of the object by which a store shows that it honours conditional writes."""
    return f"{dataset}/_ranges/_conditional_put"


def range_note(claim: Claim) -> str:
    """The range as a file's metadata names it."""
    return f"{claim.topic}/{claim.partition}/{claim.first}-{claim.last}"


def encode_claim(claim: Claim) -> bytes:
    """A claim as JSON."""
    record = {
        "version": CLAIM_VERSION,
        "topic": claim.topic,
        "partition": claim.partition,
        "first": claim.first,
        "last": claim.last,
        "seen_before": _seen_record(claim.seen_before),
        "seen": _seen_record(claim.seen),
        "messages": claim.messages,
        "rows": claim.rows,
        "files": dict(claim.files),
    }
    return json.dumps(record, indent=1).encode()


def decode_claim(data: bytes) -> Claim | None:
    """The claim in an object; None where the object holds none that we understand."""
    if len(data) > MAX_CLAIM_BYTES:
        return None
    try:
        record = json.loads(data)
        claim = Claim(
            topic=str(record["topic"]),
            partition=int(record["partition"]),
            first=int(record["first"]),
            last=int(record["last"]),
            seen_before=_seen(record["seen_before"]),
            seen=_seen(record["seen"]),
            messages=int(record["messages"]),
            files=tuple(sorted((str(d), int(n)) for d, n in record["files"].items())),
        )
        sound = record["version"] == CLAIM_VERSION and 0 <= claim.first <= claim.last
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return claim if sound else None


def _seen_record(seen: Seen) -> dict[str, object]:
    return {"greatest": [list(entry) for entry in seen.greatest], "replayed": list(seen.replayed)}


def _seen(record: Mapping[str, Any]) -> Seen:
    return Seen(
        greatest=tuple(
            sorted((str(t), int(p), int(o), int(i)) for t, p, o, i in record["greatest"])
        ),
        replayed=tuple(str(event_id) for event_id in record["replayed"]),
    )


def parquet(table: pa.Table, claim: Claim) -> bytes:
    """One date's file of a claim's range."""
    names = table.schema.names
    out = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({_RANGE_KEY: range_note(claim).encode()}),
        out,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        row_group_size=ROW_GROUP_ROWS,
        use_dictionary=[n for n in names if n not in _DELTA and n not in _PLAIN],
        column_encoding={n: "DELTA_BINARY_PACKED" for n in names if n in _DELTA},
    )
    return out.getvalue()


def footer(end: bytes) -> Footer | None:
    """Footer of the file that ends with these bytes; None where they hold no whole footer."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(end))
    except (pa.ArrowException, OSError):
        return None
    note = (metadata.metadata or {}).get(_RANGE_KEY, b"")
    return Footer(range=note.decode(errors="replace"), rows=metadata.num_rows)
