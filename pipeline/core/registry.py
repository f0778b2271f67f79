"""Device registry: which asset a device is mounted on, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """One row of the registry. `device_id` is 'tenant/device'; `active` False = retired asset.

    `device_class` (for rules) and `site` (for storm suppression) are '' where not given.
    """

    device_id: str
    asset_id: str
    asset_name: str
    customer_id: str
    customer_name: str
    customer_tax_id: str
    active: bool
    device_class: str = ""
    site: str = ""


class Devices(Protocol):
    """Where a device's row is looked up."""

    def get(self, device_id: str) -> DeviceRecord | None:
        """The device's row, or None where it is not registered."""
        ...


@dataclass(frozen=True, slots=True)
class Registry:
    """All devices known, by device id."""

    devices: Mapping[str, DeviceRecord] = field(default_factory=dict)

    def get(self, device_id: str) -> DeviceRecord | None:
        """The device's row, or None where it is not registered."""
        return self.devices.get(device_id)
