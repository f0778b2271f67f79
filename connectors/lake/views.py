"""The SQL of the lake's views: pure.

A dataset's view reads the list of files in variable DATASET_files. Where the dataset has a table,
columns are found by Iceberg field id in whatever file (Iceberg table spec, "Column Projection"):
an older file has them under older names, narrower, or not at all. `date` is the folder that a
file is in, so a condition on it leaves out files without opening them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from pipeline.core.lake_columns import LAYOUTS, Column, Dataset
from pipeline.core.lake_records import Shape

DATE: Final = Column(
    name="date",
    type=pa.date32(),
    doc="Day of the event time, UTC. Name it in WHERE: files of other days are then not opened.",
)
_NO_ID: Final = 1_000_000_000
"""Ids from here on are in no file: columns that this version knows and the table has not yet."""
_TYPES: Final = {
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.timestamp("us"): "TIMESTAMP",
}


def files_variable(dataset: Dataset) -> str:
    """Name of the variable that holds the dataset's files."""
    return f"{dataset}_files"


def time_name(dataset: Dataset) -> str:
    """How a scan calls the event time, so that plans tell which dataset they read."""
    return f"{dataset}.{LAYOUTS[dataset].time}"


def columns_seen(shape: Shape | None, known: Sequence[Column]) -> tuple[Column, ...]:
    """Columns of a dataset's view but `date`: the table's, then those that it has not yet.

    Units come from `known`, a table has none.
    """
    units = {column.name: column.unit for column in known}
    there = tuple(
        replace(column, unit=column.unit or units.get(column.name, ""))
        for column in (() if shape is None else shape.columns)
    )
    names = {column.name for column in there} | set(_renamed(there))
    return (*there, *(column for column in known if column.name not in names))


def old_names(shape: Shape | None, known: Sequence[Column]) -> tuple[tuple[Column, str], ...]:
    """Columns of the table that this version knows by an older name: (by that name, new name).

    The view has them under both, so questions that were right stay right.
    """
    renamed = _renamed(() if shape is None else shape.columns)
    return tuple(
        (replace(column, doc=f"Is called {renamed[column.name]} now. {column.doc}"), new)
        for column in known
        if (new := renamed.get(column.name)) is not None
    )


def _renamed(there: Iterable[Column]) -> dict[str, str]:
    columns = tuple(there)
    names = {column.name for column in columns}
    return {old: one.name for one in columns for old in one.aliases if old not in names}


def table_view(dataset: Dataset, shape: Shape, known: Sequence[Column]) -> str:
    """Query over the files of a table's snapshot; there must be one."""
    time = LAYOUTS[dataset].time
    seen = [column for column in columns_seen(shape, known) if column.name != DATE.name]
    depth = max(_depth(column.type) for column in seen)
    ids = shape.ids or {}
    entries = [
        _entry(
            ids.get(column.name, _NO_ID + place),
            time_name(dataset) if column.name == time else column.name,
            column.name,
            column.type,
            ids,
            depth,
        )
        for place, column in enumerate(seen)
    ]
    outputs = [
        f"{name(time_name(dataset))} AS {name(time)}" if c.name == time else name(c.name)
        for c in seen
    ]
    outputs += [
        f"{name(time_name(dataset) if new == time else new)} AS {name(old.name)}"
        for old, new in old_names(shape, known)
    ]
    return (
        f"SELECT {', '.join(outputs)}, "  # noqa: S608 - every name is quoted
        "CAST(regexp_extract(lake_file, '/date=([^/]+)/', 1) AS DATE) AS date "
        f"FROM read_parquet(getvariable({text(files_variable(dataset))}), "
        f"filename = 'lake_file', schema = MAP {{{', '.join(entries)}}})"
    )


def folder_view(dataset: Dataset, known: Sequence[Column]) -> str:
    """Query over files without a table, columns by name; there must be one file."""
    return (
        f"SELECT * FROM (SELECT * FROM read_parquet(getvariable({text(files_variable(dataset))}), "  # noqa: S608 - every name is quoted
        "hive_partitioning = true, hive_types = {'date': DATE}, union_by_name = true) "
        f"UNION ALL BY NAME {empty_view(known)})"
    )


def empty_view(known: Sequence[Column]) -> str:
    """Query that gives the columns and no row."""
    return f"SELECT {', '.join(_null(column) for column in (*known, DATE))} WHERE false"


def _null(column: Column) -> str:
    return f"CAST(NULL AS {sql_type(column.type)}) AS {name(column.name)}"


def comments(view: str, doc: str, columns: Iterable[Column]) -> str:
    """COMMENT ON statements with what is known of a view and its columns."""
    told = [f"COMMENT ON VIEW {name(view)} IS {text(doc)}"]
    told += [
        f"COMMENT ON COLUMN {name(view)}.{name(column.name)} IS {text(_told(column))}"
        for column in columns
        if _told(column)
    ]
    return "; ".join(told)


def _told(column: Column) -> str:
    named_in_doc = not column.unit or f"[{column.unit}]" in column.doc
    return column.doc if named_in_doc else f"{column.doc} [{column.unit}]"


