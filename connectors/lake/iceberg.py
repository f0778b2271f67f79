"""One dataset as an Apache Iceberg table over the lake's own files.

The claims say which files are; the table shows them to its readers, range by range and each
range whole. One commit adds the files of one or more ranges and notes, in the table's
properties, up to which offset of each topic-partition it has rows. The catalogue takes a commit
only where the table is as it was when we looked, so of two writers that bring the same
range the second finds it there, and one that was declared dead brings nothing.

Source: Apache Iceberg table spec, version 2 ("Optimistic Concurrency", "Column Projection",
"Partitioning"); pyiceberg 0.12. Why it is so: infra/adr/0017-lake-tables.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from connectors.lake import base, iceberg_change
from connectors.lake.catalog import NAMESPACE, open_catalog
from connectors.lake.config import LakeConfig
from connectors.lake.iceberg_calls import Calls
from connectors.lake.iceberg_change import OFFSETS, RANGES, standings
from connectors.lake.iceberg_schema import shape_of
from pipeline.core.archive import Claim
from pipeline.core.lake_columns import TELEMETRY, Column, Dataset
from pipeline.core.lake_records import Shape

__all__ = ["OFFSETS", "RANGES", "IcebergTable", "standings"]


@dataclass(frozen=True, slots=True)
class _Brought:
    claim: Claim
    files: Sequence[base.Written]
    told: asyncio.Future[base.Retry | base.Halt | None] = field(compare=False)


class IcebergTable:
    """A base.Table, for one event loop; pyiceberg works in a thread, one call at a time.

    Ranges that are brought while a commit is under way go into the next one together.
    """

    def __init__(
        self,
        config: LakeConfig,
        dataset: Dataset,
        columns: Sequence[Column] = TELEMETRY,
        *,
        catalogue: Callable[[LakeConfig], Catalog] = open_catalog,
    ) -> None:
        """`columns` are those of a table that is made new; `catalogue` opens what knows it."""
        self._open_catalog = catalogue
        self._columns = columns
        self._config = config
        self._dataset = dataset
        self._catalog: Catalog | None = None
        self._calls = Calls(repr(self), config.call_s, self._forget)
        self._brought: list[_Brought] = []
        self._committing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"IcebergTable({NAMESPACE}.{self._dataset})"

    async def open(self) -> Shape | base.Retry | base.Halt:
        """Make the table where there is none; its columns."""
        answer: Shape | base.Retry | base.Halt = await self._calls.run(self._open)
        return answer

    async def evolve(self, wanted: Sequence[Column]) -> Shape | base.Retry | base.Halt:
        """Rename, add and widen columns so that it has room for `wanted`."""
        answer: Shape | base.Retry | base.Halt = await self._calls.run(self._evolve, tuple(wanted))
        return answer

    async def standing(
        self, topic: str, partition: int
    ) -> base.Standing | base.Retry | base.Halt | None:
        """By the table's properties."""
        answer: base.Standing | base.Retry | base.Halt | None = await self._calls.run(
            self._standing, topic, partition
        )
        return answer

    async def register(
        self, claim: Claim, files: Sequence[base.Written]
    ) -> base.Retry | base.Halt | None:
        """Add the range; None once the table has it, by whomever."""
        told = asyncio.get_running_loop().create_future()
        self._brought.append(_Brought(claim, files, told))
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_all())
        # A caller that gives up must not take the others' commit with it.
        return await asyncio.shield(told)

    async def _commit_all(self) -> None:
        # One turn of the loop: whoever is ready now goes along.
        await asyncio.sleep(0)
        while self._brought:
            brought, self._brought = self._brought, []
            answers = await self._calls.run(self._register, brought)
            for place, one in enumerate(brought):
                answer = answers[place] if isinstance(answers, list) else answers
                if not one.told.done():
                    one.told.set_result(answer)

    def _forget(self) -> None:
        """Open the catalogue anew next time: it may be another, or at another place."""
        catalog, self._catalog = self._catalog, None
        if catalog is not None:
            catalog.close()

    def _load(self) -> Table:
        if self._catalog is None:
            self._catalog = self._open_catalog(self._config)
        return iceberg_change.found_or_made(
            self._catalog, self._config, self._dataset, self._columns
        )

    def _open(self) -> Shape:
        return shape_of(self._load())

    def _evolve(self, wanted: tuple[Column, ...]) -> Shape:
        return iceberg_change.evolve(self._load(), wanted)

    def _standing(self, topic: str, partition: int) -> base.Standing | None:
        return standings(self._load()).get((topic, partition))

    def _register(self, brought: Sequence[_Brought]) -> list[base.Halt | None]:
        table = self._load()
        verdicts = iceberg_change.sorted_out(
            standings(table), [one.claim for one in brought], repr(self)
        )
        added = [
            (one.claim, one.files)
            for one, verdict in zip(brought, verdicts, strict=True)
            if verdict is True
        ]
        if added:
            iceberg_change.add(table, self._config.url, added)
        return [verdict if isinstance(verdict, base.Halt) else None for verdict in verdicts]
