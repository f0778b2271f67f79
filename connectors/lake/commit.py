"""The lake's commit protocol over a store: claim, files, resume (infra/adr/0005-lake-commit.md).

Every step may be repeated, by anyone, at any time: names are fixed by the claim, writes
are conditional, and what is found under a name is verified, never believed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from connectors.lake import base, mapping
from connectors.lake.mapping import Dataset
from pipeline.core import archive
from pipeline.core.archive import Claim

MAX_PUTS = 8
"""Files of one range on their way at once."""
FOOTER_BYTES = 65_536
"""How much of a file's end is read to verify it; a footer takes about 4 kB a row group or two."""


@dataclass(frozen=True, slots=True)
class File:
    """One date's file of a range."""

    key: str
    data: bytes = field(repr=False)
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One range as objects. `put` and `found` collect the names known to be in the store."""

    claim: Claim
    files: tuple[File, ...]
    put: set[str] = field(default_factory=set)
    """Put by us."""
    found: set[str] = field(default_factory=set)
    """There already, and verified."""


class Commit:
    """The protocol for one dataset. `calls` counts requests to the store."""

    def __init__(self, store: base.ObjectStore, dataset: Dataset) -> None:
        self._store = store
        self._dataset = dataset
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

        missing = (f for f in prepared.files if f.key not in prepared.put | prepared.found)
        troubles = [t for t in await asyncio.gather(*map(put, missing)) if t is not None]
        halts = [trouble for trouble in troubles if isinstance(trouble, base.Halt)]
        return next(iter(halts + troubles), None)

    async def resume(self, topic: str, partition: int) -> archive.Resume | base.Retry | base.Halt:
        """Where a topic-partition stands: its newest claim, and whether its files are all there."""
        newest = await self._newest(topic, partition)
        if isinstance(newest, base.Retry):
            return newest
        if newest is None:
            return archive.resume(None, complete=True)
        claim = await self._read_claim(topic, partition, newest)
        if not isinstance(claim, Claim):
            return claim
        for date, rows in claim.files:
            key = mapping.file_key(self._dataset, claim, date)
            verdict = await self._verify(claim, key, rows)
            if isinstance(verdict, base.Missing):
                return archive.resume(claim, complete=False)
            if verdict is not None:
                return verdict
        return archive.resume(claim, complete=True)

    async def _newest(self, topic: str, partition: int) -> int | base.Retry | None:
        search = archive.newest_claim()
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
                above = search.send(archive.Page(firsts=firsts, more=page.more))
            except StopIteration as found:
                newest: int | None = found.value
                return newest

    async def _read_claim(
        self, topic: str, partition: int, first: int
    ) -> Claim | base.Retry | base.Halt:
        key = mapping.claim_key(self._dataset, topic, partition, first)
        self.calls += 1
        answer = await self._store.get(key)
        if isinstance(answer, base.Unavailable):
            return base.Retry(reason=answer.reason)
        if isinstance(answer, base.Missing):
            return base.Retry(reason=f"The claim {key} was there and is not there now.")
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
            prepared.put.add(file.key)
            return None
        verdict = await self._verify(prepared.claim, file.key, file.rows)
        if isinstance(verdict, base.Missing):
            return base.Retry(reason=f"The file {file.key} was there and is not there now.")
        if verdict is None:
            prepared.found.add(file.key)
        return verdict

    async def _verify(
        self, claim: Claim, key: str, rows: int
    ) -> base.Missing | base.Retry | base.Halt | None:
        """None where the file's own footer says that it holds this range and so many rows."""
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
        if footer != mapping.Footer(range=mapping.range_note(claim), rows=rows):
            return base.Halt(
                reason=f"The file {key} should hold {rows} rows of offsets {claim.first} to "
                f"{claim.last} and holds something else: mend the range as "
                "infra/adr/0005-lake-commit.md says."
            )
        return None
