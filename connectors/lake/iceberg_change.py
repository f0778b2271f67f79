"""What is done to an Iceberg table of the lake: made or found, evolved, given ranges.

Each function is one look and at most one commit, and raises what pyiceberg does: a lost race
(catalog.RACE) is to be run again from the look on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from pyiceberg.catalog import Catalog
from pyiceberg.io import load_file_io
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AddSnapshotUpdate, TableRequirement, TableUpdate
from pyiceberg.table.update.snapshot import ExpireSnapshots

from connectors.lake import base
from connectors.lake.catalog import NAMESPACE, NoSuchTableError, is_rest
from connectors.lake.config import LakeConfig
from connectors.lake.iceberg_schema import (
    WITHOUT_IDS,
    columns_in,
    data_file,
    iceberg_schema,
    partition_spec,
    shape_of,
    sort_order,
    told_of,
)
from connectors.lake.mapping import range_note
from pipeline.core.archive import Claim
from pipeline.core.lake_columns import Column, Dataset
from pipeline.core.lake_evolve import plan
from pipeline.core.lake_records import Shape

OFFSETS: Final = "fieldline.offsets."
"""Property TOPIC/PARTITION → "FIRST-LAST" of its newest range."""
RANGES: Final = "fieldline.ranges"
"""Snapshot property: the ranges that it added."""

KEPT_MS: Final = 3_600_000
FEWEST: Final = 20
MOST: Final = 100
"""Snapshots that a commit leaves: those of the hour before it, at least and at most so many.
Each is named in the metadata that every commit reads and writes anew."""

_PROPERTIES: Final = {
    "format-version": "2",
    # A lost race is ours to run again: only we know which ranges are still to be added.
    "commit.retry.num-retries": "0",
    "commit.manifest-merge.enabled": "true",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "write.parquet.compression-codec": "zstd",
}

Where = tuple[str, int]
"""Topic and partition."""

log = structlog.get_logger(__name__)


class Change(Transaction):
    """A transaction that works out what it makes of the table once for each of its steps.

    pyiceberg asks for that some twenty times in a commit, and each time copies every
    snapshot deeply: with a hundred of them that was most of a commit's time.
    """

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._made: tuple[object, TableMetadata] = (self._updates, table.metadata)

    def _stage(
        self, updates: tuple[TableUpdate, ...], requirements: tuple[TableRequirement, ...] = ()
    ) -> Transaction:
        # Each snapshot after the last, whatever this machine's clock says: readers in Java, Rust
        # and Go refuse a table whose snapshots go back by more than a minute (Iceberg,
        # TableMetadata: "Expected sorted snapshot log entries"), and age would count backwards.
        after_ms = self._table.metadata.last_updated_ms
        return super()._stage(tuple(_dated(one, after_ms) for one in updates), requirements)

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with what is staged."""
        if self._made[0] is not self._updates:
            self._made = (self._updates, super().table_metadata)
        return self._made[1]


def _dated(update: TableUpdate, after_ms: int) -> TableUpdate:
    if not isinstance(update, AddSnapshotUpdate) or update.snapshot.timestamp_ms > after_ms:
        return update
    snapshot = update.snapshot.model_copy(update={"timestamp_ms": after_ms + 1})
    return update.model_copy(update={"snapshot": snapshot})


def found_or_made(
    catalog: Catalog, config: LakeConfig, dataset: Dataset, columns: Sequence[Column]
) -> Table:
    """The dataset's table.

    A catalogue that does not know it was made anew, or lost: the table's metadata still lies
    with its files, and says what compaction and retention did to them, which no claim does. Only
    where there is none either is the table made anew.
    """
    identifier = (NAMESPACE, str(dataset))
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        left = None if is_rest(config) else _newest_metadata(catalog, config, dataset)
    if left is not None:
        log.warning("lake table found again by its metadata", table=".".join(identifier))
        return catalog.register_table(identifier, left)
    schema = iceberg_schema(columns)
    # Files from before there was a table have no field ids and are read by name.
    by_name = {"schema.name-mapping.default": schema.name_mapping.model_dump_json()}
    table = catalog.create_table(
        identifier,
        schema,
        location=f"{config.url}/{dataset}",
        partition_spec=partition_spec(dataset, schema),
        sort_order=sort_order(dataset, schema),
        properties=_PROPERTIES
        | {"write.metadata.path": _metadata_folder(config, dataset)}
        | by_name
        | told_of(columns),
    )
    log.info("lake table made", table=".".join(identifier))
    return table


def _metadata_folder(config: LakeConfig, dataset: Dataset) -> str:
    return f"{config.url}/{dataset}/_iceberg"


