"""A dataset as its keepers see it: what its table has, what the store has, and how to swap files.

Where the store or the catalogue is away this raises SettingsError with one sentence: keepers are
commands that a person or a nightly job runs, and running one again is always safe.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import chain
from typing import Any, Final, TypeVar

from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table import Table
from pyiceberg.types import TimestamptzType

from connectors.lake import base, mapping
from connectors.lake.catalog import NAMESPACE, RACE, TROUBLE, NoSuchTableError, open_catalog
from connectors.lake.commit import FOOTER_BYTES
from connectors.lake.config import LakeConfig
from connectors.lake.iceberg_change import Change
from connectors.lake.iceberg_schema import data_file
from connectors.lake.lake import make_store
from pipeline.core.lake_columns import LAYOUTS, Dataset
from pipeline.core.lake_keep import Found
from pipeline.settings import SettingsError

TRIES: Final = 40
"""How often a change that others overtook is run again: writers commit all the time."""
ASK: Final = 3
"""How often the store and the catalogue are asked before we give up."""
PAUSE_S: Final = 0.2
AT_ONCE: Final = 16
"""Requests to the store on their way at once."""
CALL_S: Final = 600.0
READ_S: Final = 60.0
"""A keeper moves whole files of the target's size, so it is more patient than a writer."""
KEPT_BY: Final = "fieldline.kept-by"
"""Snapshot property: what made it, where that was no writer."""

_EPOCH: Final = date(1970, 1, 1)
_DAY_US: Final = 86_400_000_000
_T = TypeVar("_T")
_R = TypeVar("_R")

Progress = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and how much there is."""


def quiet(_what: str, _done: int, _all: int) -> None:
    """No progress shown."""


def day_of(text: str) -> int:
    """Days since 1970 of YYYY-MM-DD."""
    return (date.fromisoformat(text) - _EPOCH).days


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFile:
    """A file that the table's current snapshot has.

    `arrived_day` is the newest arrival of its rows, days since 1970, None where the table does
    not know it.
    """

    key: str
    date: str
    size: int
    rows: int
    arrived_day: int | None
    entry: DataFile = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Keys that any snapshot of a table names: files of rows, and what is below _iceberg/."""

    rows: frozenset[str]
    metadata: frozenset[str]


