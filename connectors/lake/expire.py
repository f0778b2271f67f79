"""What nobody needs any more: old dates, old snapshots, replaced files, leavings, old claims.

Everything is first taken out of the table and only then out of the store, and what the table does
not name is removed only after the grace of its readers, or once it is settled. A crash leaves
something for the next time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

from pyiceberg.table import Table

from connectors.lake import claims, kept, mapping
from connectors.lake.compact import Clock, Token
from connectors.lake.iceberg import standings
from connectors.lake.intents import COMMIT
from connectors.lake.live import KEPT_BY, Live, LiveFile, Progress, day_of, quiet
from pipeline.core.lake_accounts import Holding
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_keep import (
    DAY_MS,
    SETTLE_MS,
    Found,
    Version,
    expirable,
    foldable,
    outlived,
    place_of,
    sweepable,
)
from pipeline.settings import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long readers may need a file that was replaced, ms; days a dataset is kept, 0 = ever."""

    grace_ms: int
    keep_days: int


@dataclass(slots=True, kw_only=True)
class Freed:
    """What was removed from one dataset, or would be."""

    dataset: Dataset
    dates: list[str] = field(default_factory=list)
    """Dates of which files were dropped because their time was over."""
    dropped_files: int = 0
    dropped_rows: int = 0
    snapshots: int = 0
    files: int = 0
    """Files of rows removed from the store, and their bytes."""
    size: int = 0
    metadata: int = 0
    """Manifests and the like removed, and their bytes."""
    metadata_size: int = 0
    claims: int = 0
    """Claims put together and removed."""


async def expire(
    live: Live,
    limits: Limits,
    *,
    clock: Clock,
    token: Token,
    dry_run: bool = False,
    progress: Progress = quiet,
) -> Freed:
    """Do all of it for one dataset; `dry_run` only looks."""
    freed = Freed(dataset=live.dataset)
    if await live.table() is None:
        return freed
    await _drop(live, limits, freed, clock, token, dry_run=dry_run)
    over = await _snapshots(live, limits, clock(), dry_run=dry_run)
    freed.snapshots = len(over)
    await _sweep(live, limits, freed, over, clock(), progress, dry_run=dry_run)
    await _fold(live, freed, clock(), progress, dry_run=dry_run)
    return freed


async def _drop(
    live: Live, limits: Limits, freed: Freed, clock: Clock, token: Token, *, dry_run: bool
) -> None:
    """Take files whose time is over out of the table."""
    while True:
        table = await live.table()
        assert table is not None  # noqa: S101 - `expire` has looked
        today = clock() // DAY_MS
        over = [
            file
            for file in await live.files(table)
            if outlived(day_of(file.date), file.arrived_day, today, limits.keep_days)
        ]
        freed.dates = sorted({file.date for file in over})
        freed.dropped_files = len(over)
        freed.dropped_rows = sum(file.rows for file in over)
        if not over or dry_run:
            return
        word = token()
        note = kept.gone_key(live.dataset, word)
        holdings = await live.each(partial(holding_of, live), over)
        await live.put(note, kept.encode_gone("retention", clock(), holdings))
        told = {KEPT_BY: "retention", COMMIT: word}
        if await live.swap([file.key for file in over], [], told):
            return
        await live.delete([note])  # one of them was merged with others meanwhile: look again


async def holding_of(live: Live, file: LiveFile) -> Holding:
    """What a live file says that it holds; SettingsError where it is not there or not ours."""
    footer = await live.footer(file.key)
    holding = None
    if isinstance(footer, mapping.Footer):
        holding = kept.holding_of(file.key, file.date, footer.metadata)
    if holding is None:
        raise SettingsError(
            f"The file {file.key} is missing or not what the table says of it: run fieldline lake "
            "verify."
        )
    return holding


