"""The lake's columns as Iceberg has them, and its files as Iceberg's manifests do: pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

import pyarrow as pa
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    pyarrow_to_schema,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema, assign_fresh_schema_ids, index_by_name
from pyiceberg.table import Table
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.typedef import Record as IcebergRecord

from connectors.lake import base
from pipeline.core.lake_columns import LAYOUTS, Column, Dataset
from pipeline.core.lake_records import Shape

ALIASES: Final = "fieldline.aliases"
"""Table property: JSON of column → names it had before."""
UNITS: Final = "fieldline.units"
"""Table property: JSON of column → its unit, where it has one."""
WITHOUT_IDS: Final = "fieldline.without-ids"
"""Table property, "true" where some files have no field ids: they were written while the lake
had no table. Iceberg finds their columns by name; who reads by field id alone does not."""
_ID: Final = b"PARQUET:field_id"
_EPOCH: Final = date(1970, 1, 1)
_FIRST_PARTITION_ID: Final = 1000


def iceberg_schema(columns: Sequence[Column]) -> Schema:
    """Schema of a new table, with the ids that a catalogue gives it."""
    shape = Shape(columns=tuple(columns), ids=numbered(columns))
    return assign_fresh_schema_ids(pyarrow_to_schema(shape.schema()))


def numbered(columns: Sequence[Column]) -> dict[str, int]:
    """Field ids from 1 by dotted name, what lies in a list or struct included."""
    names = [name for column in columns for name in _names(column.name, column.type)]
    return {name: place for place, name in enumerate(names, 1)}


def _names(name: str, kind: pa.DataType) -> Iterator[str]:
    yield name
    if pa.types.is_list(kind):
        yield from _names(f"{name}.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _names(f"{name}.{field.name}", field.type)


def partition_spec(dataset: Dataset, schema: Schema) -> PartitionSpec:
    """By the day of event time, hidden: a query on the time column needs to know nothing of it."""
    time = LAYOUTS[dataset].time
    return PartitionSpec(
        PartitionField(
            source_id=schema.find_field(time).field_id,
            field_id=_FIRST_PARTITION_ID,
            transform=DayTransform(),
            name=f"{time}_day",
        )
    )


def sort_order(dataset: Dataset, schema: Schema) -> SortOrder:
    """As LAYOUTS has it, as far as the columns are there."""
    names = index_by_name(schema)
    return SortOrder(
        *(
            SortField(
                source_id=names[name],
                transform=IdentityTransform(),
                direction=SortDirection.ASC,
                null_order=NullOrder.NULLS_FIRST,
            )
            for name in LAYOUTS[dataset].order
            if name in names
        )
    )


def shape_of(table: Table) -> Shape:
    """A table's columns and their field ids."""
    schema = table.schema()
    arrow = schema_to_pyarrow(schema, include_field_ids=False)
    aliases: dict[str, list[str]] = json.loads(table.properties.get(ALIASES, "{}"))
    units: dict[str, str] = json.loads(table.properties.get(UNITS, "{}"))
    columns = tuple(
        Column(
            name=field.name,
            type=_plain(field.type),
            doc=schema.find_field(field.name).doc or "",
            unit=units.get(field.name, ""),
            required=not field.nullable,
            aliases=tuple(aliases.get(field.name, ())),
        )
        for field in arrow
    )
    return Shape(columns=columns, ids=index_by_name(schema))


def told_of(columns: Sequence[Column]) -> dict[str, str]:
    """Table properties with what Iceberg's own schema cannot say of these columns."""
    aliases = {column.name: list(column.aliases) for column in columns if column.aliases}
    units = {column.name: column.unit for column in columns if column.unit}
    return {ALIASES: json.dumps(aliases), UNITS: json.dumps(units)}


def columns_in(file: base.Written) -> tuple[Column, ...] | None:
    """The columns of a file without field ids; None where it has them."""
    arrow = file.metadata.schema.to_arrow_schema()
    if _has_ids(arrow):
        return None
    return tuple(
        Column(
            name=field.name,
            type=field.type,
            doc=(field.metadata or {}).get(b"doc", b"").decode(errors="replace"),
        )
        for field in arrow
    )


def _has_ids(arrow: pa.Schema) -> bool:
    return any(_ID in (field.metadata or {}) for field in arrow)


def data_file(table: Table, address: str, file: base.Written) -> DataFile:
    """A file of one date as a manifest lists it, with the statistics of its footer.

    Its columns are known by the ids in it: the table may have renamed them since.
    """
    schema = table.schema()
    arrow = file.metadata.schema.to_arrow_schema()
    own = pyarrow_to_schema(arrow, name_mapping=None if _has_ids(arrow) else schema.name_mapping)
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=file.metadata,
        stats_columns=compute_statistics_plan(schema, table.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(own),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=address,
        file_format=FileFormat.PARQUET,
        partition=IcebergRecord((date.fromisoformat(file.date) - _EPOCH).days),
        file_size_in_bytes=file.size,
        sort_order_id=None,
        spec_id=table.spec().spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def _plain(kind: Any) -> pa.DataType:  # noqa: ANN401 - pyarrow has no types
    """Arrow's type as we have it: pyiceberg says large_string and large_list for some."""
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_field
        return pa.list_(pa.field("element", _plain(inner.type), nullable=inner.nullable))
    if pa.types.is_struct(kind):
        return pa.struct(pa.field(f.name, _plain(f.type), nullable=f.nullable) for f in kind)
    return kind