class Live:
    """One dataset of a lake, for one event loop."""

    def __init__(self, config: LakeConfig, dataset: Dataset, store: base.KeepersStore) -> None:
        self.config = config
        self.dataset = dataset
        self.store = store
        self._catalog: Catalog | None = None
        self._lock = asyncio.Lock()
        self._listed: dict[str, tuple[LiveFile, ...]] = {}
        """Files by manifest, which never changes: beside busy writers a change is tried often."""

    # -- the table

    async def table(self) -> Table | None:
        """The table as it is now; None where there is none yet."""
        return await self.change(lambda table: table)

    async def change(self, act: Callable[[Table], _R]) -> _R | None:
        """`act` on the table, again where somebody else was first; None where it is not there.

        It may happen that a commit was made and its answer lost: `act` must look first.
        """
        troubles = 0
        for attempt in range(TRIES):
            try:
                async with self._lock:
                    return await asyncio.to_thread(self._act, act)
            except RACE:
                pass
            except TROUBLE as error:
                self._catalog = None
                troubles += 1
                if troubles >= ASK:
                    raise SettingsError(
                        f"The catalogue or the store of the lake does not answer "
                        f"({type(error).__name__}): check LAKE_CATALOG and LAKE_URL, and run this "
                        "again."
                    ) from error
            await asyncio.sleep(random.uniform(0, PAUSE_S * (attempt + 1)))  # noqa: S311 - jitter
        raise SettingsError(
            f"The table {self.dataset} was changed by others {TRIES} times in a row: run this "
            "again."
        )

    def _act(self, act: Callable[[Table], _R]) -> _R | None:
        if self._catalog is None:
            self._catalog = open_catalog(self.config)
        try:
            table = self._catalog.load_table((NAMESPACE, str(self.dataset)))
        except NoSuchTableError:
            return None
        return act(table)

    async def files(self, table: Table) -> tuple[LiveFile, ...]:
        """The files of its current snapshot, by name."""
        return await asyncio.to_thread(self.files_of, table)

    def files_of(self, table: Table) -> tuple[LiveFile, ...]:
        """The same, in this thread."""
        snapshot = table.current_snapshot()
        listed: dict[str, tuple[LiveFile, ...]] = {}
        for manifest in [] if snapshot is None else snapshot.manifests(table.io):
            if manifest.content != ManifestContent.DATA:
                raise SettingsError(
                    f"The table {self.dataset} has delete files, which another program made: have "
                    "it rewrite its files without them first."
                )
            path = manifest.manifest_path
            listed[path] = self._listed.get(path) or tuple(
                self._live(table, entry.data_file)
                for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
            )
        self._listed = listed
        return tuple(sorted(chain.from_iterable(listed.values()), key=lambda f: f.key))

    def _live(self, table: Table, file: DataFile) -> LiveFile:
        return LiveFile(
            key=self.key_of(file.file_path),
            date=(_EPOCH + timedelta(days=int(file.partition[0]))).isoformat(),
            size=file.file_size_in_bytes,
            rows=file.record_count,
            arrived_day=self._arrived_day(table, file),
            entry=file,
        )

    def _arrived_day(self, table: Table, file: DataFile) -> int | None:
        column = LAYOUTS[self.dataset].arrival
        if column is None:
            return None
        try:
            own = table.schema().find_field(column).field_id
        except ValueError:
            return None
        greatest = (file.upper_bounds or {}).get(own)
        return None if greatest is None else int(from_bytes(TimestamptzType(), greatest)) // _DAY_US

    async def named(self, table: Table, without: Collection[int] = ()) -> Named:
        """What any of its snapshots names, those `without` apart."""
        return await asyncio.to_thread(self._named, table, frozenset(without))

    def _named(self, table: Table, without: frozenset[int]) -> Named:
        rows: set[str] = set()
        metadata = {self.key_of(table.metadata_location)}
        metadata |= {self.key_of(old.metadata_file) for old in table.metadata.metadata_log}
        metadata |= {self.key_of(s.statistics_path) for s in table.metadata.statistics}
        metadata |= {self.key_of(s.statistics_path) for s in table.metadata.partition_statistics}
        read: set[str] = set()
        for snapshot in table.snapshots():
            if snapshot.snapshot_id in without:
                continue
            metadata.add(self.key_of(snapshot.manifest_list))
            for manifest in snapshot.manifests(table.io):
                if manifest.manifest_path in read:
                    continue
                read.add(manifest.manifest_path)
                metadata.add(self.key_of(manifest.manifest_path))
                # What it says was deleted is in no snapshot that has this manifest.
                entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
                rows |= {self.key_of(entry.data_file.file_path) for entry in entries}
        return Named(rows=frozenset(rows), metadata=frozenset(metadata))

    async def swap(
        self, out: Collection[str], into: Collection[base.Written], told: Mapping[str, str]
    ) -> bool:
        """Put files `into` the place of those that go `out`, in one commit that carries `told`.

        False where one of those is not in the table any more: somebody else replaced it. What is
        `told` must be this commit's alone: it is how one whose answer was lost is found again.
        """

        def act(table: Table) -> bool:
            if any(
                snapshot.summary is not None
                and told.items() <= snapshot.summary.additional_properties.items()
                for snapshot in table.snapshots()
            ):
                return True
            entries = {file.key: file.entry for file in self.files_of(table)}
            if into and all(one.key in entries for one in into):
                return True  # the same, and so much came after it that its snapshot is gone
            if not all(key in entries for key in out):
                return False
            with Change(table) as change:
                new = [data_file(table, self.address(one.key), one) for one in into]
                with change.update_snapshot(snapshot_properties=dict(told)).overwrite() as swap:
                    for key in out:
                        swap.delete_data_file(entries[key])
                    for file in new:
                        swap.append_data_file(file)
            return True

        return bool(await self.change(act))

    # -- the store

    def address(self, key: str) -> str:
        """Where an object is, as the table names it."""
        return f"{self.config.url}/{key}"

    def key_of(self, address: str) -> str:
        """Name of the object at an address."""
        return address.removeprefix(f"{self.config.url}/")

    async def listed(self, prefix: str) -> tuple[Found, ...]:
        """All objects whose names start with `prefix`, by name."""
        found: list[Found] = []
        after = prefix
        while True:
            page: base.Objects = await self._sure(self.store.objects, prefix, after)
            found += [
                Found(key=one.key, size=one.size, changed_ms=one.changed_ms) for one in page.objects
            ]
            if not page.more or not page.objects:
                return tuple(found)
            after = page.objects[-1].key

    async def get(self, key: str) -> bytes | None:
        """An object; None where it is not there."""
        answer: base.Content | base.Missing = await self._sure(self.store.get, key)
        return answer.data if isinstance(answer, base.Content) else None

    async def put(self, key: str, data: bytes) -> bool:
        """Write a new object; False where the name is taken.

        A PUT whose answer was lost shows as taken: so compare.
        """
        answer: base.Created | base.Exists = await self._sure(self.store.put_new, key, data)
        return isinstance(answer, base.Created) or await self.get(key) == data

    async def footer(self, key: str) -> mapping.Footer | base.Missing | None:
        """What a file says of itself; None where it is no Parquet file."""
        answer: base.Content | base.Missing
        answer = await self._sure(self.store.tail, key, FOOTER_BYTES)
        if isinstance(answer, base.Missing):
            return answer
        footer = mapping.footer(answer.data)
        if footer is not None or answer.size <= FOOTER_BYTES:
            return footer
        whole = await self.get(key)
        return base.Missing() if whole is None else mapping.footer(whole)

    async def delete(self, keys: Iterable[str], progress: Progress = quiet) -> int:
        """Remove objects; how many."""
        wanted = tuple(keys)

        async def one(key: str) -> None:
            await self._sure(self.store.delete, key)

        await self.each(one, wanted, lambda done: progress("deleting", done, len(wanted)))
        return len(wanted)

    async def each(
        self,
        act: Callable[[_T], Awaitable[_R]],
        things: Collection[_T],
        told: Callable[[int], None] = lambda _: None,
    ) -> list[_R]:
        """`act` on each of them, some at once; what it gave, in their order."""
        gate = asyncio.Semaphore(AT_ONCE)
        done = 0

        async def one(thing: _T) -> _R:
            nonlocal done
            async with gate:
                answer = await act(thing)
            done += 1
            told(done)
            return answer

        return list(await asyncio.gather(*map(one, things)))

    async def _sure(self, call: Callable[..., Awaitable[Any]], *arguments: object) -> Any:  # noqa: ANN401 - the call's
        """The store's answer; it is asked again where it gave none."""
        reason = ""
        for attempt in range(ASK):
            answer = await call(*arguments)
            if not isinstance(answer, base.Unavailable):
                return answer
            reason = answer.reason.rstrip(".")
            await asyncio.sleep(random.uniform(0, PAUSE_S * (attempt + 1)))  # noqa: S311 - jitter
        raise SettingsError(f"{reason}; then run this again.")


@asynccontextmanager
async def opened(config: LakeConfig, dataset: Dataset) -> AsyncIterator[Live]:
    """A dataset with a store of its own."""
    patient = replace(config, call_s=CALL_S, read_s=READ_S)
    store: Any = make_store(patient)
    try:
        yield Live(patient, dataset, store)
    finally:
        await store.close()
