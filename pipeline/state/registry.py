"""The device registry's file: CSV to Registry, with errors that name line and column."""

from __future__ import annotations

import csv
import re
from pathlib import Path

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
MAX_BYTES = 256 * 1024 * 1024
"""Greatest file that is read: about two million devices."""
MAX_CHARACTERS = 200

_DEVICE = re.compile(r"[A-Za-z0-9_.:-]{1,128}/[A-Za-z0-9_.:-]{1,128}")
_ACTIVE = {"true": True, "false": False}
_MAY_BE_EMPTY = {"customer_tax_id"}


def load_registry(path: Path) -> Registry:
    """Every device in `path`: UTF-8 CSV with a header line of COLUMNS, in any order.

    SettingsError with one sentence that names file, line and column where it is unusable.
    A customer's tax number is not judged here: that is the ERP's business.
    """
    devices: dict[str, DeviceRecord] = {}
    lines: dict[str, int] = {}
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SettingsError(f"The device registry {path} is larger than {MAX_BYTES} bytes.")
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(path, header)
            for row in reader:
                if not row:
                    continue
                where = f"Line {reader.line_num} of the device registry {path}"
                record = _record(where, header, row)
                if record.device_id in devices:
                    raise SettingsError(
                        f"{where}, column device_id: {record.device_id} stands on "
                        f"line {lines[record.device_id]} already."
                    )
                devices[record.device_id] = record
                lines[record.device_id] = reader.line_num
    except OSError as error:
        raise SettingsError(
            f"The device registry {path} cannot be read ({error.strerror}): "
            "set FIELDLINE_DEVICES_FILE to a readable file."
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"The device registry {path} is not UTF-8 text: save it as CSV in UTF-8."
        ) from error
    except csv.Error as error:
        raise SettingsError(
            f"Line {reader.line_num} of the device registry {path} is not CSV: {error}."
        ) from error
    return Registry(devices)


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise SettingsError(
            f"Line 1 of the device registry {path} has no column {missing[0]}: "
            f"the columns are {','.join(COLUMNS)}."
        )
    unknown = [name for name in header if header.count(name) > 1 or name not in COLUMNS]
    if unknown:
        raise SettingsError(
            f"Line 1 of the device registry {path} has column {unknown[0]!r}, "
            "which is unknown or there twice: take it out."
        )


def _record(where: str, header: list[str], row: list[str]) -> DeviceRecord:
    if len(row) != len(header):
        raise SettingsError(f"{where} has {len(row)} columns, not {len(header)}: quote commas.")
    fields = dict(zip(header, (text.strip() for text in row), strict=True))
    for name, text in fields.items():
        if not text and name not in _MAY_BE_EMPTY:
            raise SettingsError(f"{where}, column {name}: it is empty.")
        if len(text) > MAX_CHARACTERS or not text.isprintable():
            raise SettingsError(
                f"{where}, column {name}: at most {MAX_CHARACTERS} printable characters."
            )
    if not _DEVICE.fullmatch(fields["device_id"]):
        raise SettingsError(
            f"{where}, column device_id: {fields['device_id']!r} must be TENANT/DEVICE, "
            "each 1 to 128 of A-Z a-z 0-9 _ . : -."
        )
    active = _ACTIVE.get(fields["active"].lower())
    if active is None:
        raise SettingsError(f"{where}, column active: {fields['active']!r} must be true or false.")
    return DeviceRecord(
        device_id=fields["device_id"],
        asset_id=fields["asset_id"],
        asset_name=fields["asset_name"],
        customer_id=fields["customer_id"],
        customer_name=fields["customer_name"],
        customer_tax_id=fields["customer_tax_id"],
        active=active,
    )
