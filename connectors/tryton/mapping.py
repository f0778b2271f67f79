"""Event and registry row → service order or a change of one, or why there can be none. Pure.

| Tryton | from |
|---|---|
| party.party, `code` (unique in Tryton) | the registry's customer_id |
| party.party, `name`; identifier of type eu_vat | customer_name; customer_tax_id, unless empty |
| project.work of type project, `name` | 'ASSET_ID · asset name', found again by 'ASSET_ID · ' |
| project.work of type task, `name` | 'FL-<key> · severity · summary', found by 'FL-<key> · ' |
| project.work of type task, `comment` | what was measured, for the person who goes there |
| … and further lines in it | one for each update and clear, which ends with '[FL-<its key>]' |

The reference stands in the name because project.work has no better field for it: `number`
is unique, but read-only for every client since Tryton enforces field access (AccessError
from ModelStorage.check_modification; tried on 8.2.1), `origin` takes no model with these
modules, and `comment` is not for searching. So a create is not keyed: look up first.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.events import Action, BusinessEvent, Severity, SnapshotEntry
from pipeline.core.outcome import Rejected
from pipeline.core.registry import DeviceRecord
from pipeline.wire.cloudevents import instant

SEPARATOR = " · "
PREFIX = "FL-"
ID_MAX = 64
"""Longest key, asset id and customer id, characters; a longer one is refused, never cut."""
NAME_MAX = 160
"""Longest name, characters; the rest is cut. Tryton itself sets no limit (fields.Char)."""
SNAPSHOT_MAX = 64
"""Most readings listed in a comment; how many more there are is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What Tryton has to hold for one event. All texts are one line, but `comment`."""

    key: str
    name: str
    comment: str
    asset_id: str
    equipment_name: str
    customer_id: str
    customer_name: str
    customer_tax_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an update or a clear does to the order of `entity`, the key it was raised under.

    `line` goes to the end of the comment; its mark tells whether that has been done.
    """

    key: str
    entity: str
    line: str
    severity: Severity | None
    """The new one, None where it stays."""
    closes: bool

    @property
    def mark(self) -> str:
        """What the line ends with, and no other text in Tryton has."""
        return mark_of(self.key)


def mark_of(key: str) -> str:
    """How the line of that update or clear ends."""
    return f"[{PREFIX}{key}]"


def order_prefix(key: str) -> str:
    """How the name of the order with that key begins."""
    return f"{PREFIX}{key}{SEPARATOR}"


def equipment_prefix(asset_id: str) -> str:
    """How the name of that asset's project begins."""
    return f"{asset_id}{SEPARATOR}"


