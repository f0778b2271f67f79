"""Who a device is, through time: on which asset, and whose that was when. Pure.

Three kinds of entry make an identity. A device has periods on assets, an asset has periods with
owners, a customer has a name. So a customer's tax number stands in one place, and an asset keeps
its owner when its device is replaced.

A period is a fact about the past and stays; names, classes, tax numbers and the ids that other
systems use are as they are now, for they are mended and not lived through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from pipeline.core.registry import DeviceRecord

MAX_TEXT: Final = 200
"""Longest name or id, characters."""
MAX_PERIODS: Final = 500
MAX_IDS: Final = 64
MAX_LOG: Final = 16
"""Changes that an entry remembers: as long is a repeated command known again."""
EVER: Final = 0
"""A period that begins here has been since ever; milliseconds since 1970, UTC."""

_DEVICE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}/[A-Za-z0-9_.:-]{1,128}")
_SYSTEM_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,39}\.[a-z][a-z0-9_]{0,39}")


class Kind(StrEnum):
    """What an entry is about."""

    DEVICE = "device"
    ASSET = "asset"
    CUSTOMER = "customer"


OF_CUSTOMERS: Final = frozenset(
    {"account", "business_partner", "client", "company", "contact", "customer", "partner", "party"}
)
"""Objects of other systems that stand for a customer."""
OF_DEVICES: Final = frozenset({"device", "gateway", "sensor", "thing"})
SHARED: Final = frozenset(
    {"address", "contract", "entitlement", "functional_location", "location", "site"}
)
"""Objects that several assets may share: a place holds, and a contract covers, more than one."""


def kind_of(system_id: str) -> Kind:
    """What 'system.object' names: by the object's word; an asset where it says nothing else."""
    word = system_id.partition(".")[2]
    if word in OF_CUSTOMERS:
        return Kind.CUSTOMER
    return Kind.DEVICE if word in OF_DEVICES else Kind.ASSET


def is_shared(system_id: str) -> bool:
    """Whether several may have the same one."""
    return system_id.partition(".")[2] in SHARED


def is_system_id(name: str) -> bool:
    """Whether a name is 'system.object', both of a-z 0-9 _."""
    return _SYSTEM_ID.fullmatch(name) is not None


def is_device_id(text: str) -> bool:
    """Whether a text is TENANT/DEVICE, each 1 to 128 of A-Z a-z 0-9 _ . : -."""
    return _DEVICE.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Something that was so from `from_ms` to before `to_ms` (None: it lasts).

    `of` is the asset that a device was on, or the customer whose an asset was; `site` and
    `region` are where an owner had it. Times in milliseconds since 1970, UTC.
    """

    of: str
    from_ms: int = EVER
    to_ms: int | None = None
    site: str = ""
    region: str = ""

    @property
    def what(self) -> tuple[str, str, str]:
        """All but the times."""
        return (self.of, self.site, self.region)

    def covers(self, at_ms: int) -> bool:
        """Whether it was so then."""
        return self.from_ms <= at_ms and (self.to_ms is None or at_ms < self.to_ms)

    def overlaps(self, from_ms: int, to_ms: int | None) -> bool:
        """Whether it was so at any time from `from_ms` to before `to_ms`."""
        return (to_ms is None or self.from_ms < to_ms) and (
            self.to_ms is None or from_ms < self.to_ms
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """One change of an entry: by which command, who, when (ms since 1970), and what it did.

    `command` is '' for a change that needs no repetition guard (an import repeats by itself);
    `digest` is of what was asked.
    """

    command: str
    digest: str
    at_ms: int
    who: str
    why: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One device, asset or customer. Fields as in schemas/avro/identity_record.

    `periods` are sorted and never overlap. `devices` are all that an asset ever had.
    """

    kind: Kind
    id: str
    version: int = 0
    name: str = ""
    device_class: str = ""
    tax_id: str = ""
    periods: tuple[Period, ...] = ()
    devices: tuple[str, ...] = ()
    ids: Mapping[str, str] = field(default_factory=dict)
    retired_at_ms: int | None = None
    log: tuple[Applied, ...] = ()

    @property
    def key(self) -> str:
        """Its key in the topic and in the index."""
        return key_of(self.kind, self.id)

    @property
    def refs(self) -> tuple[str, ...]:
        """Keys of the entries that its periods name, each once."""
        other = {Kind.DEVICE: Kind.ASSET, Kind.ASSET: Kind.CUSTOMER}.get(self.kind)
        if other is None:
            return ()
        return tuple(dict.fromkeys(key_of(other, period.of) for period in self.periods))

    @property
    def holds(self) -> tuple[str, ...]:
        """What nobody else may have: ids at other systems, and the commands it remembers."""
        own = (id_field(n, v) for n, v in self.ids.items() if not is_shared(n))
        return (*own, *(command_field(one.command) for one in self.log if one.command))

    def retired(self, at_ms: int) -> bool:
        """Whether it was retired by then."""
        return self.retired_at_ms is not None and at_ms >= self.retired_at_ms