async def _snapshots(live: Live, limits: Limits, now_ms: int, *, dry_run: bool) -> tuple[int, ...]:
    """Forget the versions of the table that nobody can still be reading; their ids."""

    def act(table: Table) -> tuple[int, ...]:
        held = {ref.snapshot_id for ref in table.metadata.refs.values()}
        old = expirable(
            [
                Version(id=s.snapshot_id, made_ms=s.timestamp_ms, held=s.snapshot_id in held)
                for s in table.snapshots()
            ],
            now_ms,
            limits.grace_ms,
        )
        if old and not dry_run:
            table.maintenance.expire_snapshots().by_ids(list(old)).commit()
        return old

    return await live.change(act) or ()


async def _sweep(
    live: Live,
    limits: Limits,
    freed: Freed,
    over: Collection[int],
    now_ms: int,
    progress: Progress,
    *,
    dry_run: bool,
) -> None:
    """Remove objects that no version of the table names, those that are `over` apart.

    The store is listed before the table is read: what is new is not in the listing, and what
    became old in between is still named.
    """
    listed = await live.listed(f"{live.dataset}/date=")
    rows = [one for one in listed if place_of(one.key) is not None]  # other files are not ours
    metadata = await live.listed(f"{live.dataset}/_iceberg/")
    notes = await claims.replaced_notes(live)
    table = await live.table()
    assert table is not None  # noqa: S101 - `expire` has looked
    named = await live.named(table, over)
    needed = named.rows | await claims.awaited(live, standings(table))
    replaced_ms = claims.latest(notes)
    old_rows = list(
        sweepable(
            rows, needed=needed, replaced_ms=replaced_ms, now_ms=now_ms, grace_ms=limits.grace_ms
        )
    )
    old_metadata = list(
        sweepable(
            metadata,
            needed=named.metadata,
            replaced_ms={},
            now_ms=now_ms,
            grace_ms=limits.grace_ms,
        )
    )
    freed.files, freed.size = len(old_rows), sum(one.size for one in old_rows)
    freed.metadata, freed.metadata_size = len(old_metadata), sum(o.size for o in old_metadata)
    if dry_run:
        return
    await live.delete([one.key for one in (*old_rows, *old_metadata)], progress)
    left = {one.key for one in rows} - {one.key for one in old_rows}
    replaced = kept.replaced_prefix(live.dataset)
    await live.delete(
        note
        for note, keys in notes.items()
        if note.startswith(replaced) and left.isdisjoint(keys) and _settled(keys, now_ms)
    )


def _settled(keys: dict[str, int], now_ms: int) -> bool:
    return all(at_ms < now_ms - SETTLE_MS for at_ms in keys.values())


async def _fold(
    live: Live, freed: Freed, now_ms: int, progress: Progress, *, dry_run: bool
) -> None:
    """Put old claims of each topic-partition together, without their memory."""
    listed = await claims.claims_listed(live)
    table = await live.table()
    assert table is not None  # noqa: S101 - `expire` has looked
    for source, at in standings(table).items():
        firsts = {one.key: first for first, one in listed.get(source, ())}
        old = foldable([one for _, one in listed.get(source, ())], firsts, at.first, now_ms)
        freed.claims += len(old)
        if dry_run:
            continue
        for start in range(0, len(old), kept.FOLD_CLAIMS):
            await _fold_some(live, old[start : start + kept.FOLD_CLAIMS], progress)


async def _fold_some(live: Live, old: Sequence[Found], progress: Progress) -> None:
    books = await claims.read_claims(live, [one.key for one in old], progress)
    if len(books.claims) != len(old):
        raise SettingsError(
            f"Of the claims below {live.dataset}/_ranges/ one cannot be read: run fieldline lake "
            "verify, which names it."
        )
    lines = sorted(map(kept.line_of, books.claims.values()), key=lambda line: line.first)
    first = lines[0]
    key = kept.fold_key(live.dataset, first.topic, first.partition, first.first)
    data = kept.encode_fold(lines)
    if not await live.put(key, data):
        # Of a run that died, or runs now: its claims are in it, ours beyond them wait.
        there = kept.decode_fold(await live.get(key) or b"") or ()
        lines = [line for line in lines if line in set(there)]
    wanted = {line.first for line in lines}
    await live.delete(k for k, claim in books.claims.items() if claim.first in wanted)
