"""The statements of every warehouse for two files that never change.

`python -m tests.contract.warehouse_golden` writes the golden files anew; read the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import SecretStr

from connectors.warehouse.base import Entry, FileColumn, LakeFile, Present, Warehouse
from connectors.warehouse.bigquery_sql import BigQuerySql
from connectors.warehouse.config import (
    BigQuerySettings,
    FabricSettings,
    RedshiftSettings,
    SnowflakeSettings,
    SynapseSettings,
)
from connectors.warehouse.dialects import Dialect
from connectors.warehouse.redshift import Redshift
from connectors.warehouse.snowflake import Snowflake
from connectors.warehouse.tsql import Fabric, Synapse
from pipeline.core.lake_columns import TEXT, Column, Dataset
from pipeline.core.lake_keep import Span
from pipeline.wire.lake import columns_of

FOLDER = Path(__file__).parent / "golden" / "warehouse"
SECRET = "hunter2-of-the-warehouse"
AZURE = "https://lake.dfs.core.windows.net/fieldline"


def dialect(warehouse: Warehouse, written: dict[str, bytes] | None = None) -> Dialect:
    """With settings of its own, not the environment's."""
    word = SecretStr(SECRET)
    notes = {} if written is None else written
    match warehouse:
        case Warehouse.SNOWFLAKE:
            told = SnowflakeSettings(_env_file=None, password=word, integration="LAKE_READER")
            return Snowflake(told, "s3://lake")
        case Warehouse.BIGQUERY:
            return BigQuerySql(BigQuerySettings(_env_file=None, project="acme"), "gs://lake")
        case Warehouse.REDSHIFT:
            amazon = RedshiftSettings(_env_file=None, password=word)
            return Redshift(amazon, "s3://lake", notes.__setitem__)
        case Warehouse.SYNAPSE:
            return Synapse(SynapseSettings(_env_file=None, password=word), AZURE)
        case Warehouse.FABRIC:
            return Fabric(FabricSettings(_env_file=None, password=word), AZURE)


def file(dataset: Dataset, first: int, *, old_name: str = "") -> LakeFile:
    """One day's file of ten offsets; `old_name` is what its second column was called."""
    columns = [FileColumn(c.name, c.type, c.name) for c in columns_of(dataset)]
    if old_name:
        columns[1] = columns[1]._replace(name=old_name)
    topic = "telemetry.deduplicated" if dataset is Dataset.TELEMETRY else "sink.lake"
    return LakeFile(
        key=f"{dataset}/date=2026-11-22/{topic}-00000-{first:020d}.parquet",
        date="2026-11-22",
        rows=100,
        size=4096,
        spans=(Span(topic, 0, first, first + 9),),
        columns=tuple(columns),
        position_sum=450,
    )


def ledger(warehouse: Warehouse) -> tuple[str, ...]:
    """What it is told of the ledger: the same whichever dataset comes first."""
    sql = dialect(warehouse)
    each = [sql.create(dataset, columns_of(dataset)) for dataset in Dataset]
    return tuple(one for one in each[0] if all(one in other for other in each))


def told(warehouse: Warehouse, dataset: Dataset) -> Iterator[str]:
    """Everything else that it is told of a dataset, in the order of its use."""
    sql = dialect(warehouse)
    columns = columns_of(dataset)
    group = (file(dataset, 0), file(dataset, 10))
    entry = Entry(
        date="2026-11-22",
        file=group[0].key,
        spans=group[0].spans,
        rows=100,
        position_sum=450,
        snapshot=7,
        at="2026-11-22 01:02:03",
    )
    shared = ledger(warehouse)
    yield from (one for one in sql.create(dataset, columns) if one not in shared)
    yield sql.present(dataset)
    added = Column(name="firmware", type=TEXT, doc="Firmware of the device.")
    narrow = [Present(name=c.name, type="x") for c in columns]
    yield from sql.change(dataset, narrow, (*columns, added))
    yield from sql.stage(dataset, 0, group, "abcd1234")
    yield sql.begin
    yield from sql.turn(dataset)
    yield sql.read_turn(dataset)
    yield from sql.clear(dataset, ("2026-11-22", "9999-12-31"))
    yield sql.bring(dataset, 0, group, "abcd1234")
    yield sql.bring(dataset, 0, (file(dataset, 0, old_name="before"),), "abcd1234")
    yield from sql.forget_entries(dataset, ("old.parquet",))
    yield from sql.note(dataset, (entry,))
    yield sql.commit
    yield from sql.unstage(0, "abcd1234")
    yield sql.measure(dataset, "2026-11-01", "2026-11-22")
    yield sql.forget_device(dataset, "acme/pump-007")
    yield sql.over_the_lake(dataset, columns, f"{dataset}/_iceberg/00007.metadata.json")


def golden() -> dict[Path, str]:
    """Every golden file and what stands in it: WAREHOUSE.sql, and WAREHOUSE-DATASET.sql."""
    found: dict[Path, str] = {}
    for one in Warehouse:
        found[FOLDER / f"{one}.sql"] = _text(ledger(one))
        for dataset in Dataset:
            found[FOLDER / f"{one}-{dataset}.sql"] = _text(told(one, dataset))
    return found


def _text(statements: Iterable[str]) -> str:
    return "".join(f"{one};\n\n" for one in statements)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file_, text in golden().items():
        file_.write_text(text)