def key_of(kind: Kind, ident: str) -> str:
    """An entry's key."""
    return f"{kind}/{ident}"


def id_field(system_id: str, value: str) -> str:
    """Name under which the owner of an id at another system is found."""
    return f"id/{system_id}/{value}"


def command_field(command: str) -> str:
    """Name under which the entry that a command changed is found."""
    return f"cmd/{command}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A device with every asset it was ever on, and every customer those ever had."""

    device: Entry
    assets: Mapping[str, Entry]
    customers: Mapping[str, Entry]


def identity_of(device: Entry, entries: Mapping[str, Entry | None]) -> Identity:
    """The identity of `device`, out of entries by key; what is not among them is left out."""
    assets = {e.id: e for ref in device.refs if (e := entries.get(ref)) is not None}
    owners = dict.fromkeys(ref for asset in assets.values() for ref in asset.refs)
    customers = {e.id: e for ref in owners if (e := entries.get(ref)) is not None}
    return Identity(device=device, assets=assets, customers=customers)


def during(periods: Iterable[Period], at_ms: int) -> Period | None:
    """The period that covers an instant."""
    return next((period for period in periods if period.covers(at_ms)), None)


def at(identity: Identity, at_ms: int) -> DeviceRecord | None:
    """The device's row as it was at `at_ms`; None where it was on no asset, or that nobody's.

    A time before 1970 counts as the beginning.
    """
    at_ms = max(EVER, at_ms)
    mounted = during(identity.device.periods, at_ms)
    asset = identity.assets.get(mounted.of) if mounted else None
    owned = during(asset.periods, at_ms) if asset else None
    customer = identity.customers.get(owned.of) if owned else None
    if asset is None or owned is None or customer is None:
        return None
    return DeviceRecord(
        device_id=identity.device.id,
        asset_id=asset.id,
        asset_name=asset.name,
        customer_id=customer.id,
        customer_name=customer.name,
        customer_tax_id=customer.tax_id,
        active=not asset.retired(at_ms),
        device_class=identity.device.device_class,
        site=owned.site,
        region=owned.region,
        ids={**customer.ids, **asset.ids, **identity.device.ids},
    )


def spliced(
    periods: Iterable[Period], new: Period | None, from_ms: int, to_ms: int | None = None
) -> tuple[Period, ...]:
    """The periods with `new` from `from_ms` to before `to_ms` (None: from then on for good).

    `new` None makes a gap. What was said of that time goes; what was so before and after stays.
    Neighbours that say the same become one.
    """
    out: list[Period] = []
    for old in periods:
        if old.from_ms < from_ms:
            end = from_ms if old.to_ms is None else min(old.to_ms, from_ms)
            out.append(replace(old, to_ms=end))
        if to_ms is not None and (old.to_ms is None or old.to_ms > to_ms):
            out.append(replace(old, from_ms=max(old.from_ms, to_ms)))
    if new is not None and (to_ms is None or from_ms < to_ms):
        out.append(replace(new, from_ms=from_ms, to_ms=to_ms))
    joined: list[Period] = []
    for period in sorted(out, key=lambda one: one.from_ms):
        last = joined[-1] if joined else None
        if last is not None and last.what == period.what and last.to_ms == period.from_ms:
            joined[-1] = replace(last, to_ms=period.to_ms)
        else:
            joined.append(period)
    return tuple(joined)
