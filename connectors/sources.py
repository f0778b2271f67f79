"""What a mapping can take from: every canonical value that an event can tell, by name. Pure.

The names are the canonical model's (pipeline/core/canonical.py): object and field. A mapping
names a source; it never reaches into an event by itself, so `fieldline mapping show` and
`fieldline docs export` can say where every field of every system comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from pipeline.core.canonical import MILLISECONDS, Care
from pipeline.core.events import Action, BusinessEvent
from pipeline.core.registry import DeviceRecord
from pipeline.wire.cloudevents import instant

__all__ = [
    "KEYS",
    "MILLISECONDS",
    "SNAPSHOT_MAX",
    "SOURCES",
    "Care",
    "Facts",
    "Source",
    "Value",
    "snapshot_of",
    "source",
    "text_of",
]

SNAPSHOT_MAX = 64
"""Most readings listed in a text; how many more there are is said."""

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known where an event is mapped. `key` is the idempotency key."""

    event: BusinessEvent
    key: str
    record: DeviceRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One canonical value. `unit` '' where it has none; times are 'ms since 1970' (UTC)."""

    value: Callable[[Facts], Value]
    doc: str
    care: Care = Care.TECHNICAL
    unit: str = ""


def _technical(value: Callable[[Facts], Value], doc: str, unit: str = "") -> Source:
    return Source(value=value, doc=doc, unit=unit)


def _business(value: Callable[[Facts], Value], doc: str) -> Source:
    return Source(value=value, doc=doc, care=Care.BUSINESS)


SOURCES: Mapping[str, Source] = {
    "event.key": _technical(lambda f: f.key, "Idempotency key: the event's id"),
    "event.entity": _technical(lambda f: f.event.entity, "Key of the event that raised it"),
    "event.version": _technical(
        lambda f: f.event.version,
        "Place among its device's events: a later one is greater, as text",
    ),
    "event.type": _technical(lambda f: f.event.type, "Type, e.g. fieldline.limit.exceeded"),
    "event.tenant": _technical(lambda f: f.event.tenant, "Tenant"),
    "event.action": _technical(lambda f: f.event.action.value, "raise, update or clear"),
    "event.severity": _technical(lambda f: f.event.severity.value, "info, warning or critical"),
    "event.confidence": _technical(
        lambda f: f.event.confidence, "Probability that it is real", "1"
    ),
    "event.summary": _technical(lambda f: f.event.summary, "One line for a person"),
    "event.text": _technical(lambda f: text_of(f.event), "What was measured, in lines"),
    "event.snapshot": _technical(lambda f: snapshot_of(f.event), "All readings, as JSON text"),
    "event.detector": _technical(lambda f: f.event.detector, "Detector that raised it"),
    "event.metric": _technical(lambda f: f.event.metric, "Metric that raised it"),
    "event.rule": _technical(lambda f: f.event.rule, "Rule and version"),
    "event.correlation": _technical(
        lambda f: f.event.correlation_id, "Shared by one asset's trouble"
    ),
    "event.occurred_at": _technical(
        lambda f: f.event.occurred_at_ms, "When it was measured", MILLISECONDS
    ),
    "event.observed_at": _technical(
        lambda f: f.event.observed_at_ms, "When it came to the bridge", MILLISECONDS
    ),
    "event.open": _technical(lambda f: f.event.action is not Action.CLEAR, "Whether it lasts"),
    "device.id": _technical(lambda f: f.event.device_id, "Device, tenant/device"),
    "device.class": _technical(lambda f: f.record.device_class, "Class of the device"),
    "asset.id": _technical(lambda f: f.record.asset_id, "Asset that the device is mounted on"),
    "asset.name": _technical(lambda f: f.record.asset_name, "Its name"),
    "site.id": _business(lambda f: f.record.site, "Site where the asset stands"),
    "customer.id": _business(lambda f: f.record.customer_id, "Owner at the time of the event"),
    "customer.name": Source(
        value=lambda f: f.record.customer_name, doc="The owner's name", care=Care.PERSONAL
    ),
    "customer.tax_id": Source(
        value=lambda f: f.record.customer_tax_id, doc="The owner's tax number", care=Care.PERSONAL
    ),
}
"""Every source; those under 'ids.' besides, see `source`."""
KEYS = frozenset({"event.key", "event.entity", "event.version"})
"""What makes an effect happen once and in order: no policy hides it, it names nobody."""
_IDS = "ids."


def source(name: str) -> Source:
    """The source of that name; 'ids.SYSTEM.OBJECT' is what the identity map says. KeyError."""
    if name.startswith(_IDS):
        wanted = name.removeprefix(_IDS)
        return _business(lambda f: f.record.ids.get(wanted), f"Identity map: {wanted}")
    return SOURCES[name]


def snapshot_of(event: BusinessEvent) -> str:
    """The readings of the sample that raised it, as a JSON list; what is no number is null."""
    return orjson.dumps(
        [
            {"metric": _whole(e.metric), "value": e.value, "baseline": e.baseline, "score": e.score}
            for e in event.snapshot[:SNAPSHOT_MAX]
        ]
    ).decode()


def _whole(text: str) -> str:
    """Lone surrogates become '?': no encoding can carry them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def text_of(event: BusinessEvent) -> str:
    """What was measured, a fact a line, for the person who goes there."""
    facts = (
        ("Occurred", instant(event.occurred_at_ms) or f"{event.occurred_at_ms} ms since 1970"),
        ("Device", event.device_id),
        ("Event", f"{event.type} {event.id}"),
        ("Metric", event.metric),
        ("Detector", event.detector),
        ("Rule", event.rule),
        ("Confidence", f"{event.confidence:.0%}"),
    )
    lines = [event.summary, "", *(f"{name}: {value}" for name, value in facts)]
    if event.snapshot:
        lines += ["", "Readings:"]
        for entry in event.snapshot[:SNAPSHOT_MAX]:
            baseline = "" if entry.baseline is None else f", usually {entry.baseline:g}"
            lines.append(f"- {entry.metric}: {entry.value:g}{baseline}")
        if (more := len(event.snapshot) - SNAPSHOT_MAX) > 0:
            lines.append(f"- and {more} more")
    return "\n".join(lines)
