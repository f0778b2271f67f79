"""Small files of a date into few large ones, without a reader noticing.

A reader of the table has its files from one snapshot, before the swap or after it. What was
replaced stays in the store for the readers' grace, and `expire` takes it away then. A crash
leaves files that no table names, which `expire` sweeps; running this again does what is left.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from connectors.lake import base, kept, rewrite
from connectors.lake.iceberg_schema import shape_of
from connectors.lake.intents import COMMIT
from connectors.lake.live import KEPT_BY, Live, LiveFile, Progress, day_of, quiet
from pipeline.core.lake_accounts import Holding
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_keep import (
    COMMIT_WITHIN_MS,
    DAY_MS,
    Small,
    bins,
    by_date,
    kept_name,
    place_of,
    settled,
)
from pipeline.settings import SettingsError

Clock = Callable[[], int]
"""Now, in milliseconds since 1970."""
Token = Callable[[], str]
"""A word of letters and digits that nobody had before and that sorts by time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What became of one group of files, `size` in bytes.

    It is `skipped` where somebody else replaced one of them first.
    """

    dataset: Dataset
    date: str
    files: int
    size: int
    rows: int
    size_after: int = 0
    skipped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Bytes of a file to aim at, and the dates to leave alone: those not over for so long."""

    target: int
    after_days: int


async def plan(live: Live, rules: Rules, now_ms: int) -> tuple[tuple[LiveFile, ...], ...]:
    """The groups of files that are each to become one."""
    table = await live.table()
    if table is None:
        return ()
    files = {file.key: file for file in await live.files(table)}
    today = now_ms // DAY_MS
    small = (
        (file.date, Small(key=file.key, size=file.size, place=place_of(file.key) or ("", 0, 0)))
        for file in files.values()
        if settled(day_of(file.date), today, rules.after_days)
    )
    return tuple(
        tuple(files[one.key] for one in group)
        for of_date in by_date(small).values()
        for group in bins(of_date, rules.target)
    )


async def compact(
    live: Live, rules: Rules, *, clock: Clock, token: Token, progress: Progress = quiet
) -> tuple[Merged, ...]:
    """Merge what `plan` says, one group after the other."""
    groups = await plan(live, rules, clock())
    done = []
    for number, group in enumerate(groups):
        progress(f"{live.dataset}: merging", number, len(groups))
        done.append(await merge(live, group, clock=clock, token=token))
    progress(f"{live.dataset}: merging", len(groups), len(groups))
    return tuple(done)


async def merge(live: Live, group: Sequence[LiveFile], *, clock: Clock, token: Token) -> Merged:
    """Make one file of a group, and put it in their place."""
    began_ms = clock()
    told = Merged(
        dataset=live.dataset,
        date=group[0].date,
        files=len(group),
        size=sum(file.size for file in group),
        rows=sum(file.rows for file in group),
    )
    with tempfile.TemporaryDirectory(prefix="fieldline-compact-") as folder:
        local = await fetched(live, group, Path(folder))
        # The columns as they are when the files are here: the table only ever gains some.
        table = await live.table()
        if local is None or table is None:
            return replace(told, skipped=True)
        key = kept_name(group[0].key, token())
        made = await asyncio.to_thread(
            rewrite.rewrite,
            live.dataset,
            shape_of(table),
            local,
            (key, Path(folder) / "merged.parquet"),
        )
        assert made.written is not None  # noqa: S101 - no row was left out
        await put(live, made)
    out = [file.key for file in group]
    swapped = await swap(
        live, out, [made.written], why="compact", word=token(), began_ms=began_ms, clock=clock
    )
    return replace(told, size_after=made.written.size, skipped=not swapped)


async def fetched(
    live: Live, group: Sequence[LiveFile], folder: Path
) -> list[tuple[Holding, Path]] | None:
    """The files on the local disk, and what they hold; None where one is gone meanwhile."""
    numbered = tuple(enumerate(group))

    async def one(file: tuple[int, LiveFile]) -> tuple[Holding, Path] | None:
        number, wanted = file
        data = await live.get(wanted.key)
        if data is None:
            return None
        path = folder / f"{number}.in"
        await asyncio.to_thread(path.write_bytes, data)
        holding = await asyncio.to_thread(_holding, wanted, path)
        return holding, path

    found = [one for one in await live.each(one, numbered) if one is not None]
    return found if len(found) == len(group) else None


def _holding(file: LiveFile, path: Path) -> Holding:
    holding = kept.holding_in(file.key, file.date, path)
    if holding is None or holding.rows != file.rows:
        raise SettingsError(
            f"The file {file.key} is not what the table says of it: run fieldline lake verify."
        )
    return holding


async def put(live: Live, made: rewrite.Rewritten) -> None:
    """Bring a new file to the store."""
    assert made.written is not None  # noqa: S101 - the caller has looked
    data = await asyncio.to_thread(made.path.read_bytes)
    if not await live.put(made.written.key, data):
        raise SettingsError(f"The name {made.written.key} is taken: run this again.")


async def swap(
    live: Live,
    out: Sequence[str],
    into: Sequence[base.Written],
    *,
    why: str,
    word: str,
    began_ms: int,
    clock: Clock,
) -> bool:
    """Put new files in the place of old ones, having noted when; False where one is replaced.

    The version of the table that this makes carries `word`, which nobody had before.
    What was made long ago may be swept at any moment, so it is not shown to the table any more.
    """
    now_ms = clock()
    if now_ms - began_ms > COMMIT_WITHIN_MS:
        raise SettingsError(
            "Rewriting these files took longer than six hours, so nothing was changed: make "
            "FIELDLINE_LAKE_TARGET_MB smaller and run this again."
        )
    note = kept.replaced_key(live.dataset, word)
    await live.put(note, kept.encode_replaced(out, now_ms))
    swapped = await live.swap(out, into, {KEPT_BY: why, COMMIT: word})
    if not swapped:
        # Somebody else's note says when these were replaced, and ours are in nobody's way.
        await live.delete([note, *(one.key for one in into)])
    return swapped
