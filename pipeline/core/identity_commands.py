"""Changes of the identity map: what a person asks for, and whether that may be. Pure.

A command says what is to be so; `decide` gives the entries that change, or why not. The rules:
a device is on one asset at a time, and an asset has one device at a time; an id at another
system belongs to one only (places are shared); what was recorded of the past changes only where
the command says that it means the past; nothing is deleted, only retired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Final

from pipeline.core.identity import Entry, Kind, command_field, id_field, is_shared, key_of

GRACE_MS: Final = 5 * 60_000
"""Younger than this nothing counts as the past: clocks differ, and requests are repeated."""


class Code(StrEnum):
    """Why a command is refused."""

    INVALID = "invalid"
    """A value cannot be used."""
    UNKNOWN = "unknown"
    """It names what the map does not have."""
    RETIRED = "retired"
    """It names what is out of service."""
    TAKEN = "taken"
    """The asset has another device at that time."""
    ID_TAKEN = "id_taken"
    """Another has that id at the other system."""
    PAST = "past"
    """It would change what was recorded of the past, and does not say that it means to."""
    REUSED = "reused"
    """A command of that id asked for something else."""
    FULL = "full"
    """The history, or the list of ids, has come to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why not: the field that is wrong, and one sentence with the mend."""

    code: Code
    field: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a command comes to: the changed entries, and what changed in words.

    No entries: it is so already. `again`: this very command was applied before.
    """

    entries: tuple[Entry, ...] = ()
    said: tuple[str, ...] = ()
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What each command has: `id` makes a repetition harmless ('' = it is compared only).

    It holds from `at_ms` on (None: now, or since ever where nothing was known), for good or to
    before `until_ms`. `past` allows to change what was recorded. Times in ms since 1970, UTC.
    """

    id: str = ""
    who: str = ""
    why: str = ""
    at_ms: int | None = None
    until_ms: int | None = None
    past: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision(Command):
    """A device as it is to be, with its asset and owner. None: leave that as it is.

    An id with the value '' is taken away.
    """

    device_id: str
    asset_id: str | None = None
    asset_name: str | None = None
    customer_id: str | None = None
    customer_name: str | None = None
    customer_tax_id: str | None = None
    active: bool | None = None
    device_class: str | None = None
    site: str | None = None
    region: str | None = None
    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move(Command):
    """The device is on that asset, or on none ('')."""

    device_id: str
    asset_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Own(Command):
    """The asset is that customer's, or nobody's (''), at that site (None: as before)."""

    asset_id: str
    customer_id: str
    site: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe(Command):
    """Facts of a customer or an asset, which is made where it is not there."""

    kind: Kind
    entry_id: str
    name: str | None = None
    tax_id: str | None = None
    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire(Command):
    """It is out of service. A retired device leaves its asset. `back`: in service again."""

    kind: Kind
    entry_id: str
    back: bool = False


AnyCommand = Provision | Move | Own | Describe | Retire

_ABOUT: Final = frozenset({"id", "who", "why"})


def digest_of(command: AnyCommand) -> str:
    """SHA-256, hex, of what a command asks, whoever asks and why."""
    words = [type(command).__name__]
    for one in fields(command):
        if one.name in _ABOUT:
            continue
        value = getattr(command, one.name)
        words.append(f"{one.name}={sorted(value.items()) if one.name == 'ids' else value!r}")
    return hashlib.sha256("\x1f".join(words).encode()).hexdigest()


def subject(command: AnyCommand) -> str:
    """Key of the entry that a command is about, which remembers it."""
    match command:
        case Provision(device_id=device) | Move(device_id=device):
            return key_of(Kind.DEVICE, device)
        case Own(asset_id=asset):
            return key_of(Kind.ASSET, asset)
        case Describe(kind=kind, entry_id=ident) | Retire(kind=kind, entry_id=ident):
            return key_of(kind, ident)


@dataclass(slots=True)
class Book:
    """What a decision goes by. `entries` by key and `owners` by field; None: there is none."""

    entries: dict[str, Entry | None] = field(default_factory=dict)
    owners: dict[str, str | None] = field(default_factory=dict)

    def put(self, entry: Entry) -> None:
        """The entry as it is now, with all that it holds."""
        old = self.entries.get(entry.key)
        if old is not None:
            for held in old.holds:
                if self.owners.get(held) == entry.key:
                    self.owners[held] = None
        self.entries[entry.key] = entry
        self.owners |= dict.fromkeys(entry.holds, entry.key)


def wanted(command: AnyCommand, book: Book) -> tuple[set[str], set[str]]:
    """Entries and owners that a decision needs and the book lacks; ask again once they are in."""
    keys = {subject(command)}
    asset_id: str | None = getattr(command, "asset_id", None)
    customer_id: str | None = getattr(command, "customer_id", None)
    if isinstance(command, Provision) and asset_id is None:
        asset_id = _last(book, subject(command))
    if asset_id:
        key = key_of(Kind.ASSET, asset_id)
        keys.add(key)
        asset = book.entries.get(key)
        if asset is not None and not isinstance(command, Own):
            keys |= {key_of(Kind.DEVICE, one) for one in asset.devices}
        if isinstance(command, Provision) and customer_id is None:
            customer_id = _last(book, key)
    if customer_id:
        keys.add(key_of(Kind.CUSTOMER, customer_id))
    owners = set()
    if isinstance(command, (Provision, Describe)):
        owners = {id_field(n, v) for n, v in command.ids.items() if v and not is_shared(n)}
    if command.id:
        owners.add(command_field(command.id))
    return keys - book.entries.keys(), owners - book.owners.keys()


def _last(book: Book, key: str) -> str | None:
    """What the newest period of an entry names."""
    entry = book.entries.get(key)
    return entry.periods[-1].of if entry is not None and entry.periods else None
