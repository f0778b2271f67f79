"""Tables for integrators, from the code: data map, events, systems, and each system's fields.

Nothing here is written by hand, so nothing can be out of date: the canonical model, the event
types of the detectors and what each connector declares (connectors/system.py).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from connectors import registry
from connectors.fields import Field, Overlong
from connectors.sources import SOURCES, source
from connectors.system import System
from pipeline.core.canonical import Object
from pipeline.core.canonical_objects import OBJECTS
from pipeline.core.detectors.table import DETECTORS, DEVICE_EVENT_TYPES
from pipeline.core.identity import kind_of
from pipeline.core.moments import DRIFT, DRIFT_TYPE
from pipeline.core.release import STORM, STORM_TYPE
from pipeline.settings import SettingsError
from pipeline.topology import EVENTS
from pipeline.wire.avro import schema_text

EVENT_SCHEMA: Final = "business_event.v2"
_IDS: Final = "ids."
# A spreadsheet takes a cell for a formula by its first character (OWASP, "CSV Injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_DEFINED: Final = "defined, no data of it goes through yet"

Row = Sequence[str]


def cell(text: object) -> str:
    """A value as a cell: one line, and never the beginning of a formula."""
    plain = " ".join(str(text).split())
    return f"'{plain}" if plain.startswith(_FORMULA) else plain


def tables() -> dict[str, list[Row]]:
    """Every table by file name, header first."""
    systems = [registry.system(name) for name in registry.names()]
    out = {
        "canonical_model.csv": list(_model()),
        "data_map.csv": list(_data_map(systems)),
        "event_catalogue.csv": list(_events()),
        "systems.csv": list(_systems(systems)),
    }
    for one in systems:
        out[f"fields_{one.name}.csv"] = list(_fields(one))
    return out


def export(folder: Path) -> list[tuple[Path, int]]:
    """Write all tables; each file with its number of rows. SettingsError where that fails."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables().items():
            text = io.StringIO(newline="")
            writer = csv.writer(text)  # RFC 4180: CRLF, quoted where needed
            writer.writerows([cell(value) for value in row] for row in rows)
            path = folder / name
            path.write_text(text.getvalue(), encoding="utf-8", newline="")
            written.append((path, len(rows) - 1))
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be written ({error.strerror}): name a folder that can."
        ) from error
    return written


def _model() -> Iterator[Row]:
    yield (
        *("object", "field", "type", "of", "unit", "required", "care", "doc"),
        *("system_of_record", "key", "conflict", "topic"),
    )
    for one in OBJECTS:
        for field in one.fields:
            yield (
                *(one.name, field.name, field.kind.value, field.of, field.unit),
                *(_flag(field.required), field.care.value, field.doc),
                *(one.record, one.key, one.conflict, one.carried or _DEFINED),
            )


def _data_map(systems: Iterable[System]) -> Iterator[Row]:
    yield (
        *("canonical", "system", "object", "field", "rule", "unit", "care"),
        *("owner", "conflict", "note"),
    )
    yield from sorted(
        (
            *(canonical_name(field.source), system.name, target, field.target),
            *("; ".join(rules(field)), unit(field), source(field.source).care.value),
            *(spec.owner, spec.conflict, field.note),
        )
        for system in systems
        for target, spec in system.objects.items()
        for field in spec.fields
    )


def _fields(system: System) -> Iterator[Row]:
    yield (
        *("object", "canonical_object", "field", "from", "rule", "unit", "care", "sent_on"),
        "note",
    )
    for target, spec in system.objects.items():
        for field in spec.fields:
            yield (
                *(target, spec.canonical, field.target, canonical_name(field.source)),
                *("; ".join(rules(field)), unit(field), source(field.source).care.value),
                *(", ".join(field.on) or "every action", field.note),
            )
    if not system.objects:
        for name, one in SOURCES.items():
            if name.startswith("event."):
                yield (
                    *("event", "Event", name.partition(".")[2], canonical_name(name)),
                    *("", one.unit, one.care.value, "every action", one.doc),
                )


def _events() -> Iterator[Row]:
    yield ("type", "raised_by", "topic", "field", "field_type", "meaning")
    described = list(_schema_fields(json.loads(schema_text(EVENT_SCHEMA))))
    for kind, by in sorted(event_types().items()):
        for name, of, doc in described:
            yield (kind, by, EVENTS, name, of, doc)


def event_types() -> dict[str, str]:
    """Every type of business event, and which detector raises it."""
    return {
        **{one.event_type: one.name for one in DETECTORS},
        **{kind: name for name, kind in DEVICE_EVENT_TYPES.items()},
        DRIFT_TYPE: DRIFT,
        STORM_TYPE: STORM,
    }


def _schema_fields(record: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str, str]]:
    for field in record["fields"]:
        name, kind = f"{within}{field['name']}", field["type"]
        inner = kind.get("items", kind) if isinstance(kind, dict) else None
        yield name, _type_name(kind), field.get("doc", "")
        if isinstance(inner, dict) and inner.get("type") == "record":
            yield from _schema_fields(inner, f"{name}.")


def _type_name(kind: Any) -> str:  # noqa: ANN401 - any Avro type
    if isinstance(kind, list):
        return " or ".join(_type_name(one) for one in kind)
    if isinstance(kind, dict):
        if kind["type"] == "array":
            return f"list of {_type_name(kind['items'])}"
        return "one of " + ", ".join(kind["symbols"]) if "symbols" in kind else str(kind["type"])
    return str(kind)


def _systems(systems: Iterable[System]) -> Iterator[Row]:
    yield ("system", "title", "object", "canonical_object", "owner", "conflict", "unsure")
    for one in systems:
        unsure = " | ".join(one.unsure)
        if not one.objects:
            yield (one.name, one.title, "event", "Event", "the receiver", "", unsure)
        for target, spec in one.objects.items():
            yield (
                *(one.name, one.title, target, spec.canonical),
                *(spec.owner, spec.conflict, unsure),
            )


def canonical_name(name: str) -> str:
    """Object.field of a mapping's source; an id at another system is Device/Asset/…'s ids."""
    if name.startswith(_IDS):
        wanted = name.removeprefix(_IDS)
        return f"{kind_of(wanted).capitalize()}.ids[{wanted}]"
    return next(
        (f"{one.name}.{name.partition('.')[2]}" for one in OBJECTS if _has(one, name)), name
    )


def _has(one: Object, name: str) -> bool:
    return any(one.source(field) == name for field in one.fields)


def rules(field: Field) -> list[str]:
    """What is demanded of a field's value, in words."""
    out = ["required"] if field.required else []
    if field.limit is not None:
        then = "rejected" if field.overlong is Overlong.REJECT else "cut"
        out.append(f"at most {field.limit} characters, longer is {then}")
    if field.choices is not None:
        out.append("one of " + ", ".join(f"{k} → {v}" for k, v in field.choices.items()))
    if field.lines:
        out.append("keeps lines")
    if field.make is not None:
        out.append(f"format: {_words(getattr(field.make, '__name__', 'own'))}")
    return out


def _words(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", " ", name).strip() or "own"


def unit(field: Field) -> str:
    """Unit at the target, and ours where it is another."""
    ours, theirs = source(field.source).unit, field.unit.value
    return f"{ours} → {theirs}" if ours and theirs and ours != theirs else theirs or ours


def _flag(value: bool) -> str:  # noqa: FBT001 - what it is about
    return "yes" if value else ""
