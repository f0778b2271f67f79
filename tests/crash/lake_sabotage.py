"""Spoils a lake by hand and looks whether the oracle sees it, then puts all back.

A check that never fails proves nothing: so each run ends with rows and files that are taken
away, doubled and changed where they lie in S3.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs
from pyiceberg.table import Table

from tests.crash.lake_check import Finding, Flaw, check_objects, check_rows, compare, merged_in
from tests.crash.lake_oracle import Expected
from tests.crash.lake_readers import (
    NAMESPACE,
    READERS,
    Where,
    by_pyiceberg,
    look,
    read_rows,
)

Seen = tuple[Flaw, str]
"""A flaw and who has to see it."""

_ALL: Final = tuple(READERS)
_BY_GLOB: Final = ("DuckDB", "pyarrow")


def _less(rows: pa.Table) -> pa.Table:
    return rows.slice(0, rows.num_rows - 1)


def _more(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows, rows.slice(rows.num_rows - 1)])


def _other(rows: pa.Table) -> pa.Table:
    place = rows.schema.get_field_index("payload_size")
    changed = pc.add(rows["payload_size"], pa.scalar(1, rows["payload_size"].type))
    return rows.set_column(place, rows.schema.field(place), changed)


_EDITS: Final[dict[str, tuple[Callable[[pa.Table], pa.Table], tuple[Flaw, ...]]]] = {
    "a row taken out of a file": (_less, (Flaw.LOST,)),
    "a row put twice into a file": (_more, (Flaw.DOUBLED,)),
    "a column changed in a file": (_other, (Flaw.LOST, Flaw.WRONG)),
}


def sabotage(where: Where, dataset: str, truth: Expected) -> dict[str, list[str]]:
    """What was done → who should have seen it and did not. The lake is as it was after it."""
    s3 = where.arrow()
    root = f"{where.bucket}/{dataset}"
    found = look(where, dataset)
    victim = max(found.files, key=lambda name: found.files[name][1])
    path = f"{root}/{victim}"
    (topic, partition), claims = next(iter(found.claims.items()))
    claim = f"{root}/_ranges/{topic}/{partition:05d}/{claims[0]['first']:020d}.json"
    copy = path.replace(".parquet", "-copy.parquet")
    out: dict[str, list[str]] = {}

    def everything() -> list[Finding]:
        return compare(dataset, truth, look(where, dataset), read_rows(where, dataset))

    def told(what: str, *wanted: Seen) -> None:
        out[what] = _blind(wanted, everything())

    for what, (edit, flaws) in _EDITS.items():
        with _put_back(s3, path) as data:
            _write(s3, path, _edited(data, edit))
            told(what, *((flaw, by) for flaw in flaws for by in _ALL))
    with _put_back(s3, path) as data:
        try:
            _write(s3, copy, data)
            both = tuple((Flaw.DOUBLED, by) for by in _BY_GLOB)
            told("a file copied", *both, (Flaw.FILES, "bucket"), (Flaw.TABLE, "pyiceberg"))
        finally:
            s3.delete_file(copy)
    with _put_back(s3, claim):
        s3.delete_file(claim)
        told("a claim taken away", (Flaw.CHAIN, "claims"), (Flaw.FILES, "bucket"))
    out["all put back"] = _still(everything())
    return out


def sabotage_compacted(where: Where, dataset: str, truth: Expected) -> dict[str, list[str]]:
    """The same for what a compaction could do to a table, before `expire` was there.

    So the hive layout is not looked at: there every row may be twice until then.
    """
    out: dict[str, list[str]] = {}

    def everything() -> list[Finding]:
        rows = by_pyiceberg(where, dataset)
        found = look(where, dataset)
        return [
            *check_objects(dataset, truth, found),
            *check_rows(dataset, "pyiceberg", truth, rows),
        ]

    def told(what: str, *wanted: Seen) -> None:
        out[what] = _blind(wanted, everything())

    root = f"s3://{where.bucket}/{dataset}/"
    tasks = where.table(dataset).scan().plan_files()
    listed = {task.file.file_path.removeprefix(root): task.file for task in tasks}
    name = merged_in(listed)[0]
    of_table = ((Flaw.TABLE, "pyiceberg"), (Flaw.TABLE, "snapshots"))
    with _table_as_it_was(where, dataset) as table:
        _commit(table, lambda swap: swap.delete_data_file(listed[name]))
        told("a compaction that loses a file", (Flaw.LOST, "pyiceberg"), *of_table)
    with _table_as_it_was(where, dataset) as table:
        _commit(table, lambda swap: swap.append_data_file(listed[name]))
        told("a compaction that doubles a file", (Flaw.DOUBLED, "pyiceberg"), *of_table)
    s3, path = where.arrow(), f"{where.bucket}/{dataset}/{name}"
    for what, edit, flaw in (
        ("a compaction that loses a row", _less, Flaw.LOST),
        ("a compaction that doubles a row", _more, Flaw.DOUBLED),
    ):
        with _put_back(s3, path) as data:
            _write(s3, path, _edited(data, edit))
            told(what, (flaw, "pyiceberg"), (Flaw.FILES, "bucket"))
    out["all put back after it"] = _still(everything())
    return out


def _blind(wanted: Iterable[Seen], findings: Iterable[Finding]) -> list[str]:
    """Who should have seen a flaw and did not."""
    seen = {(finding.flaw, finding.by) for finding in findings}
    return [f"{by} ({flaw})" for flaw, by in wanted if (flaw, by) not in seen]


def _still(findings: Iterable[Finding]) -> list[str]:
    """Who sees a flaw where none is."""
    return [f"{finding.by} ({finding.flaw})" for finding in findings]


def _commit(table: Table, act: Callable[[Any], object]) -> None:
    """One swap of files. Old metadata stays, for the version that is put back names it."""
    with table.transaction() as change:
        change.set_properties({"write.metadata.delete-after-commit.enabled": "false"})
        with change.update_snapshot().overwrite() as swap:
            act(swap)


@contextmanager
def _table_as_it_was(where: Where, dataset: str) -> Iterator[Table]:
    """The table, and its version of before shown again at the end."""
    catalogue, name = where.tables(), (NAMESPACE, dataset)
    table = catalogue.load_table(name)
    before = table.metadata_location
    try:
        yield table
    finally:
        catalogue.drop_table(name)
        catalogue.register_table(name, before)


@contextmanager
def _put_back(s3: fs.S3FileSystem, path: str) -> Iterator[bytes]:
    with s3.open_input_file(path) as file:
        data: bytes = file.read()
    try:
        yield data
    finally:
        _write(s3, path, data)


def _write(s3: fs.S3FileSystem, path: str, data: bytes) -> None:
    with s3.open_output_stream(path) as file:
        file.write(data)


def _edited(data: bytes, edit: Callable[[pa.Table], pa.Table]) -> bytes:
    """The file with other rows; its field ids and its note stay."""
    out = io.BytesIO()
    table = edit(pq.read_table(io.BytesIO(data), partitioning=None))
    note = pq.read_metadata(io.BytesIO(data)).metadata or {}
    with pq.ParquetWriter(out, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(
            {k.decode(): v.decode() for k, v in note.items() if k != b"ARROW:schema"}
        )
    return out.getvalue()
