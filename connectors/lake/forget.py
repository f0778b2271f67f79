"""Takes the rows of one device or customer out of a dataset, so that no version of it has them.

The files that hold them are written again without them and swapped in one commit; then all older
versions of the table are forgotten, and whatever object still holds such a row is deleted at once:
here no reader has a grace. Rows that Kafka still has are not in the lake yet: those a writer
brings later must be forgotten again.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysFalse, BooleanExpression, EqualTo, In, IsNull, Or
from pyiceberg.table import Table

from connectors.lake import claims, compact, intents, kept, rewrite
from connectors.lake.compact import Clock, Token
from connectors.lake.iceberg import standings
from connectors.lake.iceberg_change import Change
from connectors.lake.iceberg_schema import shape_of
from connectors.lake.intents import Fate, Intent, Taken
from connectors.lake.live import KEPT_BY, Live, LiveFile, Named, Progress, quiet
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_forget import Whose, rows_of
from pipeline.core.lake_keep import HOUR_MS, Tally, kept_name, place_of
from pipeline.core.lake_merge import projected
from pipeline.core.lake_records import Shape
from pipeline.settings import SettingsError

ROUNDS = 10
"""How often we look again for rows that a writer brought, or files that were merged, meanwhile."""


@dataclass(slots=True, kw_only=True)
class Forgotten:
    """What was done to one dataset, by this run and by those before it that left no proof."""

    dataset: Dataset
    dates: dict[str, Taken] = field(default_factory=dict)
    earlier: int = 0
    """Of the rows in `dates`, those that runs without a proof took out."""
    unsure: int = 0
    """Rows that such a run was about to take out: by it or by this run, they are gone."""
    commits: list[str] = field(default_factory=list)
    """Words of the commits that took out what is in `dates`."""
    notes: list[str] = field(default_factory=list)
    """Words of the notes that are to be removed once there is a proof (connectors.lake.intents)."""
    deleted: list[str] = field(default_factory=list)
    """Files of rows removed from the store."""
    left: int = 0
    """Rows that a query still finds in the table: 0, or a writer was quicker than us."""
    pending: list[str] = field(default_factory=list)
    """Files with such rows that a writer has yet to show to the table."""
    held: list[str] = field(default_factory=list)
    """Branches and tags that somebody set, which still have such rows."""
    metadata_left: int = 0
    """Old manifests younger than an hour, which may name the device; `expire` sweeps them."""
    events: frozenset[str] = frozenset()
    """Ids of the events taken out."""
    devices: frozenset[str] = frozenset()
    """Their devices."""

    @property
    def rows(self) -> int:
        """Rows taken out."""
        return sum(taken.removed.rows for taken in self.dates.values())

    def add(self, intent: Intent) -> None:
        """Count in what a commit took out."""
        for date, taken in intent.dates.items():
            self.dates.setdefault(date, Taken()).add(taken)
        self.events |= intent.events
        self.commits.append(intent.word)


async def count(live: Live, whose: Whose) -> int:
    """How many rows the table has of them, read by pyiceberg."""
    table = await live.table()
    if table is None:
        return 0
    return await asyncio.to_thread(_count, live.dataset, table, whose)


def _count(dataset: Dataset, table: Table, whose: Whose, snapshot: int | None = None) -> int:
    scan = table.scan(row_filter=_filter(dataset, whose), snapshot_id=snapshot)
    rows = 0
    for batch in scan.to_arrow_batch_reader():
        mask = rows_of(dataset, pa.Table.from_batches([batch]), whose)
        rows += pc.sum(mask).as_py() or 0
    return rows


def _filter(dataset: Dataset, whose: Whose) -> BooleanExpression:
    """What no other file can hold: by it files are passed over."""
    out: BooleanExpression = (
        In(term="device_id", literals=whose.devices) if whose.devices else AlwaysFalse()
    )
    if dataset is Dataset.EVENTS and whose.customer is not None:
        out = Or(out, EqualTo(term="customer_id", value=whose.customer))
    elif dataset is Dataset.DELIVERIES and whose.events:
        out = Or(out, In(term="event_id", literals=whose.events))
    elif dataset is Dataset.QUARANTINE and whose.devices:
        out = Or(out, IsNull(term="device_id"))
    return out


async def forget(
    live: Live, whose: Whose, *, clock: Clock, token: Token, progress: Progress = quiet
) -> Forgotten:
    """Take the rows out of one dataset and make sure that nothing in the store has them."""
    done = Forgotten(dataset=live.dataset)
    if await live.table() is None:
        return done
    await _recall(live, whose, done)
    for _ in range(ROUNDS):
        if not await _round(live, whose, done, clock, token, progress):
            break
    else:
        raise SettingsError(
            f"The files of {live.dataset} were replaced by others {ROUNDS} times: run this again "
            "when no compaction runs."
        )
    await _purge(live, whose, done, clock(), progress)
    done.left = await count(live, whose)
    return done


async def _recall(live: Live, whose: Whose, done: Forgotten) -> None:
    """Count in what runs before this one took out, and died before they could prove it."""
    for intent, fate in await intents.earlier(live, whose):
        done.notes.append(intent.word)
        # Whatever became of the commit: these were theirs, and deliveries are found by them.
        done.events |= intent.events
        if fate is Fate.MADE:
            # Its version of the table, which says so, goes with this run.
            await intents.confirm(live, intent.word)
            done.add(intent)
            done.earlier += intent.rows
        elif fate is Fate.UNKNOWN:
            done.unsure += intent.rows


async def _round(
    live: Live, whose: Whose, done: Forgotten, clock: Clock, token: Token, progress: Progress
) -> bool:
    """Rewrite what holds such rows; False once nothing does."""
    began_ms = clock()
    table = await live.table()
    assert table is not None  # noqa: S101 - the caller has looked
    wanted = await asyncio.to_thread(_candidates, live, table, whose)
    made: list[tuple[LiveFile, rewrite.Rewritten]] = []
    for number, file in enumerate(wanted):
        progress(f"{live.dataset}: rewriting", number, len(wanted))
        one = await _rewritten(live, file, shape_of(table), whose, token)
        if one is None:
            await live.delete(w.key for _, r in made if (w := r.written) is not None)
            return True
        if one.removed.rows:
            made.append((file, one))
    progress(f"{live.dataset}: rewriting", len(wanted), len(wanted))
    if not made:
        return False
    emptied = [replace(r.holding, key=f.key, live=False) for f, r in made if r.written is None]
    word = token()
    note = kept.gone_key(live.dataset, word)
    if emptied:
        await live.put(note, kept.encode_gone("forgotten", clock(), emptied))
    intent = _intent(word, made)
    await intents.write(live, whose, intent)
    into = [r.written for _, r in made if r.written is not None]
    out = [file.key for file, _ in made]
    if await compact.swap(live, out, into, why="forget", word=word, began_ms=began_ms, clock=clock):
        await intents.confirm(live, word)
        done.notes.append(word)
        done.add(intent)
        done.devices |= _values(made, "device_id")
    else:
        await live.delete([note])
        await intents.remove(live, [word])
    return True


def _candidates(live: Live, table: Table, whose: Whose) -> list[LiveFile]:
    files = {file.key: file for file in live.files_of(table)}
    tasks = table.scan(row_filter=_filter(live.dataset, whose)).plan_files()
    return [files[live.key_of(task.file.file_path)] for task in tasks]


async def _rewritten(
    live: Live, file: LiveFile, shape: Shape, whose: Whose, token: Token
) -> rewrite.Rewritten | None:
    """A file without their rows, in the store; None where it was replaced meanwhile."""
    with tempfile.TemporaryDirectory(prefix="fieldline-forget-") as folder:
        local = await compact.fetched(live, [file], Path(folder))
        if local is None:
            return None
        made = await asyncio.to_thread(
            rewrite.rewrite,
            live.dataset,
            shape,
            local,
            (kept_name(file.key, token()), Path(folder) / "left.parquet"),
            wanted=lambda table: rows_of(live.dataset, table, whose),
            collect=("id", "device_id") if live.dataset is Dataset.EVENTS else (),
        )
        if made.removed.rows and made.written is not None:
            await compact.put(live, made)
        return made


def _intent(word: str, made: Sequence[tuple[LiveFile, rewrite.Rewritten]]) -> Intent:
    dates: dict[str, Taken] = {}
    for file, one in made:
        after = Tally(one.holding.rows, one.holding.sum or 0)
        taken = Taken(after.plus(one.removed), one.removed, after, [file.key])
        dates.setdefault(file.date, Taken()).add(taken)
    return Intent(word=word, dates=dates, events=_values(made, "id"))


def _values(made: Iterable[tuple[LiveFile, rewrite.Rewritten]], column: str) -> frozenset[str]:
    """Of the rows taken out of the events."""
    return frozenset(
        value for _, one in made if one.out is not None for value in one.out[column].to_pylist()
    )


async def _purge(
    live: Live, whose: Whose, done: Forgotten, now_ms: int, progress: Progress
) -> None:
    """Leave no object that holds such a row, nor a manifest that lists one."""
    before = await _current_only(live)
    rows = await live.listed(f"{live.dataset}/date=")
    metadata = await live.listed(f"{live.dataset}/_iceberg/")
    table = await live.table()
    assert table is not None  # noqa: S101 - the caller has looked
    named = await live.named(table)
    awaited = await claims.awaited(live, standings(table))
    loose = [one.key for one in rows if one.key not in named.rows and place_of(one.key)]
    shape = shape_of(table)

    async def theirs(key: str) -> bool:
        return await _holds(live, key, shape, whose)

    told = await live.each(
        theirs, loose, lambda n: progress(f"{live.dataset}: looking for leavings", n, len(loose))
    )
    holding = [key for key, found in zip(loose, told, strict=True) if found]
    done.pending = [key for key in holding if key in awaited]
    done.deleted = [key for key in holding if key not in awaited]
    old = [one for one in metadata if one.key not in named.metadata]
    # Of a commit under way nothing is named yet; what an older version had, nobody needs.
    gone = [o.key for o in old if o.changed_ms < now_ms - HOUR_MS or o.key in before.metadata]
    done.metadata_left = len(old) - len(gone)
    await live.delete([*done.deleted, *gone], progress)
    done.held = await asyncio.to_thread(_held, live.dataset, table, whose)


async def _current_only(live: Live) -> Named:
    """Forget all versions of the table but the newest; what they named.

    The commit that took files out lists them, with the least and greatest value of their columns,
    so an empty commit follows it, and it goes too.
    """

    def empty(table: Table) -> None:
        if table.current_snapshot() is None:
            return
        with (
            Change(table) as change,
            change.update_snapshot(snapshot_properties={KEPT_BY: "forget"}).merge_append(),
        ):
            pass

    def expire(table: Table) -> None:
        held = {ref.snapshot_id for ref in table.metadata.refs.values()}
        old = [s.snapshot_id for s in table.snapshots() if s.snapshot_id not in held]
        if old:
            table.maintenance.expire_snapshots().by_ids(old).commit()

    await live.change(empty)
    table = await live.table()
    assert table is not None  # noqa: S101 - the caller has looked
    named = await live.named(table)
    await live.change(expire)
    return named


async def _holds(live: Live, key: str, shape: Shape, whose: Whose) -> bool:
    """Whether a file that the table does not name has such a row."""
    data = await live.get(key)
    return data is not None and await asyncio.to_thread(_in_bytes, live.dataset, data, shape, whose)


def _in_bytes(dataset: Dataset, data: bytes, shape: Shape, whose: Whose) -> bool:
    schema = shape.schema()
    names = {"device_id", "customer_id", "event_id", "mqtt_topic", "payload"}
    wanted = pa.schema([field for field in schema if field.name in names])
    try:
        with pq.ParquetFile(BytesIO(data)) as file:
            there = file.schema_arrow
            for batch in file.iter_batches(batch_size=rewrite.BATCH_ROWS):
                table = pa.table(pa.Table.from_batches([batch]).columns, schema=there)
                if pc.any(rows_of(dataset, projected(table, wanted), whose)).as_py():
                    return True
    except (pa.ArrowException, OSError):
        return True  # nobody can tell what is in it, and the table does not need it
    return False


def _held(dataset: Dataset, table: Table, whose: Whose) -> list[str]:
    """Names of branches and tags, main apart, whose version still has such rows."""
    return sorted(
        name
        for name, ref in table.metadata.refs.items()
        if name != "main" and _count(dataset, table, whose, ref.snapshot_id)
    )
