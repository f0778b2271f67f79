"""Files of one date made into one: merged, with the table's columns, some rows left out.

On the local disk, a batch of each at a time, so memory does not grow with the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.lake import base, kept, mapping
from pipeline.core.lake_accounts import Holding
from pipeline.core.lake_columns import LAYOUTS, Dataset
from pipeline.core.lake_keep import Tally, joined, note_of
from pipeline.core.lake_merge import in_order, merged, projected, regrouped
from pipeline.core.lake_records import Shape
from pipeline.core.lake_sum import row_sum
from pipeline.settings import SettingsError

FAN_IN: Final = 32
"""Files merged at once; more are merged in rounds."""
BATCH_BYTES: Final = 4 * 1024 * 1024
"""What is buffered of each file, bytes as Parquet counts them before compression."""
BATCH_ROWS: Final = 16_384
GROUP_BYTES: Final = 64 * 1024 * 1024
"""A row group is closed early where its rows are as large as that together."""

Wanted = Callable[[pa.Table], pa.BooleanArray]
"""Which rows of a table are to be taken out, shape (rows,), no nulls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What became of some files. `written` is None where no row is left."""

    path: Path
    written: base.Written | None
    holding: Holding
    removed: Tally
    out: pa.Table | None = field(repr=False, default=None)
    """Of the rows taken out, the columns that were asked for."""


@dataclass(slots=True)
class _Count:
    rows: int = 0
    sum: int = 0

    def add(self, dataset: Dataset, table: pa.Table) -> None:
        more = Tally(self.rows, self.sum).plus(Tally(table.num_rows, row_sum(dataset, table)))
        self.rows, self.sum = more

    @property
    def tally(self) -> Tally:
        return Tally(self.rows, self.sum)


def rewrite(
    dataset: Dataset,
    shape: Shape,
    files: Sequence[tuple[Holding, Path]],
    target: tuple[str, Path],
    *,
    wanted: Wanted | None = None,
    collect: Sequence[str] = (),
) -> Rewritten:
    """Make files of one date into one, key and path `target`, without the rows `wanted`.

    `collect` names columns whose values of these rows are given back. SettingsError where
    what came out is not what went in.
    """
    key, path = target
    holdings = [holding for holding, _ in files]
    spans = joined(span for holding in holdings for span in holding.spans)
    schema = shape.schema()
    order = [name for name in LAYOUTS[dataset].order if name in schema.names]
    read, left, removed = _Count(), _Count(), _Count()
    collected: list[pa.Table] = []

    def seen(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for piece in pieces:
            read.add(dataset, piece)
            if wanted is None:
                yield piece
                continue
            mask = wanted(piece)
            out = piece.filter(mask)
            removed.add(dataset, out)
            if collect and out.num_rows:
                collected.append(out.select(list(collect)))
            yield piece.filter(pc.invert(mask))

    expected = sum(holding.rows for holding in holdings)
    sources = [seen(_batches(path, schema, order)) for _, path in files]
    rounds = 0
    while len(sources) > FAN_IN:
        rounds += 1
        sources = [
            _stored(sources[n : n + FAN_IN], schema, order, path.with_suffix(f".{rounds}-{n}"))
            for n in range(0, len(sources), FAN_IN)
        ]
    note = note_of(spans)
    with (
        path.open("wb") as sink,
        mapping.writer(dataset, schema, sink, note=note, rows=expected) as out,
    ):
        pieces = merged(sources, order)
        for group in regrouped(pieces, mapping.ROW_GROUP_ROWS, GROUP_BYTES):
            left.add(dataset, group)
            out.write_table(group, row_group_size=mapping.ROW_GROUP_ROWS)
        forgotten = removed.tally
        for holding in holdings:
            forgotten = forgotten.plus(holding.forgotten)
        out.add_key_value_metadata(kept.kept_metadata(left.tally, forgotten))
    if read.rows != expected or read.tally != left.tally.plus(removed.tally):
        raise SettingsError(
            f"The files that begin with {holdings[0].key} did not give the rows that they say "
            "they have, so nothing was changed: run fieldline lake verify --rows."
        )
    metadata = pq.read_metadata(path)
    return Rewritten(
        path=path,
        written=None
        if not left.rows
        else base.Written(
            key=key, date=holdings[0].date, size=path.stat().st_size, metadata=metadata
        ),
        holding=Holding(
            key=key,
            date=holdings[0].date,
            spans=spans,
            rows=left.rows,
            sum=left.sum,
            forgotten=forgotten,
        ),
        removed=removed.tally,
        out=pa.concat_tables(collected) if collected else None,
    )


def _batches(path: Path, schema: pa.Schema, order: Sequence[str]) -> Iterator[pa.Table]:
    """A file's rows, sorted, as the table has its columns now."""
    with pq.ParquetFile(path) as file:
        there = file.schema_arrow
        if _rises(file, order):
            for batch in file.iter_batches(batch_size=_batch_rows(file.metadata)):
                table = pa.Table.from_batches([batch]).replace_schema_metadata()
                yield projected(pa.table(table.columns, schema=there), schema)
            return
        # Of an order that was once another: as large as one writer's range at most.
        whole = in_order(projected(file.read(), schema), order)
    for start in range(0, whole.num_rows, BATCH_ROWS):
        yield whole.slice(start, BATCH_ROWS)


def _batch_rows(metadata: pq.FileMetaData) -> int:
    size = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
    of_row = max(size // max(metadata.num_rows, 1), 1)
    return int(min(max(BATCH_BYTES // of_row, 64), BATCH_ROWS))


def _rises(file: pq.ParquetFile, order: Sequence[str]) -> bool:
    """Whether the file says of itself that it is sorted so."""
    names = file.schema_arrow.names
    for number in range(file.metadata.num_row_groups):
        told = file.metadata.row_group(number).sorting_columns
        if any(one.descending or not one.nulls_first for one in told):
            return False
        if [names[one.column_index] for one in told] != list(order):
            return False
    return True


def _stored(
    sources: Sequence[Iterator[pa.Table]], schema: pa.Schema, order: Sequence[str], path: Path
) -> Iterator[pa.Table]:
    """Some of the sources as one, by way of the disk."""
    with pq.ParquetWriter(path, schema, compression="lz4") as out:
        for group in regrouped(merged(sources, order), mapping.ROW_GROUP_ROWS, GROUP_BYTES):
            out.write_table(group, row_group_size=mapping.ROW_GROUP_ROWS)
    return _stored_batches(path, schema)


def _stored_batches(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_batch_rows(file.metadata)):
            yield pa.Table.from_batches([batch]).cast(schema)
    path.unlink()
