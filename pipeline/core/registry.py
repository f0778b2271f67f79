"""Device registry: which asset a device is mounted on, and whose it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """One row of the registry. `device_id` is 'tenant/device'; `active` False = retired asset.

    `device_class` (for rules), `site` (for storm suppression) and `region` (where its data may
    go) are '' where not given. `ids` is what other systems call them, by 'system.object', e.g.
    'salesforce.account'.
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
    region: str = ""
    ids: Mapping[str, str] = field(default_factory=dict)


class Devices(Protocol):
    """Where a device's row is looked up."""

    def get(self, device_id: str) -> DeviceRecord | None:
        """The device's row, or None where it is not registered."""
        ...


class Owners(Protocol):
    """Where it is looked up whose a device was when an event occurred."""

    async def resolve(self, asks: Sequence[tuple[str, int]]) -> list[DeviceRecord | None]:
        """The rows of (device id, ms since 1970), as they were then; None where not known."""
        ...


@dataclass(frozen=True, slots=True)
class Registry:
    """All devices known, by device id."""

    devices: Mapping[str, DeviceRecord] = field(default_factory=dict)

    def get(self, device_id: str) -> DeviceRecord | None:
        """The device's row, or None where it is not registered."""
        return self.devices.get(device_id)
