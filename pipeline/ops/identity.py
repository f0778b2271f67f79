"""What a person or another program asks of the identity map, and how answers are written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pipeline.core.identity import (
    EVER,
    Entry,
    Kind,
    at,
    id_field,
    identity_of,
    is_device_id,
    is_system_id,
    key_of,
)
from pipeline.core.identity_commands import Decided, Refused
from pipeline.core.registry import DeviceRecord
from pipeline.ops.dlq_filters import instant
from pipeline.ops.identity_import import Imported, When, bring_in
from pipeline.settings import Settings
from pipeline.state.identities_writer import Desk, desk
from pipeline.state.registry import read_file
from pipeline.wire import cloudevents

MAX_FOUND: Final = 100
"""Most entries that a search gives."""


def now_ms() -> int:
    """Now, milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def moment(text: str, *, option: str) -> int | None:
    """A time as a person writes it: 'ever', '2h' (ago), or ISO 8601; None for ''. SettingsError."""
    return EVER if text.strip() == "ever" else instant(text, option=option, now_ms=now_ms())


async def import_file(settings: Settings, path: Path, when: When, *, dry: bool = False) -> Imported:
    """A registry file into the map. SettingsError where it is unusable as a whole; else as desk."""
    async with desk(settings) as made:
        return await bring_in(made, read_file(path), when, dry=dry)


def iso(time_ms: int | None) -> str | None:
    """A time for machines; 'ever' for the beginning, None for what lasts."""
    if time_ms is None:
        return None
    return "ever" if time_ms == EVER else cloudevents.instant(time_ms) or str(time_ms)


def record_plain(record: DeviceRecord | None) -> dict[str, Any] | None:
    """A device's row as JSON."""
    return None if record is None else {**asdict(record), "ids": dict(record.ids)}


def entry_plain(entry: Entry) -> dict[str, Any]:
    """An entry as JSON, times in ISO 8601."""
    of = {Kind.DEVICE: "asset_id", Kind.ASSET: "customer_id"}.get(entry.kind, "of")
    out: dict[str, Any] = {
        "kind": entry.kind.value,
        "id": entry.id,
        "version": entry.version,
        "ids": dict(entry.ids),
        "retired_at": iso(entry.retired_at_ms),
    }
    if entry.kind is Kind.DEVICE:
        out["device_class"] = entry.device_class
    else:
        out["name"] = entry.name
    if entry.kind is Kind.CUSTOMER:
        return {**out, "tax_id": entry.tax_id}
    periods = []
    for period in entry.periods:
        one: dict[str, Any] = {
            of: period.of,
            "from": iso(period.from_ms),
            "to": iso(period.to_ms),
        }
        if entry.kind is Kind.ASSET:
            one |= {"site": period.site, "region": period.region}
        periods.append(one)
    out["periods"] = periods
    return out if entry.kind is Kind.DEVICE else {**out, "devices": list(entry.devices)}


def device_plain(entries: Mapping[str, Entry], device_id: str, at_ms: int) -> dict[str, Any] | None:
    """A device with its assets and their owners, and its row at an instant; None: not there."""
    device = entries.get(key_of(Kind.DEVICE, device_id))
    if device is None:
        return None
    identity = identity_of(device, entries)
    return {
        "at": iso(at_ms),
        "record": record_plain(at(identity, at_ms)),
        "device": entry_plain(device),
        "assets": [entry_plain(one) for one in identity.assets.values()],
        "customers": [entry_plain(one) for one in identity.customers.values()],
    }


def history_plain(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """What was changed when, by whom and why, oldest first; the last changes of each entry."""
    rows = [
        {
            "at": iso(one.at_ms),
            "at_ms": one.at_ms,
            "entry": entry.key,
            "who": one.who,
            "why": one.why,
            "what": one.said,
            "command": one.command,
        }
        for entry in entries
        for one in entry.log
        # A change of several is told once in full; the others have the same words.
        if one.said
    ]
    seen: set[tuple[Any, ...]] = set()
    out = []
    for row in sorted(rows, key=lambda row: (row["at_ms"], not row["command"])):
        mark = (row["at_ms"], row["what"])
        if mark not in seen:
            seen.add(mark)
            out.append(row)
    return out


def outcome_plain(outcome: Decided | Refused) -> dict[str, Any]:
    """What came of a command."""
    if isinstance(outcome, Refused):
        return {"refused": outcome.code.value, "field": outcome.field, "message": outcome.message}
    return {
        "changed": bool(outcome.entries) and not outcome.again,
        "again": outcome.again,
        "said": list(outcome.said),
        "versions": {entry.key: entry.version for entry in outcome.entries},
    }


def imported_plain(done: Imported, *, dry: bool) -> dict[str, Any]:
    """An import as JSON."""
    return {
        "dry_run": dry,
        "lines": done.lines,
        "changed": {str(line): list(said) for line, said in sorted(done.changed.items())},
        "same": done.same,
        "wrong": [asdict(one) for one in done.wrong],
    }


async def find(made: Desk, text: str, *, limit: int = MAX_FOUND) -> list[Entry]:
    """Entries that a text means: 'system.object=id' exactly, else any part of an id or a name."""
    name, equals, value = text.partition("=")
    if equals and is_system_id(name):
        owners = await made.owners([id_field(name, value)])
        keys = [key for key in owners.values() if key]
        return list((await made.read(keys, depth=0)).values()) if keys else []
    exact = await made.read([key_of(kind, text) for kind in Kind], depth=0)
    found = {entry.key: entry for entry in exact.values()}
    wanted = text.casefold()
    async for entry in made.index.scan():
        if len(found) >= limit:
            break
        words = (entry.id, entry.name, *entry.ids.values())
        if any(wanted in word.casefold() for word in words):
            found[entry.key] = entry
    return sorted(found.values(), key=lambda entry: entry.key)


def about(entries: Mapping[str, Entry], device_id: str) -> Sequence[Entry]:
    """A device with all its assets and their owners."""
    device = entries.get(key_of(Kind.DEVICE, device_id)) if is_device_id(device_id) else None
    if device is None:
        return ()
    identity = identity_of(device, entries)
    return (device, *identity.assets.values(), *identity.customers.values())
