"""Three independent readers of one lake, and a look at its objects.

DuckDB reads the hive layout through s3fs, pyarrow the same through its own S3 client, pyiceberg
the tables through the catalogue. None of them uses anything of the lake's own code.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import s3fs
from pyarrow import fs
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.table import Table

from pipeline.settings import Settings
from tests.crash.lake_oracle import COLUMNS, Row, bits

NAMESPACE: Final = "fieldline"
AT_ONCE: Final = 8
"""Objects read at once: a run has thousands, and most of each is waiting."""
_OFFSETS: Final = "fieldline.offsets."


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The lake, straight to S3 and not through any door."""

    endpoint: str
    bucket: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    catalogue: str = field(repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Where:
        """As the settings say."""
        secret, catalogue = settings.s3_secret_key, settings.lake_catalog
        assert settings.s3_endpoint is not None
        assert settings.s3_access_key is not None
        assert secret is not None
        assert catalogue is not None
        return cls(
            endpoint=settings.s3_endpoint,
            bucket=settings.s3_bucket,
            region=settings.s3_region,
            access_key=settings.s3_access_key,
            secret_key=secret.get_secret_value(),
            catalogue=catalogue.get_secret_value(),
        )

    def arrow(self) -> fs.S3FileSystem:
        """pyarrow's own S3 client."""
        return fs.S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            endpoint_override=urlsplit(self.endpoint).netloc,
            scheme="http",
            region=self.region,
        )

    def tables(self) -> Catalog:
        """The catalogue, with pyarrow's file access."""
        return load_catalog(
            NAMESPACE,
            **{
                "type": "sql",
                "uri": self.catalogue,
                "s3.endpoint": self.endpoint,
                "s3.region": self.region,
                "s3.access-key-id": self.access_key,
                "s3.secret-access-key": self.secret_key,
            },
        )

    def table(self, dataset: str) -> Table:
        """One dataset's table."""
        return self.tables().load_table((NAMESPACE, dataset))


def by_duckdb(where: Where, dataset: str) -> Counter[Row]:
    """The hive layout by a glob."""
    connection = duckdb.connect(":memory:")
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register_filesystem(
            s3fs.S3FileSystem(
                key=where.access_key,
                secret=where.secret_key,
                endpoint_url=where.endpoint,
                client_kwargs={"region_name": where.region},
                config_kwargs={"s3": {"addressing_style": "path"}, "proxies": {}},
                use_listings_cache=False,
                skip_instance_cache=True,
            )
        )
        found: pa.Table = connection.sql(
            "SELECT * FROM read_parquet(?, hive_partitioning = true, union_by_name = true, "
            "hive_types_autocast = false)",
            params=[f"s3://{where.bucket}/{dataset}/date=*/*.parquet"],
        ).to_arrow_table()
    finally:
        connection.close()
    return rows_of(dataset, found)


def by_pyarrow(where: Where, dataset: str) -> Counter[Row]:
    """The hive layout as a dataset; what begins with an underscore is left out, as by default."""
    found = pads.dataset(
        f"{where.bucket}/{dataset}",
        filesystem=where.arrow(),
        format="parquet",
        partitioning=pads.partitioning(pa.schema([("date", pa.string())]), flavor="hive"),
    )
    return rows_of(dataset, found.to_table())


def by_pyiceberg(where: Where, dataset: str) -> Counter[Row]:
    """The table. It has no folder names: a row's date is its time's, in UTC."""
    found = where.table(dataset).scan().to_arrow()
    time = {"telemetry": "time", "events": "occurred_at", "deliveries": "at"}.get(
        dataset, "received_at"
    )
    days = found[time].cast(pa.timestamp("us")).cast(pa.date32()).cast(pa.string())
    return rows_of(dataset, found.append_column("date", days))


READERS: Final[Mapping[str, Callable[[Where, str], Counter[Row]]]] = {
    "DuckDB": by_duckdb,
    "pyarrow": by_pyarrow,
    "pyiceberg": by_pyiceberg,
}


def rows_of(dataset: str, found: pa.Table) -> Counter[Row]:
    """Rows as the oracle has them."""
    names = (*COLUMNS[dataset], "date")
    return Counter(zip(*(_values(found[name]) for name in names), strict=True))


def _values(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
    values: list[Any] = column.to_pylist()
    if pa.types.is_floating(kind):
        return [bits(value) for value in values]
    return values


@dataclass(slots=True, kw_only=True)
class Found:
    """What of one dataset lies in the bucket and in its table."""

    claims: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)
    """By topic and partition, in order of their names."""
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Name below the dataset → range in its metadata, rows by its footer."""
    in_table: Counter[str] = field(default_factory=Counter)
    """Names that the table lists."""
    by_day: Counter[str] = field(default_factory=Counter)
    """Rows that the table lists, by the date it keeps them under."""
    offsets: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    snapshots: list[tuple[int, str, int]] = field(default_factory=list)
    """Time in ms, ranges added, rows in all, from the oldest on."""
    history_cut: bool = False
    """Whether older snapshots were dropped."""


def look(where: Where, dataset: str) -> Found:
    """Everything that is there."""
    out = Found()
    s3 = where.arrow()
    root = f"{where.bucket}/{dataset}"
    there = [
        entry.path.removeprefix(f"{root}/")
        for entry in s3.get_file_info(fs.FileSelector(root, recursive=True))
        if entry.type is fs.FileType.File
    ]
    files = [name for name in there if name.endswith(".parquet")]
    claims = [name for name in there if name.startswith("_ranges/") and name.endswith(".json")]

    def read(name: str) -> bytes:
        with s3.open_input_file(f"{root}/{name}") as file:
            data: bytes = file.read()
        return data

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, data in zip(files, pool.map(read, files), strict=True):
            footer = pq.read_metadata(io.BytesIO(data))
            note = (footer.metadata or {}).get(b"fieldline.range", b"").decode()
            out.files[name] = (note, footer.num_rows)
        for claim in map(json.loads, pool.map(read, claims)):
            out.claims.setdefault((claim["topic"], claim["partition"]), []).append(claim)
    for chain in out.claims.values():
        chain.sort(key=lambda claim: int(claim["first"]))
    _look_at_table(where.table(dataset), f"s3://{root}/", out)
    return out


def read_rows(where: Where, dataset: str) -> dict[str, Counter[Row]]:
    """A dataset's rows by each reader."""
    return {name: read(where, dataset) for name, read in READERS.items()}


def _look_at_table(table: Table, root: str, out: Found) -> None:
    for task in table.scan().plan_files():
        out.in_table[task.file.file_path.removeprefix(root)] += 1
        [day] = (task.file.partition[0],)
        date = pa.scalar(day, pa.int32()).cast(pa.date32()).as_py()
        out.by_day[date.isoformat()] += task.file.record_count
    for name, value in table.properties.items():
        if name.startswith(_OFFSETS):
            topic, _, partition = name.removeprefix(_OFFSETS).rpartition("/")
            first, _, last = value.partition("-")
            out.offsets[topic, int(partition)] = (int(first), int(last))
    by_id = {one.snapshot_id: one for one in table.snapshots()}
    at = table.current_snapshot()
    while at is not None:
        told = at.summary.additional_properties if at.summary else {}
        total = int(told.get("total-records", "0"))
        out.snapshots.append((at.timestamp_ms, told.get("fieldline.ranges", ""), total))
        out.history_cut = at.sequence_number != 1  # commits are numbered from 1 on
        at = by_id.get(at.parent_snapshot_id) if at.parent_snapshot_id is not None else None
    out.snapshots.reverse()
