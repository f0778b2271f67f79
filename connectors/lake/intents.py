"""What a forgetting is about to take out of a table, noted before each of its commits.

A run that dies between a commit and its proof leaves files without the rows, and nobody who knows
how many there were, nor of which events. The next run for the same device or customer finds it
here and tells it in its proof; then the notes go.

A note says whose rows they were as the SHA-256 of the note's own word and the id. Who reads it
could try all ids; but as long as it is there, the forgetting is not over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pyiceberg.table import Table

from connectors.lake.kept import VERSION
from connectors.lake.live import Live
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_forget import Whose
from pipeline.core.lake_keep import NO_ROWS, Tally

COMMIT: Final = "fieldline.commit"
"""Snapshot property: the word of the commit that made it, where that was no writer."""
_NOTE: Final = ".json"
_MADE: Final = ".made"


@dataclass(slots=True)
class Taken:
    """What was taken out of the files of one date: rows and sums before, of it, and after."""

    before: Tally = NO_ROWS
    removed: Tally = NO_ROWS
    after: Tally = NO_ROWS
    files: list[str] = field(default_factory=list)

    def add(self, other: Taken) -> None:
        """Count another's in."""
        self.before = self.before.plus(other.before)
        self.removed = self.removed.plus(other.removed)
        self.after = self.after.plus(other.after)
        self.files += other.files


class Fate(StrEnum):
    """What became of a commit."""

    MADE = "made"
    NOT_MADE = "not made"
    UNKNOWN = "unknown"
    """Its files were replaced, by it or by others, and no version of the table tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One commit: what it takes out by date, and the ids of the events among it."""

    word: str
    dates: Mapping[str, Taken]
    events: frozenset[str] = frozenset()

    @property
    def rows(self) -> int:
        """Rows taken out."""
        return sum(taken.removed.rows for taken in self.dates.values())


def prefix(dataset: Dataset) -> str:
    """Where the notes are."""
    return f"{dataset}/_kept/forgetting/"


def _key(dataset: Dataset, word: str, end: str) -> str:
    return f"{prefix(dataset)}{word}{end}"


def about(whose: Whose, word: str) -> str:
    """Whose rows a note is about, as far as it says: SHA-256, hex."""
    ids = sorted(whose.devices) if whose.customer is None else ["", whose.customer]
    return hashlib.sha256("\n".join((word, *ids)).encode()).hexdigest()


async def write(live: Live, whose: Whose, intent: Intent) -> None:
    """Note what is about to be committed."""
    record = {
        "version": VERSION,
        "about": about(whose, intent.word),
        "dates": {
            date: {
                "tallies": [
                    [tally.rows, f"{tally.sum:016x}"]
                    for tally in (taken.before, taken.removed, taken.after)
                ],
                "files": taken.files,
            }
            for date, taken in intent.dates.items()
        },
        "events": sorted(intent.events),
    }
    await live.put(_key(live.dataset, intent.word, _NOTE), json.dumps(record).encode())


async def confirm(live: Live, word: str) -> None:
    """Note that it was made: its version of the table may be forgotten from now on."""
    await live.put(_key(live.dataset, word, _MADE), b"{}")


async def open_notes(live: Live) -> tuple[str, ...]:
    """Words of the commits that no proof tells of yet."""
    start = prefix(live.dataset)
    return tuple(
        one.key.removeprefix(start).removesuffix(_NOTE)
        for one in await live.listed(start)
        if one.key.endswith(_NOTE)
    )


async def earlier(live: Live, whose: Whose) -> list[tuple[Intent, Fate]]:
    """What runs for the same id that left no proof meant to commit, and what became of it."""
    confirmed = {one.key for one in await live.listed(prefix(live.dataset))}
    found = []
    for word in await open_notes(live):
        data = await live.get(_key(live.dataset, word, _NOTE))
        intent = None if data is None else _decoded(data, word, about(whose, word))
        if intent is not None:
            found.append(intent)
    table = await live.table()
    if table is None or not found:
        return []
    here = {file.key for file in await live.files(table)}
    made = _words(table)
    out = []
    for intent in found:
        files = {key for taken in intent.dates.values() for key in taken.files}
        if intent.word in made or _key(live.dataset, intent.word, _MADE) in confirmed:
            out.append((intent, Fate.MADE))
        else:
            out.append((intent, Fate.NOT_MADE if files <= here else Fate.UNKNOWN))
    return out


async def remove(live: Live, words: Collection[str]) -> None:
    """A proof tells of these now."""
    # The note last: without it nobody would look for the other.
    for end in (_MADE, _NOTE):
        await live.delete(_key(live.dataset, word, end) for word in words)


def _words(table: Table) -> Collection[str]:
    return {
        word
        for snapshot in table.snapshots()
        if snapshot.summary is not None and (word := snapshot.summary.get(COMMIT)) is not None
    }


def _decoded(data: bytes, word: str, wanted: str) -> Intent | None:
    """The intent in a note; None where it is another's, or none that we understand."""
    try:
        record = json.loads(data)
        if (record["version"], record["about"]) != (VERSION, wanted):
            return None
        return Intent(
            word=word,
            dates={str(date): _taken(told) for date, told in record["dates"].items()},
            events=frozenset(map(str, record["events"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _taken(told: Mapping[str, Any]) -> Taken:
    before, removed, after = (Tally(int(rows), int(total, 16)) for rows, total in told["tallies"])
    return Taken(before, removed, after, [str(key) for key in told["files"]])
