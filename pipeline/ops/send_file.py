"""Events that a person hands in, one JSON object a line, to events and their devices' rows.

A line has fields of business_event.v2 (schemas/avro). `device_id` and `summary` must be there;
what else is left out gets the value in DEFAULTS, and `id`, which is the idempotency key, is
then made from the rest of the line: the same line is the same event. `record` may hold the
device's row in the registry (fields of pipeline.core.registry.DeviceRecord).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TextIO

from pipeline.core.events import Action, BusinessEvent, Severity, tenant_of
from pipeline.core.registry import DeviceRecord, Devices
from pipeline.ops.edit import EditError, whole
from pipeline.settings import SettingsError
from pipeline.wire.records import event_of_record

MAX_LINE: Final = 1_048_576
"""Characters of a line."""
MAX_LINES: Final = 1_000_000
DEFAULTS: Final[Mapping[str, Any]] = {
    "type": "fieldline.manual",
    "asset_id": None,
    "customer_id": None,
    "severity": Severity.WARNING.value,
    "confidence": 1.0,
    "detector": "manual",
    "metric": "",
    "rule": "manual",
    "snapshot": [],
}
_TEXTS = frozenset(f.name for f in fields(DeviceRecord) if f.name not in {"active", "ids"})
_MARK = "\ufeff"
"""Some editors begin a file with it."""
_NEEDED = ("asset_id", "asset_name", "customer_id", "customer_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: the event, and its device's row where one is known."""

    number: int
    event: BusinessEvent
    record: DeviceRecord | None


def read(lines: Iterable[str], devices: Devices, *, now_ms: int) -> list[Line]:
    """Every line that is not blank; SettingsError with the line's number where one is unusable.

    `devices` knows the rows that lines do not bring; `now_ms` (since the Unix epoch) is the
    time of events that name none.
    """
    out: list[Line] = []
    for number, given in enumerate(_texts(lines), start=1):
        text = given.removeprefix(_MARK) if number == 1 else given
        if not text.strip():
            continue
        if len(out) >= MAX_LINES:
            raise SettingsError(f"There are more than {MAX_LINES:,} events: send them in parts.")
        try:
            out.append(_line(number, text, devices, now_ms))
        except EditError as error:
            raise SettingsError(f"Line {number}: {error}") from error
    return out


def lines_of(file: TextIO) -> Iterator[str]:
    """A file's lines, none of them read further than shows that it is too long."""
    return iter(lambda: file.readline(MAX_LINE + 1), "")


def _texts(lines: Iterable[str]) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise SettingsError("The events are not UTF-8 text: write them so.") from error


def _line(number: int, text: str, devices: Devices, now_ms: int) -> Line:
    if len(text) > MAX_LINE:
        raise EditError(f"it is longer than {MAX_LINE:,} characters: shorten it.")
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        why = f"{error.msg}, at character {error.pos + 1}"
        raise EditError(f"it is not JSON ({why}): correct it.") from error
    except (ValueError, RecursionError) as error:
        raise EditError("it is not JSON that can be read: correct it.") from error
    if not isinstance(given, dict):
        raise EditError("it is no JSON object: write {...}.")
    try:
        json.dumps(given, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise EditError("it holds half a character (a lone surrogate): correct it.") from error
    row = given.pop("record", None)
    for name in ("device_id", "summary"):
        if not isinstance(given.get(name), str) or not given[name]:
            raise EditError(f"{name} is missing: every event needs it, as a text.")
    device = given["device_id"]
    own = given.pop("id", None) or _id_of(given)
    filled = {
        **DEFAULTS,
        "tenant": tenant_of(device),
        "correlation_id": own,
        "occurred_at_ms": now_ms,
        "observed_at_ms": now_ms,
        "source": _source(now_ms, number),
        **given,
        "id": own,
    }
    event = event_of_record(whole(filled))
    if event.action is not Action.RAISE and not event.entity_id:
        raise EditError("entity_id is missing: name the event that raised what this one changes.")
    record = devices.get(device) if row is None else _record(row, device)
    return Line(number=number, event=event, record=record)


def _source(now_ms: int, number: int) -> dict[str, Any]:
    """Where it comes from: what is sent later is later, and so is a later line."""
    return {
        "topic": "by hand",
        "partition": 0,
        "offset": now_ms * 1_000_000 + number,
        "index": 0,
        "session": 0,
        "sequence": -1,
    }


def _id_of(given: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).digest()
    return base64.b32encode(digest[:15]).decode().lower()


def _record(row: Any, device: str) -> DeviceRecord:  # noqa: ANN401 - JSON
    if not isinstance(row, dict):
        raise EditError("record must be an object with the device's row in the registry.")
    known = _TEXTS | {"active", "ids"}
    for name in row:
        if name not in known:
            raise EditError(f"record has no field {name!r}: there are {', '.join(sorted(known))}.")
    for name in _NEEDED:
        if name not in row:
            raise EditError(f"record.{name} is missing.")
    ids, active = row.get("ids", {}), row.get("active", True)
    texts = {name: row[name] for name in _TEXTS if name in row}
    if not all(isinstance(value, str) for value in texts.values()):
        raise EditError("every field of record but active and ids must be a text.")
    if not isinstance(active, bool):
        raise EditError("record.active must be true or false.")
    if not isinstance(ids, dict) or not all(isinstance(one, str) for one in ids.values()):
        raise EditError("record.ids must be an object of texts.")
    if texts.setdefault("device_id", device) != device:
        raise EditError(f"record.device_id must be the event's, {device[:64]!r}, or left out.")
    return DeviceRecord(**{"customer_tax_id": "", **texts}, active=active, ids=ids)