def sql_type(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type."""
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{name(f.name)} {sql_type(f.type)}' for f in kind)})"
    return _TYPES[kind]


def name(what: str) -> str:
    """An identifier."""
    return '"' + what.replace('"', '""') + '"'


def text(what: str) -> str:
    """A string."""
    return "'" + what.replace("'", "''") + "'"


def _depth(kind: pa.DataType) -> int:
    if pa.types.is_list(kind):
        return 1 + _depth(kind.value_type)
    if pa.types.is_struct(kind):
        return 1 + max((_depth(field.type) for field in kind), default=0)
    return 0


def _entry(
    id_: int, called: str, path: str, kind: pa.DataType, ids: Mapping[str, int], depth: int
) -> str:
    """One entry of read_parquet's `schema`. All entries of one level must be of one type."""
    inner = ""
    if depth:
        children = [
            _entry(ids[f"{path}.{f.name}"], f.name, f"{path}.{f.name}", f.type, ids, depth - 1)
            for f in _children(kind)
            if f"{path}.{f.name}" in ids
        ]
        told = "MAP {" + ", ".join(children) + "}" if children else "NULL"
        inner = f", children: {told}"
    return (
        f"{id_}: {{name: {text(called)}, type: {text(sql_type(kind))}, default_value: NULL{inner}}}"
    )


def _children(kind: pa.DataType) -> list[pa.Field]:
    if pa.types.is_list(kind):
        return [kind.value_field.with_name("element")]
    return list(kind) if pa.types.is_struct(kind) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Handy:
    """A view over the datasets' views."""

    name: str
    doc: str
    query: str
    of: tuple[Dataset, ...]


HANDY: Final = (
    Handy(
        name="latest_readings",
        doc="Newest reading of each device and metric, of the last seven days that have any. "
        "Readings that claim to be of the future are left out.",
        query="SELECT tenant, device_id, metric, max(time) AS time, "
        "arg_max(value, time) AS value, count(*) AS readings FROM telemetry "
        "WHERE date > getvariable('telemetry_last_date') - 7 "
        "AND (flag IS NULL OR flag NOT IN ('future', 'clamped')) "
        "GROUP BY tenant, device_id, metric",
        of=(Dataset.TELEMETRY,),
    ),
    Handy(
        name="telemetry_hourly",
        doc="Number, mean, least and greatest of the finite readings of each device and metric, "
        "hour by hour (UTC).",
        query="SELECT date, date_trunc('hour', time) AS hour, tenant, device_id, metric, "
        "count(*) AS readings, avg(value) AS mean, min(value) AS least, max(value) AS greatest "
        "FROM telemetry WHERE isfinite(value) "
        "GROUP BY date, date_trunc('hour', time), tenant, device_id, metric",
        of=(Dataset.TELEMETRY,),
    ),
    Handy(
        name="open_alarms",
        doc="Troubles that were raised and not cleared; severity and summary as last told.",
        query="SELECT id, tenant, device_id, asset_id, customer_id, type, severity, summary, "
        "metric, detector, rule, disposition, raised_at, told_at, times_told, date FROM ("
        "SELECT coalesce(nullif(entity_id, ''), id) AS id, "
        "any_value(tenant) AS tenant, any_value(device_id) AS device_id, "
        "any_value(asset_id) AS asset_id, any_value(customer_id) AS customer_id, "
        "arg_max(type, version) AS type, arg_max(severity, version) AS severity, "
        "arg_max(summary, version) AS summary, arg_max(metric, version) AS metric, "
        "arg_max(detector, version) AS detector, arg_max(rule, version) AS rule, "
        "arg_max(disposition, version) AS disposition, "
        "min(occurred_at) AS raised_at, max(occurred_at) AS told_at, count(*) AS times_told, "
        "min(date) AS date, bool_or(action = 'clear') AS cleared, "
        "bool_or(coalesce(action, 'raise') = 'raise') AS raised "
        "FROM (SELECT *, (source_offset, source_index) AS version FROM events) "
        "GROUP BY coalesce(nullif(entity_id, ''), id)) "
        "WHERE raised AND NOT coalesce(cleared, false)",
        of=(Dataset.EVENTS,),
    ),
    Handy(
        name="delivery_outcomes",
        doc="How each event ended at each sink: of several results of one event there, the last.",
        query="SELECT * FROM deliveries QUALIFY row_number() OVER "
        "(PARTITION BY event_id, sink ORDER BY deliveries.at DESC, kafka_offset DESC) = 1",
        of=(Dataset.DELIVERIES,),
    ),
    Handy(
        name="deliveries_daily",
        doc="Results of each day by sink and outcome, with their latency in milliseconds.",
        query="SELECT date, sink, outcome, count(*) AS results, "
        "median(latency_ms) AS median_ms, max(latency_ms) AS greatest_ms "
        "FROM deliveries GROUP BY date, sink, outcome",
        of=(Dataset.DELIVERIES,),
    ),
    Handy(
        name="quarantine_daily",
        doc="What could not be read on each day, by reason and device.",
        query="SELECT date, reason, device_id, count(*) AS messages, sum(readings) AS readings, "
        "any_value(detail) AS for_example FROM quarantine GROUP BY date, reason, device_id",
        of=(Dataset.QUARANTINE,),
    ),
)
DOCS: Final = {
    Dataset.TELEMETRY: "Deduplicated readings, one row each.",
    Dataset.EVENTS: "Business events, one row each.",
    Dataset.DELIVERIES: "How each event ended at each sink.",
    Dataset.QUARANTINE: "What could not be read, as it came.",
}