def one_line(text: str, most: int) -> str:
    """The text with every run of blanks and control characters as one blank, cut to `most`.

    Tryton refuses control characters in a Char (ForbiddenCharValidationError).
    """
    visible = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(visible.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def to_order(*, event: BusinessEvent, key: str, record: DeviceRecord | None) -> Order | Rejected:
    """The order for that event, or Rejected with a 'mapping.*' code.

    `mapping.unregistered_device` waits for a row in the registry; `mapping.retired_asset`
    is final; `mapping.asset_changed`: the device is on another asset now than when the
    event was raised, and nobody but a person knows which customer to charge;
    `mapping.unusable_id`: an id that could not be found again in Tryton.
    """
    if record is None:
        return Rejected(
            code="mapping.unregistered_device",
            message=f"Device {event.device_id} is not in the registry: add it, then replay.",
        )
    if not record.active:
        return Rejected(
            code="mapping.retired_asset",
            message=f"Asset {record.asset_id} is retired: nobody services it.",
            final=True,
        )
    if event.asset_id not in {None, record.asset_id}:
        return Rejected(
            code="mapping.asset_changed",
            message=(
                f"Device {event.device_id} was on asset {event.asset_id} when this was raised "
                f"and is on {record.asset_id} now: decide which one it is for."
            ),
        )
    for what, value in (
        ("Idempotency key", key),
        ("Asset id", record.asset_id),
        ("Customer id", record.customer_id),
    ):
        if not _usable(value):
            return _unusable(what, value)
    summary = f"{order_prefix(key)}{event.severity.value}{SEPARATOR}{event.summary}"
    return Order(
        key=key,
        name=one_line(summary, NAME_MAX),
        comment=_comment(event),
        asset_id=record.asset_id,
        equipment_name=_equipment_name(record),
        customer_id=record.customer_id,
        customer_name=one_line(record.customer_name, NAME_MAX) or record.customer_id,
        customer_tax_id=one_line(record.customer_tax_id, ID_MAX),
    )


def to_change(*, event: BusinessEvent, key: str) -> Change | Rejected:
    """What that update or clear does to its order, or Rejected with `mapping.unusable_id`.

    Neither registry nor asset are asked: the order is there, or there is nothing to change.
    """
    for what, value in (("Idempotency key", key), ("Entity id", event.entity_id)):
        if not _usable(value):
            return _unusable(what, value)
    clears = event.action is Action.CLEAR
    did = "Cleared" if clears else f"Now {event.severity.value}, since"
    at = "at " if clears else ""
    summary = one_line(event.summary, NAME_MAX)
    return Change(
        key=key,
        entity=event.entity_id,
        line=f"{did} {at}{_instant(event.occurred_at_ms)}: {summary} {mark_of(key)}",
        severity=None if clears else event.severity,
        closes=clears,
    )


def with_severity(name: str, severity: Severity) -> str:
    """An order's name with that severity; as it is where a person has written another one."""
    parts = name.split(SEPARATOR, 2)
    if len(parts) != 3 or parts[1] not in set(Severity):  # noqa: PLR2004 - reference, severity, summary
        return name
    return one_line(SEPARATOR.join((parts[0], severity.value, parts[2])), NAME_MAX)


def with_line(comment: str, line: str) -> str:
    """The comment with one more line at its end, after a blank one."""
    return f"{comment.rstrip()}\n\n{line}" if comment.strip() else line


def _unusable(what: str, value: str) -> Rejected:
    return Rejected(
        code="mapping.unusable_id",
        message=(
            f"{what} {one_line(value, ID_MAX)!r} is unusable: give 1 to {ID_MAX} "
            "printable characters without blanks at the ends and without ' · '."
        ),
    )


def _usable(value: str) -> bool:
    """Whether Tryton keeps it as it is, and a search by prefix finds it alone."""
    return 0 < len(value) <= ID_MAX and SEPARATOR not in value and one_line(value, ID_MAX) == value


def _equipment_name(record: DeviceRecord) -> str:
    """Never without a name: the blank at the end of the prefix would be lost with it."""
    name = one_line(record.asset_name, NAME_MAX) or record.asset_id
    return one_line(equipment_prefix(record.asset_id) + name, NAME_MAX)


def _instant(time_ms: int) -> str:
    return instant(time_ms) or f"{time_ms} ms since 1970-01-01"


def _comment(event: BusinessEvent) -> str:
    facts = (
        ("Occurred", _instant(event.occurred_at_ms)),
        ("Device", event.device_id),
        ("Event", f"{event.type} {event.id}"),
        ("Metric", event.metric),
        ("Detector", event.detector),
        ("Rule", event.rule),
        ("Confidence", f"{event.confidence:.0%}"),
        ("Correlation", event.correlation_id),
    )
    lines = [f"{label}: {one_line(text, NAME_MAX)}" for label, text in facts]
    if event.snapshot:
        lines += ["", "metric | value | baseline | z-score"]
        lines += [_row(entry) for entry in event.snapshot[:SNAPSHOT_MAX]]
    if (more := len(event.snapshot) - SNAPSHOT_MAX) > 0:
        lines.append(f"and {more} more")
    return "\n".join(lines)


def _row(entry: SnapshotEntry) -> str:
    numbers = (entry.value, entry.baseline, entry.score)
    cells = ("-" if number is None else f"{number:.6g}" for number in numbers)
    return " | ".join((one_line(entry.metric, NAME_MAX), *cells))
