"""The device registry's file: CSV to rows, with errors that name line and column.

It is how devices come in bulk: `fieldline identity import` takes it into the identity map, which
is what workers go by. Columns: COLUMNS in any order, those of OPTIONAL, and ids at other systems
by their names, as `sap.equipment` (pipeline/core/identity.py).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.identity import MAX_TEXT, is_device_id, is_system_id
from pipeline.core.registry import DeviceRecord, Registry
from pipeline.settings import SettingsError

COLUMNS = (
    "device_id",
    "asset_id",
    "asset_name",
    "customer_id",
    "customer_name",
    "customer_tax_id",
    "active",
)
OPTIONAL = ("device_class", "site", "region")
MAX_BYTES = 256 * 1024 * 1024
"""Greatest file that is read: about two million devices."""
MAX_COLUMNS = 64

_ACTIVE = {"true": True, "false": False}
_MAY_BE_EMPTY = {"customer_tax_id", *OPTIONAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A line that cannot be used. `column` is '' where it is about the whole line."""

    line: int
    column: str
    message: str

    def told(self, what: str) -> str:
        """One sentence, with the place."""
        column = f", column {self.column}" if self.column else ""
        return f"Line {self.line} of {what}{column}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A usable line, and which columns the file has."""

    line: int
    record: DeviceRecord
    columns: frozenset[str]


def load_registry(path: Path) -> Registry:
    """Every device in `path`; SettingsError with one sentence where any line is unusable.

    A customer's tax number is not judged here: that is the ERP's business.
    """
    what = f"the device registry {path}"
    devices: dict[str, DeviceRecord] = {}
    for found in read_file(path):
        if isinstance(found, Wrong):
            raise SettingsError(found.told(what))
        devices[found.record.device_id] = found.record
    return Registry(devices)


def read_file(path: Path) -> Iterator[Line | Wrong]:
    """Every line of a file, in order; SettingsError where it is unusable as a whole."""
    what = f"the device registry {path}"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SettingsError(f"The device registry {path} is larger than {MAX_BYTES} bytes.")
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from read_lines(file, what)
    except OSError as error:
        raise SettingsError(
            f"The device registry {path} cannot be read ({error.strerror}): "
            "name a readable file (FIELDLINE_DEVICES_FILE)."
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"The device registry {path} is not UTF-8 text: save it as CSV in UTF-8."
        ) from error


def read_lines(text: Iterable[str], what: str) -> Iterator[Line | Wrong]:
    """Every line of a CSV with a header; `what` names it. SettingsError for the header."""
    reader = csv.reader(text, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise SettingsError(f"Line 1 of {what} is not CSV: {error}.") from error
    _check_header(what, header)
    lines: dict[str, int] = {}
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Wrong(line=reader.line_num, column="", message=f"it is not CSV: {error}.")
            continue
        if not row:
            continue
        found = _line(reader.line_num, header, row)
        if isinstance(found, Line):
            device = found.record.device_id
            if device in lines:
                message = f"{device} stands on line {lines[device]} already."
                found = Wrong(line=found.line, column="device_id", message=message)
            else:
                lines[device] = found.line
        yield found


def _check_header(what: str, header: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise SettingsError(
            f"Line 1 of {what} has no column {missing[0]}: the columns are {','.join(COLUMNS)}."
        )
    if len(header) > MAX_COLUMNS:
        raise SettingsError(f"Line 1 of {what} has over {MAX_COLUMNS} columns: take some out.")
    for name in header:
        known = name in COLUMNS + OPTIONAL or is_system_id(name)
        if header.count(name) > 1 or not known:
            raise SettingsError(
                f"Line 1 of {what} has column {name[:MAX_TEXT]!r}, "
                "which is unknown or there twice: take it out."
            )


def _line(line: int, header: list[str], row: list[str]) -> Line | Wrong:
    def wrong(column: str, message: str) -> Wrong:
        return Wrong(line=line, column=column, message=message)

    if len(row) != len(header):
        return wrong("", f"it has {len(row)} columns, not {len(header)}: quote commas.")
    fields = dict(zip(header, (text.strip() for text in row), strict=True))
    for name, text in fields.items():
        if not text and name not in _MAY_BE_EMPTY and not is_system_id(name):
            return wrong(name, "it is empty.")
        if len(text) > MAX_TEXT or not text.isprintable():
            return wrong(name, f"at most {MAX_TEXT} printable characters.")
    if not is_device_id(fields["device_id"]):
        return wrong(
            "device_id",
            f"{fields['device_id']!r} must be TENANT/DEVICE, each 1 to 128 of A-Z a-z 0-9 _ . : -.",
        )
    active = _ACTIVE.get(fields["active"].lower())
    if active is None:
        return wrong("active", f"{fields['active']!r} must be true or false.")
    record = DeviceRecord(
        **{name: fields[name] for name in COLUMNS if name != "active"},
        **{name: fields.get(name, "") for name in OPTIONAL},
        active=active,
        ids={name: text for name, text in fields.items() if text and is_system_id(name)},
    )
    return Line(line=line, record=record, columns=frozenset(header))
