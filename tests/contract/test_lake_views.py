"""The SQL of the lake's views, run by DuckDB over files of its tables' shapes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.lake import views
from connectors.lake.readonly import ROOT, LakeFiles
from pipeline.core.lake_columns import Column, Dataset
from pipeline.core.lake_records import Shape

INNER_OLD = pa.struct([pa.field("metric", pa.string()), pa.field("value", pa.float32())])
INNER_NEW = pa.struct(
    [
        pa.field("name", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("score", pa.float64()),
    ]
)


def test_nested_fields_are_found_by_their_ids_too(tmp_path: Path) -> None:
    def columns(inner: pa.DataType, wide: pa.DataType) -> tuple[Column, ...]:
        return (
            Column(name="time", type=pa.timestamp("us", tz="UTC"), doc="When."),
            Column(name="number", type=wide, doc="A number."),
            Column(name="tags", type=pa.list_(pa.string()), doc="Words."),
            Column(name="seen", type=pa.list_(pa.field("element", inner)), doc="Readings."),
        )

    ids = {"time": 1, "number": 2, "tags": 3, "tags.element": 4, "seen": 5, "seen.element": 6}
    base = {"seen.element.value": 8}
    old = Shape(
        columns=columns(INNER_OLD, pa.int32()), ids={**ids, **base, "seen.element.metric": 7}
    )
    new = Shape(
        columns=columns(INNER_NEW, pa.int64()),
        ids={**ids, **base, "seen.element.name": 7, "seen.element.score": 9},
    )
    rows = (
        (old, "a", {"number": 1, "tags": ["x"], "seen": [{"metric": "m", "value": 0.5}]}),
        (new, "b", {"number": 2**40, "seen": [{"name": "n", "value": 0.25, "score": 9.0}]}),
    )
    paths = []
    for shape, called, row in rows:
        path = f"telemetry/date=2024-10-04/{called}.parquet"
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        at = {"time": datetime(2024, 10, 4, tzinfo=UTC)}
        written = pa.Table.from_pylist([at | row], shape.schema())
        pq.write_table(written, tmp_path / path, store_schema=False)
        paths.append(f"{ROOT}/{path}")
    connection = duckdb.connect()
    connection.register_filesystem(LakeFiles(fsspec.filesystem("file"), str(tmp_path)))
    connection.execute("SET VARIABLE telemetry_files = ?", [paths])
    query = views.table_view(Dataset.TELEMETRY, new, ())
    found = connection.execute(f"SELECT number, tags, seen FROM ({query}) ORDER BY 1").fetchall()  # noqa: S608 - constants of our own
    assert found == [
        (1, ["x"], [{"name": "m", "value": 0.5, "score": None}]),
        (2**40, None, [{"name": "n", "value": 0.25, "score": 9.0}]),
    ]
