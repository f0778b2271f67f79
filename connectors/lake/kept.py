"""What the lake's keepers write down, as names and bytes: pure.

    DATASET/_kept/claims/TOPIC/PPPPP/FIRST.json   old claims without their memory, many in one
    DATASET/_kept/gone/TOKEN.json                 files whose rows were dropped or forgotten
    DATASET/_kept/replaced/TOKEN.json             files whose rows others have now
    _kept/forgotten/TOKEN.json                    proof that somebody's rows were taken out

A file that was made from others says so in its Parquet metadata: fieldline.range names all
their ranges, fieldline.kept the sum of its rows, and how many rows of what sum it no longer has
because they were forgotten. So `verify` needs nothing else to compare it with the claims.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from connectors.lake.mapping import RANGE_KEY
from pipeline.core.archive import Claim, Part
from pipeline.core.lake_accounts import Holding, Line
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_keep import Span, Tally, note_of, spans_of

VERSION: Final = 1
FOLD_CLAIMS: Final = 10_000
"""Claims in one object at most: about a megabyte."""
KEPT_KEY: Final = b"fieldline.kept"


def folds_prefix(dataset: Dataset) -> str:
    """Where old claims are."""
    return f"{dataset}/_kept/claims/"


def fold_key(dataset: Dataset, topic: str, partition: int, first: int) -> str:
    """Name of the old claims from offset `first` on."""
    return f"{folds_prefix(dataset)}{topic}/{partition:05d}/{first:020d}.json"


def gone_prefix(dataset: Dataset) -> str:
    """Where the notes of what is gone are."""
    return f"{dataset}/_kept/gone/"


def gone_key(dataset: Dataset, token: str) -> str:
    """Name of such a note."""
    return f"{gone_prefix(dataset)}{token}.json"


def replaced_prefix(dataset: Dataset) -> str:
    """Where the notes of replaced files are."""
    return f"{dataset}/_kept/replaced/"


def replaced_key(dataset: Dataset, token: str) -> str:
    """Name of such a note."""
    return f"{replaced_prefix(dataset)}{token}.json"


def proof_key(token: str) -> str:
    """Name of a proof."""
    return f"_kept/forgotten/{token}.json"


def line_of(claim: Claim) -> Line:
    """A claim without its memory."""
    return Line(claim.topic, claim.partition, claim.first, claim.last, claim.files)


def encode_fold(lines: Sequence[Line]) -> bytes:
    """Old claims of one topic-partition as JSON."""
    record = {
        "version": VERSION,
        "topic": lines[0].topic,
        "partition": lines[0].partition,
        "claims": [
            [one.first, one.last, {p.date: [p.rows, f"{p.sum:016x}"] for p in one.files}]
            for one in lines
        ],
    }
    return json.dumps(record, separators=(",", ":")).encode()


def decode_fold(data: bytes) -> tuple[Line, ...] | None:
    """The claims in an object; None where it holds none that we understand."""
    try:
        record = json.loads(data)
        topic, partition = str(record["topic"]), int(record["partition"])
        lines = tuple(
            Line(
                topic,
                partition,
                int(first),
                int(last),
                tuple(
                    sorted(Part(str(d), int(r), int(total, 16)) for d, (r, total) in files.items())
                ),
            )
            for first, last, files in record["claims"]
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return lines if record["version"] == VERSION else None


def encode_replaced(keys: Sequence[str], at_ms: int) -> bytes:
    """Note of files whose rows others are about to take, at this time (ms since 1970)."""
    return json.dumps({"version": VERSION, "at_ms": at_ms, "files": list(keys)}).encode()


def decode_replaced(data: bytes) -> dict[str, int] | None:
    """When each file in a note was replaced, or dropped; None where it is no such note."""
    try:
        record = json.loads(data)
        keys = [one if isinstance(one, str) else str(one["key"]) for one in record["files"]]
        at_ms = int(record["at_ms"])
    except (ValueError, KeyError, TypeError):
        return None
    return dict.fromkeys(keys, at_ms) if record["version"] == VERSION else None


def encode_gone(why: str, at_ms: int, holdings: Sequence[Holding]) -> bytes:
    """Note of files that are about to be dropped. It holds once they are not live."""
    record = {
        "version": VERSION,
        "why": why,
        "at_ms": at_ms,
        "files": [
            {
                "key": one.key,
                "date": one.date,
                "ranges": note_of(one.spans),
                "rows": one.rows,
                "sum": None if one.sum is None else f"{one.sum:016x}",
                "forgotten": _tally_record(one.forgotten),
            }
            for one in holdings
        ],
    }
    return json.dumps(record, indent=1).encode()


def decode_gone(data: bytes) -> tuple[Holding, ...] | None:
    """The files in a note; None where it is none that we understand."""
    try:
        record = json.loads(data)
        found = tuple(_gone(file) for file in record["files"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if record["version"] == VERSION else None


def _gone(file: Mapping[str, Any]) -> Holding:
    spans = spans_of(file["ranges"])
    if spans is None:
        raise ValueError(file["ranges"])
    return Holding(
        key=str(file["key"]),
        date=str(file["date"]),
        spans=spans,
        rows=int(file["rows"]),
        sum=None if file["sum"] is None else int(file["sum"], 16),
        forgotten=_tally(file["forgotten"]),
        live=False,
    )


def kept_metadata(tally: Tally, forgotten: Tally) -> dict[str, str]:
    """Parquet metadata of a file made from others."""
    record = {"version": VERSION, **_tally_record(tally), "forgotten": _tally_record(forgotten)}
    return {KEPT_KEY.decode(): json.dumps(record)}


def holding_of(key: str, date: str, metadata: pq.FileMetaData) -> Holding | None:
    """What a file says that it holds; None where it says nothing that we understand."""
    told = metadata.metadata or {}
    spans: tuple[Span, ...] | None = spans_of(told.get(RANGE_KEY, b"").decode(errors="replace"))
    if spans is None:
        return None
    own, forgotten = None, Tally()
    if KEPT_KEY in told:
        try:
            record = json.loads(told[KEPT_KEY])
            if record["version"] != VERSION:
                return None
            own, forgotten = _tally(record).sum, _tally(record["forgotten"])
        except (ValueError, KeyError, TypeError):
            return None
    return Holding(
        key=key, date=date, spans=spans, rows=metadata.num_rows, sum=own, forgotten=forgotten
    )


def holding_in(key: str, date: str, path: Path) -> Holding | None:
    """The same of a file on this machine; None where it is no Parquet file either."""
    try:
        return holding_of(key, date, pq.read_metadata(path))
    except (pa.ArrowException, OSError):
        return None


def _tally_record(tally: Tally) -> dict[str, object]:
    # A sum is more than a JSON number holds exactly (RFC 8259, 6).
    return {"rows": tally.rows, "sum": f"{tally.sum:016x}"}


def _tally(record: Mapping[str, Any]) -> Tally:
    return Tally(int(record["rows"]), int(record["sum"], 16))
