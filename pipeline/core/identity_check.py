"""Whether the values of a command can be used at all, whatever the map holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.core.identity import EVER, MAX_TEXT, Kind, is_device_id, is_system_id
from pipeline.core.identity_commands import (
    AnyCommand,
    Code,
    Describe,
    Move,
    Own,
    Refused,
    Retire,
)

_TEXTS = (
    "id",
    "who",
    "why",
    "asset_name",
    "customer_name",
    "customer_tax_id",
    "device_class",
    "site",
    "region",
    "name",
    "tax_id",
)
_NAMES = ("asset_id", "customer_id", "entry_id")
_MAY_BE_EMPTY: Mapping[type, str] = {Move: "asset_id", Own: "customer_id"}
MAX_WHY = 500


class No(Exception):  # noqa: N818 - it never leaves `decide`: a refusal is a value
    """Why a command is refused."""

    def __init__(self, code: Code, where: str, message: str) -> None:
        super().__init__(message)
        self.refused = Refused(code=code, field=where, message=message)


def check(command: AnyCommand) -> None:
    """Raises No for a value that cannot be used."""
    for name in (*_TEXTS, *_NAMES):
        text = getattr(command, name, None)
        most = MAX_WHY if name == "why" else MAX_TEXT
        if text is not None and (len(text) > most or not text.isprintable()):
            raise No(Code.INVALID, name, f"{name} must be at most {most} printable characters.")
        if name in _NAMES and text is not None and text != text.strip():
            raise No(Code.INVALID, name, f"{name} begins or ends with a space: take it away.")
    for name in _NAMES:
        if getattr(command, name, None) == "" and name != _MAY_BE_EMPTY.get(type(command)):
            raise No(Code.INVALID, name, f"{name} is empty: name one.")
    _check_device(command)
    _check_times(command)
    for name, value in getattr(command, "ids", {}).items():
        if not is_system_id(name):
            raise No(Code.INVALID, name, f"{name[:MAX_TEXT]!r} is no SYSTEM.OBJECT of a-z 0-9 _.")
        if len(value) > MAX_TEXT or not value.isprintable() or value != value.strip():
            raise No(Code.INVALID, name, f"{name} must be at most {MAX_TEXT} printable characters")


def _check_device(command: AnyCommand) -> None:
    device: str | None = getattr(command, "device_id", None)
    if isinstance(command, (Describe, Retire)) and command.kind is Kind.DEVICE:
        device = command.entry_id
    if device is not None and not is_device_id(device):
        raise No(
            Code.INVALID,
            "device_id",
            f"{device[:MAX_TEXT]!r} must be TENANT/DEVICE, each 1 to 128 of A-Z a-z 0-9 _ . : -.",
        )


def _check_times(command: AnyCommand) -> None:
    for name in ("at_ms", "until_ms"):
        time = getattr(command, name)
        if time is not None and not EVER <= time < 1 << 53:
            raise No(Code.INVALID, name, f"{name} is no time in milliseconds since 1970.")
    if command.until_ms is not None and (
        command.at_ms is None or command.until_ms <= command.at_ms
    ):
        raise No(Code.INVALID, "until_ms", "It ends before it begins: give at and a later until.")
