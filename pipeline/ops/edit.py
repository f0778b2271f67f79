"""Changes to a dead letter's event: by the event's Avro schema, and only where it stays itself.

What makes the event's key and place cannot be changed (FIXED): under its id the ledger and
the target know it, and by its source the events of a device have their order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from pipeline.settings import SettingsError
from pipeline.wire.avro import schema

SCHEMA: Final = "business_event.v2"
FIXED: Final = (
    "id",
    "tenant",
    "device_id",
    "detector",
    "metric",
    "action",
    "entity_id",
    "correlation_id",
    "source",
)
"""Fields that say which event it is, what it is about, and where it comes in its device's order."""
MAX_TEXT: Final = 4_096
"""Characters of a text."""
MAX_ITEMS: Final = 1_000
"""Entries of a list."""
MAX_DOCUMENT: Final = 1_048_576
"""Characters of an event as JSON."""
_LONG: Final = 2**63
_INT: Final = 2**31


class EditError(SettingsError):
    """The change cannot be made; the text is one sentence with the mend."""


def with_settings(record: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The event's record with each 'field=value' applied; EditError where one does not fit.

    Fields of records and entries of lists are named with dots: `snapshot.0.value=3.5`. A value
    is taken as text, number or symbol as the schema says; `null` empties a field that may be
    empty; lists and whole records are given as JSON.
    """
    edited = deepcopy(dict(record))
    for setting in settings:
        path, equals, text = setting.partition("=")
        path = path.strip()
        if not equals or not path:
            raise EditError(f"--set {setting[:80]!r} has no '=': write field=value.")
        _set(edited, path, text)
    return whole(edited)


def with_document(record: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The event's record as an edited JSON document has it; EditError where it is unusable."""
    if len(text) > MAX_DOCUMENT:
        raise EditError(f"The document is longer than {MAX_DOCUMENT:,} characters: shorten it.")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EditError(f"That is not JSON ({error}): nothing was changed.") from error
    edited = whole(given)
    for name in changes(record, edited):
        _refuse_fixed(name)
    return edited


def as_json(record: Mapping[str, Any]) -> str:
    """The event's record for a person to edit."""
    return json.dumps(record, indent=2, ensure_ascii=False)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """What differs, by field in the schema's order: 'old → new'."""
    old, new = dict(_flat("", before)), dict(_flat("", after))
    return {
        name: f"{shown(old.get(name, _ABSENT))} → {shown(new.get(name, _ABSENT))}"
        for name in dict.fromkeys((*old, *new))
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    }


_ABSENT: Final = object()


def shown(value: object) -> str:
    """A value as a person reads it: texts bare, nothing as 'none'."""
    if value is _ABSENT or value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any of Avro's
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}" if path else name, inner)
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            yield from _flat(f"{path}.{at}", inner)
    else:
        yield path, value


def _refuse_fixed(path: str) -> None:
    head = path.partition(".")[0]
    if head in FIXED:
        raise EditError(
            f"{head} cannot be changed, it says which event this is: "
            "discard this one, and send another where it must differ."
        )


def _set(edited: dict[str, Any], path: str, text: str) -> None:
    _refuse_fixed(path)
    place: Any = edited
    kind: Any = schema(SCHEMA)
    *way, last = path.split(".")
    for step in way:
        place, kind = _into(place, step, path), _kind_of(kind, step, path)
    kind = _kind_of(kind, last, path)
    value = _read(kind, text, path)
    if isinstance(place, list):
        _into(place, last, path)  # the entry must be there
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise EditError(f"{path} is empty as a whole: set {'.'.join(way)} first.")


def _into(place: Any, step: str, path: str) -> Any:  # noqa: ANN401 - any of Avro's
    if isinstance(place, list):
        if not step.isdecimal() or int(step) >= len(place):
            raise EditError(f"{path} names entry {step!r} of a list of {len(place)}: count from 0.")
        return place[int(step)]
    return place.get(step) if isinstance(place, dict) else None


