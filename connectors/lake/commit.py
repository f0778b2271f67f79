"""The lake's commit protocol over a store: claim, files, resume (infra/adr/0005-lake-commit.md).

Every step may be repeated, by anyone, at any time: names are fixed by the claim, writes
are conditional, and what is found under a name is verified, never believed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from connectors.lake import base, mapping
from pipeline.core import archive, archive_search
from pipeline.core.archive import Claim, Part
from pipeline.core.lake_columns import Dataset

MAX_PUTS = 8
"""Files of one range on their way at once."""
SHOWN = 100
"""Ranges that a table lacks which are shown to it at once."""
FOOTER_BYTES = 65_536
"""How much of a file's end is read to verify it; a footer takes about 4 kB a row group or two."""


@dataclass(frozen=True, slots=True)
class File:
    """One date's file of a range."""

    key: str
    part: Part
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One range as objects. `there` collects the files known to be in the store, by name."""

    claim: Claim
    files: tuple[File, ...]
    there: dict[str, base.Written] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)
    """Names of those that were there already."""

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(len(file.data) for file in self.files)


class Commit:
    """The protocol for one dataset. `calls` counts requests to the store.

    Without a table a range is done when its files are there; with one, when it has them.
    """

    def __init__(self, store: base.ObjectStore, dataset: Dataset, table: base.Table | None) -> None:
        self._store = store
        self._dataset = dataset
        self._table = table
        self.calls = 0

    async def probe(self) -> base.Retry | base.Halt | None:
        """None where the store refuses to write a name twice: all else rests on that."""
        answer: base.Created | base.Exists | base.Unavailable = base.Created()
        for _ in range(2):
            self.calls += 1
            answer = await self._store.put_new(mapping.probe_key(self._dataset), b"")
            if isinstance(answer, base.Exists):
                return None
            if isinstance(answer, base.Unavailable):
                return base.Retry(reason=answer.reason)
        return base.Halt(
            reason="The S3 endpoint wrote the same object twice although asked not to "
            "(If-None-Match: *), so two writers could overwrite each other: use a server that "
            "honours conditional writes."
        )

    async def claim(self, ours: Claim) -> Claim | base.Retry | base.Halt:
        """The claim that holds for the range that starts where ours does: the first written."""
        key = mapping.claim_key(self._dataset, ours.topic, ours.partition, ours.first)
        self.calls += 1
        answer = await self._store.put_new(key, mapping.encode_claim(ours))
        match answer:
            case base.Unavailable():
                return base.Retry(reason=answer.reason)
            case base.Created():
                return ours
            case base.Exists():
                return await self._read_claim(ours.topic, ours.partition, ours.first)

    async def files(self, prepared: Prepared) -> base.Retry | base.Halt | None:
        """Put the files of a claimed range; None once every one is known to be there."""
        gate = asyncio.Semaphore(MAX_PUTS)

        async def put(file: File) -> base.Retry | base.Halt | None:
            async with gate:
                return await self._put(prepared, file)

        missing = (file for file in prepared.files if file.key not in prepared.there)
        troubles = [t for t in await asyncio.gather(*map(put, missing)) if t is not None]
        halts = [trouble for trouble in troubles if isinstance(trouble, base.Halt)]
        return next(iter(halts + troubles), None)

    async def register(self, prepared: Prepared) -> base.Retry | base.Halt | None:
        """Show a range whose files are there to the table's readers; None once it is so."""
        if self._table is None:
            return None
        files = [prepared.there[file.key] for file in prepared.files]
        return await self._table.register(prepared.claim, files)

    async def resume(self, topic: str, partition: int) -> archive.Resume | base.Retry | base.Halt:
        """Where a topic-partition stands.

        By the table where there is one: claims that it has not seen yet are shown to it, as
        long as their files are all there. Else by the newest claim.
        """
        if self._table is not None:
            return await self._after(self._table, topic, partition)
        return await self._by_listing(topic, partition)

    async def _by_listing(
        self, topic: str, partition: int
    ) -> archive.Resume | base.Retry | base.Halt:
        newest = await self._newest(topic, partition)
        if newest is None:
            return archive.resume(None, complete=True)
        if isinstance(newest, base.Retry):
            return newest
        claim = await self._read_claim(topic, partition, newest)
        if not isinstance(claim, Claim):
            return claim
        files = await self._found(claim)
        if isinstance(files, base.Retry | base.Halt):
            return files
        return archive.resume(claim, complete=files is not None)

    async def _after(
        self, table: base.Table, topic: str, partition: int
    ) -> archive.Resume | base.Retry | base.Halt:
        known = await self._newest_in(table, topic, partition)
        if isinstance(known, base.Retry | base.Halt):
            return known
        while True:
            lacking, after = await self._lacking(topic, partition, known)
            nothing = isinstance(after, archive.Resume) and after.redo is None
            if known is None and not lacking and nothing:
                after = await self._unless_older(topic, partition)
                if after is None:
                    continue
            # Brought together, they go into few commits, however many a lost catalogue lacks.
            told = await asyncio.gather(*(table.register(*one) for one in lacking))
            trouble = next((one for one in told if one is not None), after)
            if trouble is not None:
                return trouble
            known = lacking[-1][0]

    async def _lacking(
        self, topic: str, partition: int, known: Claim | None
    ) -> tuple[
        list[tuple[Claim, tuple[base.Written, ...]]], archive.Resume | base.Retry | base.Halt | None
    ]:
        """Up to SHOWN ranges after `known` whose files are there, and what then; None: more."""
        found: list[tuple[Claim, tuple[base.Written, ...]]] = []
        while len(found) < SHOWN:
            done = archive.resume(known, complete=True)
            claim = await self._look_for_claim(topic, partition, done.next_offset)
            if claim is None:
                return found, done
            if not isinstance(claim, Claim):
                return found, claim
            files = await self._found(claim)
            if isinstance(files, base.Retry | base.Halt):
                return found, files
            if files is None:
                return found, archive.resume(claim, complete=False)
            found.append((claim, files))
            known = claim
        return found, None

    async def _unless_older(
        self, topic: str, partition: int
    ) -> archive.Resume | base.Retry | base.Halt | None:
        """The empty lake's Resume, unless it has claims after all: the first were removed.

        None: another writer has begun the chain since we looked.
        """
        newest = await self._newest(topic, partition)
        if not isinstance(newest, int):
            return newest or archive.resume(None, complete=True)
        first = await self._look_for_claim(topic, partition, 0)
        if first is not None:
            return None if isinstance(first, Claim) else first
        return base.Halt(
            reason=f"The table has no rows of {topic}/{partition}, and of its claims the first are "
            f"gone while that of offset {newest} is there: put the catalogue back, or the "
            f"metadata below {self._dataset}/_iceberg/, from which it is made again."
        )

    async def _newest_in(
        self, table: base.Table, topic: str, partition: int
    ) -> Claim | base.Retry | base.Halt | None:
        standing = await table.standing(topic, partition)
        if not isinstance(standing, base.Standing):
            return standing
        return await self._read_claim(topic, partition, standing.first)

    async def _found(
        self, claim: Claim
    ) -> tuple[base.Written, ...] | base.Retry | base.Halt | None:
        """The files of a claim; None where one is not there."""
        files: list[base.Written] = []
        for part in claim.files:
            key = mapping.file_key(self._dataset, claim, part.date)
            answer = await self._verify(claim, key, part)
            if isinstance(answer, base.Missing):
                return None
            if not isinstance(answer, base.Written):
                return answer
            files.append(answer)
        return tuple(files)

    async def _newest(self, topic: str, partition: int) -> int | base.Retry | None:
        search = archive_search.newest_claim()
        above = next(search)
        prefix = mapping.claims_prefix(self._dataset, topic, partition)
        while True:
            self.calls += 1
            after = mapping.after_key(self._dataset, topic, partition, above)
            page = await self._store.list_after(prefix, after)
            if isinstance(page, base.Unavailable):
                return base.Retry(reason=page.reason)
            firsts = tuple(f for f in map(mapping.first_of_claim, page.names) if f is not None)
            try:
                above = search.send(archive_search.Page(firsts=firsts, more=page.more))
            except StopIteration as found:
                newest: int | None = found.value
                return newest

    async def _read_claim(
        self, topic: str, partition: int, first: int
    ) -> Claim | base.Retry | base.Halt:
        found = await self._look_for_claim(topic, partition, first)
        if found is None:
            key = mapping.claim_key(self._dataset, topic, partition, first)
            return base.Retry(reason=f"The claim {key} was there and is not there now.")
        return found

    async def _look_for_claim(
        self, topic: str, partition: int, first: int
    ) -> Claim | base.Retry | base.Halt | None:
        key = mapping.claim_key(self._dataset, topic, partition, first)
        self.calls += 1
        answer = await self._store.get(key)
        if isinstance(answer, base.Unavailable):
            return base.Retry(reason=answer.reason)
        if isinstance(answer, base.Missing):
            return None
        claim = mapping.decode_claim(answer.data)
        if claim is None or (claim.topic, claim.partition, claim.first) != (
            topic,
            partition,
            first,
        ):
            return base.Halt(
                reason=f"The object {key} is no claim that this version understands: upgrade "
                "this worker, or mend the range as infra/adr/0005-lake-commit.md says."
            )
        return claim

    async def _put(self, prepared: Prepared, file: File) -> base.Retry | base.Halt | None:
        self.calls += 1
        answer = await self._store.put_new(file.key, file.data)
        if isinstance(answer, base.Unavailable):
            return base.Retry(reason=answer.reason)
        if isinstance(answer, base.Created):
            footer = mapping.footer(file.data)
            assert footer is not None  # noqa: S101 - we have just made it
            prepared.there[file.key] = base.Written(
                key=file.key,
                date=file.part.date,
                size=len(file.data),
                metadata=footer.metadata,
            )
            return None
        verdict = await self._verify(prepared.claim, file.key, file.part)
        if isinstance(verdict, base.Missing):
            return base.Retry(reason=f"The file {file.key} was there and is not there now.")
        if isinstance(verdict, base.Written):
            prepared.there[file.key] = verdict
            prepared.found.add(file.key)
            return None
        return verdict

    async def _verify(
        self, claim: Claim, key: str, part: Part
    ) -> base.Written | base.Missing | base.Retry | base.Halt:
        """The file, where its own footer says that it holds this range and so many rows."""
        self.calls += 1
        answer = await self._store.tail(key, FOOTER_BYTES)
        footer = mapping.footer(answer.data) if isinstance(answer, base.Content) else None
        if isinstance(answer, base.Content) and footer is None:
            self.calls += 1
            answer = await self._store.get(key)
            footer = mapping.footer(answer.data) if isinstance(answer, base.Content) else None
        if isinstance(answer, base.Unavailable):
            return base.Retry(reason=answer.reason)
        if isinstance(answer, base.Missing):
            return answer
        if footer is None or (footer.range, footer.rows) != (mapping.range_note(claim), part.rows):
            return base.Halt(
                reason=f"The file {key} should hold {part.rows} rows of offsets {claim.first} to "
                f"{claim.last} and holds something else: mend the range as "
                "infra/adr/0005-lake-commit.md says."
            )
        return base.Written(key=key, date=part.date, size=answer.size, metadata=footer.metadata)
