"""All that the lake says of its ranges: claims, old claims put together, notes of what is gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connectors.lake import base, kept, mapping
from connectors.lake.live import Live, Progress, quiet
from pipeline.core.archive import Claim
from pipeline.core.lake_accounts import Finding, Holding, Line, Wrong
from pipeline.core.lake_keep import Found

Source = tuple[str, int]
"""Topic and partition."""


@dataclass(slots=True)
class Books:
    """Claims with and without memory, and what could not be read of them."""

    claims: dict[str, Claim] = field(default_factory=dict)
    """By name, those that are still objects of their own."""
    folded: list[Line] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def lines(self) -> list[Line]:
        """Each range once: a crash may leave a claim that is folded already."""
        by_range = {line.span: line for line in self.folded}
        by_range |= {line.span: line for line in map(kept.line_of, self.claims.values())}
        return list(by_range.values())


async def claims_listed(live: Live) -> dict[Source, list[tuple[int, Found]]]:
    """(first offset, object) of each claim by topic-partition, from their names alone."""
    found: dict[Source, list[tuple[int, Found]]] = defaultdict(list)
    for one in await live.listed(f"{live.dataset}/_ranges/"):
        first = mapping.first_of_claim(one.key)
        parts = one.key.split("/")
        if first is not None and len(parts) == 5 and parts[3].isdigit():  # noqa: PLR2004 - DATASET/_ranges/TOPIC/PPPPP/FIRST.json
            found[parts[2], int(parts[3])].append((first, one))
    return found


async def read_claims(live: Live, keys: Sequence[str], progress: Progress = quiet) -> Books:
    """These claims. One that was folded and removed meanwhile is left out."""
    books = Books()

    async def one(key: str) -> None:
        data = await live.get(key)
        if data is None:
            return
        claim = mapping.decode_claim(data)
        if (
            claim is None
            or mapping.claim_key(live.dataset, claim.topic, claim.partition, claim.first) != key
        ):
            books.findings.append(Finding(wrong=Wrong.UNREADABLE, offsets="", file=key))
        else:
            books.claims[key] = claim

    await live.each(one, keys, lambda n: progress(f"{live.dataset}: claims", n, len(keys)))
    return books


async def read_books(live: Live, progress: Progress = quiet) -> Books:
    """All claims. Old ones are read last, so that none is missed that is folded meanwhile."""
    listed = await claims_listed(live)
    keys = [one.key for claims in listed.values() for _, one in claims]
    books = await read_claims(live, keys, progress)
    for one in await live.listed(kept.folds_prefix(live.dataset)):
        data = await live.get(one.key)
        lines = None if data is None else kept.decode_fold(data)
        if lines is None:
            books.findings.append(Finding(wrong=Wrong.UNREADABLE, offsets="", file=one.key))
        else:
            books.folded += lines
    return books


async def read_gone(live: Live) -> tuple[list[Holding], list[Finding]]:
    """Files that were dropped or whose rows were forgotten, as far as they were there."""
    gone: list[Holding] = []
    findings: list[Finding] = []
    for one in await live.listed(kept.gone_prefix(live.dataset)):
        data = await live.get(one.key)
        files = None if data is None else kept.decode_gone(data)
        if files is None:
            findings.append(Finding(wrong=Wrong.UNREADABLE, offsets="", file=one.key))
        else:
            gone += files
    return gone, findings


async def replaced_notes(live: Live) -> dict[str, dict[str, int]]:
    """Note → file → when it was replaced or dropped, ms since 1970."""
    notes: dict[str, dict[str, int]] = {}
    for prefix in (kept.replaced_prefix(live.dataset), kept.gone_prefix(live.dataset)):
        for one in await live.listed(prefix):
            data = await live.get(one.key)
            notes[one.key] = (None if data is None else kept.decode_replaced(data)) or {}
    return notes


def latest(notes: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """File → the last time that a note says it was replaced."""
    out: dict[str, int] = {}
    for note in notes.values():
        for key, at_ms in note.items():
            out[key] = max(at_ms, out.get(key, at_ms))
    return out


async def awaited(live: Live, standing: Mapping[Source, base.Standing]) -> frozenset[str]:
    """Files of the claims that the table does not have yet: their writer may be at them."""
    keys = [
        one.key
        for source, claims in (await claims_listed(live)).items()
        for first, one in claims
        if source not in standing or first > standing[source].last
    ]
    books = await read_claims(live, keys)
    return frozenset(
        mapping.file_key(live.dataset, claim, part.date)
        for claim in books.claims.values()
        for part in claim.files
    )