def _kind_of(kind: Any, step: str, path: str) -> Any:  # noqa: ANN401 - a part of a schema
    kind = _not_null(kind)
    if isinstance(kind, dict) and kind["type"] == "array":
        return kind["items"]
    fields = kind["fields"] if isinstance(kind, dict) and kind["type"] == "record" else []
    for field in fields:
        if field["name"] == step:
            return field["type"]
    names = ", ".join(f["name"] for f in fields if f["name"] not in FIXED)
    hint = f": there are {names}" if names else ""
    raise EditError(f"An event has no field {path[:80]!r}{hint}.")


def _not_null(kind: Any) -> Any:  # noqa: ANN401 - a part of a schema
    return next(one for one in kind if one != "null") if isinstance(kind, list) else kind


def _read(kind: Any, text: str, path: str) -> Any:  # noqa: ANN401 - any of Avro's
    """A value as typed, by the schema's type."""
    if isinstance(kind, list) and text == "null":
        return None
    kind = _not_null(kind)
    name = kind["type"] if isinstance(kind, dict) else kind
    if name in {"string", "enum"}:
        return _fit(kind, text, path)
    try:
        return _fit(kind, json.loads(text), path)
    except (ValueError, RecursionError) as error:
        wanted = "a number" if name in {"double", "long", "int"} else "JSON"
        raise EditError(f"{path} must be {wanted}, and {text[:80]!r} is not.") from error


def whole(given: Any) -> dict[str, Any]:  # noqa: ANN401 - what a person wrote
    """The event's record as its schema wants it, defaults put in; EditError where it cannot be."""
    fitted: dict[str, Any] = _fit(schema(SCHEMA), given, "the event")
    if not 0 <= fitted["confidence"] <= 1:
        raise EditError(f"confidence must be from 0 to 1, not {fitted['confidence']:g}.")
    return fitted


def _fit(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401, PLR0911 - one line a type
    """The value as Avro's type takes it; EditError where it does not."""
    if isinstance(kind, list):
        return None if value is None and "null" in kind else _fit(_not_null(kind), value, path)
    name = kind["type"] if isinstance(kind, dict) else kind
    match name, value:
        case "string", str() if len(value) <= MAX_TEXT:
            return value
        case "enum", str() if value in kind["symbols"]:
            return value
        case "double", int() | float() if not isinstance(value, bool) and _finite(value):
            return float(value)
        case "long" | "int", int() if not isinstance(value, bool):
            bound = _LONG if name == "long" else _INT
            if -bound <= value < bound:
                return value
        case "array", list() if len(value) <= MAX_ITEMS:
            return [_fit(kind["items"], one, f"{path}.{at}") for at, one in enumerate(value)]
        case "record", dict():
            return _fit_record(kind, value, path)
    raise EditError(f"{path} must be {_wanted(name, kind)}, and {str(value)[:80]!r} is not.")


def _fit_record(kind: Mapping[str, Any], value: Mapping[str, Any], path: str) -> dict[str, Any]:
    names = [field["name"] for field in kind["fields"]]
    where = "" if path == "the event" else f"{path}."
    for name in value:
        if name not in names:
            raise EditError(f"There is no field {f'{where}{name}'[:80]!r}: take it out.")
    out = {}
    for field in kind["fields"]:
        name = field["name"]
        if name not in value and "default" not in field:
            raise EditError(f"{where}{name} is missing: put it back.")
        out[name] = _fit(field["type"], value.get(name, field.get("default")), f"{where}{name}")
    return out


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _wanted(name: str, kind: Any) -> str:  # noqa: ANN401 - a part of a schema
    if name == "enum":
        *first, last = kind["symbols"]
        return f"{', '.join(first)} or {last}"
    return {
        "string": f"a text of at most {MAX_TEXT:,} characters",
        "double": "a finite number",
        "long": "a whole number",
        "int": "a whole number",
        "array": f"a list of at most {MAX_ITEMS:,}",
        "record": "a record of fields",
    }[name]
