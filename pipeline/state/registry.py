"""The device registry's file: CSV to Registry, with errors that name line and column."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable
from pathlib import Path

import structlog

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
OPTIONAL = ("device_class", "site")
MAX_BYTES = 256 * 1024 * 1024
"""Greatest file that is read: about two million devices."""
MAX_CHARACTERS = 200
CHECK_S = 1.0
"""How often a LiveRegistry looks whether its file has changed, seconds."""

log = structlog.get_logger(__name__)

_DEVICE = re.compile(r"[A-Za-z0-9_.:-]{1,128}/[A-Za-z0-9_.:-]{1,128}")
_ACTIVE = {"true": True, "false": False}
_MAY_BE_EMPTY = {"customer_tax_id", *OPTIONAL}


def load_registry(path: Path) -> Registry:
    """Every device in `path`: UTF-8 CSV with a header line of COLUMNS, in any order.

    Those of OPTIONAL may be there too. SettingsError with one sentence that names file, line
    and column where it is unusable.
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


class LiveRegistry:
    """The registry file as it is now: a change is seen within CHECK_S, without a restart.

    A person mends a customer's row and replays the dead letter; nobody should have to know
    which workers to restart. A file that has become unusable is told once, and the devices
    known before stay.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._devices = load_registry(path)
        self._stamp = _stamp(path)
        self._checked_s = clock()

    def get(self, device_id: str) -> DeviceRecord | None:
        """The device's row, or None where it is not registered."""
        if self._clock() - self._checked_s >= CHECK_S:
            self._checked_s = self._clock()
            self._refresh()
        return self._devices.get(device_id)

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._devices = load_registry(self._path)
        except SettingsError as error:
            log.warning("device registry unusable, the last good one stays", detail=str(error))
        else:
            log.info("device registry read again", devices=len(self._devices.devices))


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when the file does: time of change (ns) and size; (0, 0) where it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise SettingsError(
            f"Line 1 of the device registry {path} has no column {missing[0]}: "
            f"the columns are {','.join(COLUMNS)}."
        )
    unknown = [name for name in header if header.count(name) > 1 or name not in COLUMNS + OPTIONAL]
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
        device_class=fields.get("device_class", ""),
        site=fields.get("site", ""),
    )
