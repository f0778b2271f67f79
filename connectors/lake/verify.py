"""Compares what the lake's claims promise with what its files hold.

With a table by what the table names; without one by what lies in the folders. From footers
alone, a few kilobytes a file, or from the rows themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.table import Table

from connectors.lake import claims, intents, kept, mapping
from connectors.lake.claims import Source
from connectors.lake.iceberg import standings
from connectors.lake.live import Live, Progress, quiet
from connectors.lake.rewrite import BATCH_ROWS
from pipeline.core.lake_accounts import Account, Finding, Holding, Line, Wrong, examine
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_keep import NO_ROWS, Tally, place_of
from pipeline.core.lake_sum import SUMMED, row_sum

LOOKS = 3
"""How often a lake that changed under our eyes is looked at again before we believe a finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `verify` says of one dataset.

    `leftovers` are files in its folders that the table does not name, `leftover_size` their
    bytes: replaced ones in their grace, or leavings that `expire` sweeps. `reached` is the
    offset after the last claim of each topic-partition.
    """

    dataset: Dataset
    by_table: bool
    account: Account
    leftovers: int
    leftover_size: int
    reached: Mapping[Source, int]
    unproven: int
    """Commits that took out somebody's rows, or were to, and of which no proof tells yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    key: str
    date: str
    rows: int | None
    """As the table has it."""


async def verify(live: Live, *, rows: bool = False, progress: Progress = quiet) -> Report:
    """Compare one dataset; `rows` reads every row and sums it again."""
    for _ in range(LOOKS - 1):
        before = await _version(live)
        report = await _verify(live, rows=rows, progress=progress)
        if not report.account.findings or before == await _version(live):
            return report
    return await _verify(live, rows=rows, progress=progress)


async def _version(live: Live) -> object:
    table = await _table(live)
    return None if table is None else table.metadata_location


async def _table(live: Live) -> Table | None:
    return None if live.config.catalog is None else await live.table()


async def _verify(live: Live, *, rows: bool, progress: Progress) -> Report:
    table = await _table(live)
    # Whoever claims a range has finished the one before it, so all before the newest is done.
    listed = await claims.claims_listed(live)
    standing = {source: max(first for first, _ in found) - 1 for source, found in listed.items()}
    objects = [one for one in await live.listed(f"{live.dataset}/date=") if place_of(one.key)]
    if table is None:
        files = [_File(key=o.key, date=_date_of(o.key), rows=None) for o in objects]
    else:
        standing = {source: at.last for source, at in standings(table).items()}
        files = [_File(key=f.key, date=f.date, rows=f.rows) for f in await live.files(table)]
    findings: list[Finding] = []

    async def one(file: _File) -> Holding | None:
        holding, found = await (_read if rows else _told)(live, file)
        findings.extend(found)
        return holding

    told = await live.each(
        one, files, lambda done: progress(f"{live.dataset}: files", done, len(files))
    )
    holdings = [holding for holding in told if holding is not None]
    here = {file.key for file in files}
    gone, unreadable = await claims.read_gone(live)
    holdings += [one for one in gone if one.key not in here]
    books = await claims.read_books(live, progress)
    lines = books.lines()
    account = examine(lines, holdings, standing)
    left = [one for one in objects if one.key not in here]
    return Report(
        dataset=live.dataset,
        by_table=table is not None,
        account=replace(
            account,
            findings=(*books.findings, *unreadable, *findings, *account.findings),
        ),
        leftovers=len(left),
        leftover_size=sum(one.size for one in left),
        reached=_reached(lines),
        unproven=len(await intents.open_notes(live)),
    )


def _reached(lines: list[Line]) -> dict[Source, int]:
    reached: dict[Source, int] = {}
    for line in lines:
        source = (line.topic, line.partition)
        reached[source] = max(reached.get(source, 0), line.last + 1)
    return reached


def _date_of(key: str) -> str:
    return key.split("/")[1].removeprefix("date=")


async def _told(live: Live, file: _File) -> tuple[Holding | None, list[Finding]]:
    """What a file's footer says."""
    footer = await live.footer(file.key)
    if footer is None or isinstance(footer, mapping.Footer):
        told = None if footer is None else kept.holding_of(file.key, file.date, footer.metadata)
        return _checked(file, told)
    return None, [_wrong(Wrong.LOST, file)]


async def _read(live: Live, file: _File) -> tuple[Holding | None, list[Finding]]:
    """What a file's rows say."""
    data = await live.get(file.key)
    if data is None:
        return None, [_wrong(Wrong.LOST, file)]
    try:
        own, tally = await asyncio.to_thread(_counted, live.dataset, file, data)
    except (pa.ArrowException, OSError, KeyError) as error:
        return None, [_wrong(Wrong.UNREADABLE, file, note=type(error).__name__)]
    holding, found = _checked(file, own)
    if holding is None:
        return None, found
    if holding.sum not in (None, tally.sum) or holding.rows != tally.rows:
        found.append(replace(_wrong(Wrong.CHANGED, file), rows=(holding.rows, tally.rows)))
    return replace(holding, rows=tally.rows, sum=tally.sum), found


def _counted(dataset: Dataset, file: _File, data: bytes) -> tuple[Holding | None, Tally]:
    total = NO_ROWS
    with pq.ParquetFile(BytesIO(data)) as parquet:
        own = kept.holding_of(file.key, file.date, parquet.metadata)
        columns = list(SUMMED[dataset])
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            table = pa.Table.from_batches([batch])
            total = total.plus(Tally(table.num_rows, row_sum(dataset, table)))
    return own, total


def _checked(file: _File, holding: Holding | None) -> tuple[Holding | None, list[Finding]]:
    if holding is None:
        return None, [_wrong(Wrong.UNREADABLE, file)]
    if file.rows not in (None, holding.rows):
        return holding, [replace(_wrong(Wrong.CHANGED, file), rows=(file.rows or 0, holding.rows))]
    return holding, []


def _wrong(wrong: Wrong, file: _File, note: str = "") -> Finding:
    return Finding(wrong=wrong, offsets="", date=file.date, file=file.key, note=note)
