"""Names and bytes of the lake's objects: pure.

    DATASET/date=YYYY-MM-DD/TOPIC-PPPPP-OOOOOOOOOOOOOOOOOOOO.parquet   rows of one range
    DATASET/_ranges/TOPIC/PPPPP/OOOOOOOOOOOOOOOOOOOO.json              its claim

O is the first offset of the range, P the partition, both zero-padded so that names sort as
numbers do. Query engines ignore folders that begin with an underscore.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.archive import Claim, Part, Seen
from pipeline.core.lake_columns import LAYOUTS, Dataset

CLAIM_VERSION = 2
MAX_CLAIM_BYTES = 16_777_216
"""A claim larger than this is not one of ours. A date takes 70 bytes of it, and one message (8 MB,
41 bytes a sample) may have two hundred thousand dates where devices' clocks are broken."""
ROW_GROUP_ROWS = 122_880
"""DuckDB's own row group: one unit of its parallel scan."""

RANGE_KEY = b"fieldline.range"
"""Metadata of a file: the ranges that it was made from."""
COLUMNS_KEY = "fieldline.columns"
"""Metadata of a file: JSON, column → `doc` and, where it has one, `unit`."""
_ZSTD_LEVEL = 3
BLOOM_FPP = 0.01
"""One row group in a hundred is read in vain for an id that it has not."""
_DELTA = ("sequence", "source_offset", "occurred_at", "observed_at", "at", "kafka_offset")
"""Columns that rise in small steps once rows are sorted by device and time."""
_PLAIN = (
    # A sample's metrics have its times in common: as they are, zstd finds them again, one metric
    # after the other; packed differences would hide that (measured: 4.4 or 2.6 bytes a reading).
    *("time", "received_at"),
    *("id", "event_id", "entity_id", "correlation_id", "payload_hash", "request_hash"),
    *("summary", "confidence", "late", "payload", "extra"),
)
"""Columns with hardly a value twice, or where a dictionary only costs."""
_BATCH_ROWS = 16_384
"""Values of a column that are encoded at once: sixteen times Parquet's own, a sixth less time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a Parquet file says of itself: the range it was made from ('' = none), its rows."""

    range: str
    rows: int
    metadata: pq.FileMetaData = field(repr=False, compare=False)


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
        # A sum is more than a JSON number holds exactly (RFC 8259, 6).
        "files": {p.date: {"rows": p.rows, "sum": f"{p.sum:016x}"} for p in claim.files},
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
            files=tuple(
                sorted(
                    Part(str(date), int(part["rows"]), int(part["sum"], 16))
                    for date, part in record["files"].items()
                )
            ),
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


def parquet(dataset: Dataset, table: pa.Table, note: str) -> bytes:
    """A file of the dataset: rows of one date, of the ranges that `note` names."""
    out = io.BytesIO()
    with writer(dataset, table.schema, out, note=note, rows=table.num_rows) as file:
        file.write_table(table, row_group_size=ROW_GROUP_ROWS)
    return out.getvalue()


def writer(
    dataset: Dataset, schema: pa.Schema, out: IO[bytes], *, note: str, rows: int
) -> pq.ParquetWriter:
    """A writer of such a file, for `rows` that come in pieces of ROW_GROUP_ROWS."""
    names = schema.names
    bloom = {"ndv": max(min(rows, ROW_GROUP_ROWS), 1), "fpp": BLOOM_FPP}
    layout = LAYOUTS[dataset]
    made = pq.ParquetWriter(
        out,
        schema,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        write_batch_size=_BATCH_ROWS,
        use_dictionary=[n for n in names if n not in _DELTA and n not in _PLAIN],
        column_encoding={n: "DELTA_BINARY_PACKED" for n in names if n in _DELTA},
        # Iceberg's field ids and Parquet's own types say all: Arrow's schema beside them would
        # make readers think of dictionaries.
        store_schema=False,
        sorting_columns=pq.SortingColumn.from_ordering(
            schema, [(n, "ascending") for n in layout.order if n in names], "at_start"
        ),
        bloom_filter_options={n: bloom for n in layout.bloom if n in names} or None,
    )
    # A schema's own metadata is left out together with Arrow's schema.
    made.add_key_value_metadata({RANGE_KEY.decode(): note, COLUMNS_KEY: _described(schema)})
    return made


def _described(schema: pa.Schema) -> str:
    told = {
        field.name: {
            name: value.decode()
            for name in ("doc", "unit")
            if (value := (field.metadata or {}).get(name.encode()))
        }
        for field in schema
    }
    return json.dumps(told, ensure_ascii=False)


def footer(end: bytes) -> Footer | None:
    """Footer of the file that ends with these bytes; None where they hold no whole footer."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(end))
    except (pa.ArrowException, OSError):
        return None
    note = (metadata.metadata or {}).get(RANGE_KEY, b"")
    return Footer(range=note.decode(errors="replace"), rows=metadata.num_rows, metadata=metadata)
