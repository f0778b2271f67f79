"""The identity map in memory: commands go in, rows of devices come out."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.core.identity import Entry, Kind, at, identity_of, key_of
from pipeline.core.identity_commands import AnyCommand, Book, Decided, Refused, wanted
from pipeline.core.identity_decide import decide
from pipeline.core.registry import DeviceRecord

NOW = 1_795_000_000_000
"""Some instant in 2026, ms since 1970."""


@dataclass
class World:
    """All entries, and the clock."""

    book: Book = field(default_factory=Book)
    now_ms: int = NOW

    @property
    def entries(self) -> dict[str, Entry]:
        """Entries by key."""
        return {key: entry for key, entry in self.book.entries.items() if entry is not None}

    def tell(self, command: AnyCommand) -> Decided | Refused:
        """Do a command as the desk does: with what `wanted` asks for, and nothing else."""
        book = Book()
        while True:
            keys, fields = wanted(command, book)
            if not keys and not fields:
                break
            book.entries |= {key: self.book.entries.get(key) for key in keys}
            book.owners |= {name: self.book.owners.get(name) for name in fields}
            for key in filter(None, book.owners.values()):
                book.entries.setdefault(key, self.book.entries.get(key))
        outcome = decide(command, book, self.now_ms)
        if isinstance(outcome, Decided):
            for entry in outcome.entries:
                self.book.put(entry)
        return outcome

    def at(self, device: str, at_ms: int) -> DeviceRecord | None:
        """The device's row at an instant."""
        entry = self.entries.get(key_of(Kind.DEVICE, device))
        return None if entry is None else at(identity_of(entry, self.entries), at_ms)