def _newest_metadata(catalog: Catalog, config: LakeConfig, dataset: Dataset) -> str | None:
    """Address of the newest metadata whose manifests are there; None where there is none.

    Names begin with the version. Of two of one version, one lost the race: its manifests were
    taken away again, or it is the older.
    """
    folder = _metadata_folder(config, dataset)
    io: Any = load_file_io(dict(catalog.properties), folder)
    fs = io.get_fs(urlsplit(folder).scheme)
    fs.invalidate_cache()
    ending = ".metadata.json"
    names = [name.rpartition("/")[2] for name in fs.glob(f"{folder}/*{ending}")]
    versions = sorted({name.partition("-")[0] for name in names}, reverse=True)
    for version in versions:
        told = [
            (FromInputFile.table_metadata(io.new_input(f"{folder}/{name}")), name)
            for name in names
            if name.startswith(f"{version}-")
        ]
        for metadata, name in sorted(told, key=lambda one: one[0].last_updated_ms, reverse=True):
            snapshot = metadata.current_snapshot()
            if snapshot is None or fs.exists(snapshot.manifest_list):
                return f"{folder}/{name}"
    return None


def evolve(table: Table, wanted: Sequence[Column]) -> Shape:
    """Rename, add and widen columns so that the table has room for `wanted`."""
    there = shape_of(table)
    needed = plan(there.columns, wanted)
    if not needed.changed:
        return there
    with Change(table) as change:
        if needed.renamed:
            with change.update_schema() as columns:
                for old, new in needed.renamed:
                    columns.rename_column(old, new)
        with change.update_schema() as columns:
            columns.union_by_name(Shape(columns=needed.columns).schema())
        change.set_properties(told_of(needed.columns))
    log.info(
        "lake table follows its producers",
        table=".".join(table.name()),
        renamed=needed.renamed,
        columns=len(needed.columns),
    )
    return shape_of(table)


def standings(table: Table) -> dict[Where, base.Standing]:
    """The newest range that a table has of each topic-partition."""
    found: dict[Where, base.Standing] = {}
    for name, value in table.properties.items():
        if not name.startswith(OFFSETS):
            continue
        topic, _, partition = name.removeprefix(OFFSETS).rpartition("/")
        first, _, last = value.partition("-")
        found[topic, int(partition)] = base.Standing(first=int(first), last=int(last))
    return found


def add(table: Table, url: str, ranges: Sequence[tuple[Claim, Sequence[base.Written]]]) -> None:
    """One snapshot with the files of these ranges; it notes their offsets and drops old ones.

    `url` is the lake's root. Ranges of one topic-partition follow each other.
    """
    without_ids = [
        columns
        for _, files in ranges
        for file in files
        if (columns := columns_in(file)) is not None
    ]
    for columns in without_ids:
        evolve(table, columns)
    told = [range_note(claim) for claim, _ in ranges]
    moved = {
        f"{OFFSETS}{claim.topic}/{claim.partition}": f"{claim.first}-{claim.last}"
        for claim, _ in sorted(ranges, key=lambda one: one[0].first)
    }
    with Change(table) as change:
        files = [data_file(table, f"{url}/{file.key}", file) for _, all_ in ranges for file in all_]
        # Without a file too: a snapshot is what makes the catalogue look for a race.
        properties = {RANGES: " ".join(told)}
        with change.update_snapshot(snapshot_properties=properties).merge_append() as append:
            for file in files:
                append.append_data_file(file)
        change.set_properties(moved | ({WITHOUT_IDS: "true"} if without_ids else {}))
        old = expired(change.table_metadata.snapshots, protected(table))
        if old:
            ExpireSnapshots(change).by_ids(old).commit()


def protected(table: Table) -> set[int]:
    """Snapshots that a branch or tag names."""
    return {ref.snapshot_id for ref in table.metadata.refs.values()}


def expired(snapshots: Sequence[Snapshot], kept: Iterable[int]) -> list[int]:
    """Ids of those that a commit drops, by their age before the newest; `kept` stay."""
    by_age = sorted(snapshots, key=lambda one: one.timestamp_ms, reverse=True)
    stays = set(kept)
    return [
        one.snapshot_id
        for place, one in enumerate(by_age)
        if one.snapshot_id not in stays
        and place >= FEWEST
        and (place >= MOST or by_age[0].timestamp_ms - one.timestamp_ms > KEPT_MS)
    ]


def sorted_out(
    standing: Mapping[Where, base.Standing], brought: Sequence[Claim], name: str
) -> list[base.Halt | bool]:
    """For each claim: True where it is to be added, False where the table has it, or why not."""
    last = {where: at.last for where, at in standing.items()}
    answers: list[base.Halt | bool] = [False] * len(brought)
    for place, claim in sorted(enumerate(brought), key=lambda one: one[1].first):
        where = (claim.topic, claim.partition)
        reached = last.get(where, -1)
        if claim.last <= reached:
            continue
        if claim.first != reached + 1:
            answers[place] = base.Halt(
                reason=f"{name} has offsets of {where[0]}/{where[1]} up to {reached} and is "
                f"brought those from {claim.first} on: it was put back or made anew; "
                "start this worker again, and it shows the table what it lacks."
            )
            continue
        last[where] = claim.last
        answers[place] = True
    return answers
