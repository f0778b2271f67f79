"""Event and registry row → service order or a change of one, or why there can be none. Pure.

The tables below say where each part of a record comes from; what Tryton keeps in one field is
put together here: an order's name is 'FL-<key> · severity · summary', that of its equipment
'<asset id> · <asset name>'. Further lines in an order's comment are one for each update and
clear, which ends with '[FL-<its key>]'.

The reference stands in the name because project.work has no better field for it: `number`
is unique, but read-only for every client since Tryton enforces field access (AccessError
from ModelStorage.check_modification; tried on 8.2.1), `origin` takes no model with these
modules, and `comment` is not for searching. So a create is not keyed: look up first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connectors.base import Delivery
from connectors.fields import MASK, OPEN, Field, Overlong, Policy, clean_text, payload
from connectors.mapped import facts_of
from pipeline.core.events import Action, BusinessEvent, Severity, SnapshotEntry
from pipeline.core.outcome import Rejected
from pipeline.wire.cloudevents import instant

SEPARATOR = " · "
PREFIX = "FL-"
ID_MAX = 64
"""Longest key, asset id and customer id, characters; a longer one is refused, never cut."""
NAME_MAX = 160
"""Longest name, characters; the rest is cut. Tryton itself sets no limit (fields.Char)."""
SNAPSHOT_MAX = 64
"""Most readings listed in a comment; how many more there are is said."""
_MARK = f"[{PREFIX}"
_CLOSED = "(closed)"
_REFERENCE = "1 to 64 printable characters, without ' · '"

ORDER = (
    Field("name: reference", "event.key", note=f"FL-<key>; {_REFERENCE}"),
    Field("name: severity", "event.severity"),
    Field("name: summary", "event.summary", limit=NAME_MAX, overlong=Overlong.CUT),
    Field("comment", "event.text", note="as lines of its own, see mapping.py"),
    Field("parent", "asset.id", note="the equipment's project"),
)
"""project.work of type task."""
EQUIPMENT = (
    Field("name: reference", "asset.id", note=_REFERENCE),
    Field("name: name", "asset.name", limit=NAME_MAX, overlong=Overlong.CUT),
    Field("party", "customer.id"),
    Field("party_address: building_name", "site.id", limit=NAME_MAX, overlong=Overlong.CUT),
)
"""project.work of type project."""
CUSTOMER = (
    Field("code", "customer.id", note=f"unique in Tryton; {_REFERENCE}"),
    Field("name", "customer.name", limit=NAME_MAX, overlong=Overlong.CUT, note="else the code"),
    Field("identifiers: eu_vat", "customer.tax_id", limit=ID_MAX, overlong=Overlong.CUT),
    Field("addresses: building_name", "site.id", limit=NAME_MAX, overlong=Overlong.CUT),
)
"""party.party."""
ASSET = (
    Field("code", "asset.id", note=_REFERENCE),
    Field("name", "asset.name", limit=NAME_MAX, overlong=Overlong.CUT, note="else the code"),
)
"""product.product of type 'assets', where TRYTON_ASSETS is on."""
LEAD = (
    Field("reference", "event.entity", note="FL-<key> of what was raised"),
    Field("description", "event.summary", limit=NAME_MAX, overlong=Overlong.CUT),
    Field("comment", "event.text", note="as in the order"),
    Field("party", "customer.id"),
    Field("lines: product", "ids.tryton.product", limit=NAME_MAX, note="code of what replaces it"),
)
"""sale.opportunity, where TRYTON_LEAD_SEVERITY is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What Tryton has to hold for one event. All texts are one line, but `comment`."""

    key: str
    name: str
    comment: str
    asset_id: str
    asset_name: str
    equipment_name: str
    customer_id: str
    customer_name: str
    customer_tax_id: str
    site: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """An opportunity to replace what is in trouble. `product` is its code, '' = none named."""

    reference: str
    description: str
    comment: str
    customer_id: str
    product: str


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
    return f"{_MARK}{key}]"


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
    line = clean_text(text, lines=False)
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def work_name(text: str) -> str:
    """A name as project.work takes it: the backslash parts the names of a path there.

    tree() in trytond/model/tree.py sets a domain that refuses its separator.
    """
    return one_line(text.replace("\\", "/"), NAME_MAX)


def to_order(delivery: Delivery, policy: Policy = OPEN) -> Order | Rejected:
    """The order for what was raised, or Rejected with a 'mapping.*' code.

    Besides the codes of connectors.mapped and connectors.fields: `mapping.unusable_id`, an id
    that could not be found again in Tryton.
    """
    facts = facts_of(delivery)
    if isinstance(facts, Rejected):
        return facts
    record = facts.record
    parts: dict[str, Any] = {}
    for what, fields in (("order", ORDER), ("equipment", EQUIPMENT), ("customer", CUSTOMER)):
        made = payload(fields, facts, policy)
        if isinstance(made, Rejected):
            return made
        parts[what] = made
    order, equipment, customer = parts["order"], parts["equipment"], parts["customer"]
    for what, value, shown in (
        ("Idempotency key", delivery.key, order.get("name: reference")),
        ("Asset id", record.asset_id, equipment.get("name: reference")),
        ("Customer id", record.customer_id, customer.get("code")),
    ):
        if not _usable(value) or shown != value:
            return _unusable(what, value)
    severity, summary = order.get("name: severity", ""), order.get("name: summary", "")
    asset_name = equipment.get("name: name") or record.asset_id
    return Order(
        key=delivery.key,
        name=work_name(f"{order_prefix(delivery.key)}{severity}{SEPARATOR}{summary}"),
        comment=_told(order.get("comment"), facts.event),
        asset_id=record.asset_id,
        asset_name=asset_name,
        # Never without a name: the blank at the end of the prefix would be lost with it.
        equipment_name=work_name(equipment_prefix(record.asset_id) + asset_name),
        customer_id=record.customer_id,
        customer_name=customer.get("name") or record.customer_id,
        customer_tax_id=customer.get("identifiers: eu_vat", "").replace(MASK, ""),
        site=equipment.get("party_address: building_name", ""),
    )


def to_lead(delivery: Delivery, policy: Policy = OPEN) -> Lead | None:
    """The opportunity that an event makes; None where policy or registry leave no customer."""
    facts = facts_of(delivery)
    made = facts if isinstance(facts, Rejected) else payload(LEAD, facts, policy)
    record = delivery.record
    if record is None or isinstance(made, Rejected) or made.get("party") != record.customer_id:
        return None
    return Lead(
        reference=f"{PREFIX}{delivery.event.entity}",
        description=str(made.get("description", "")),
        comment=_told(made.get("comment"), delivery.event),
        customer_id=record.customer_id,
        product=str(made.get("lines: product", "")),
    )


def to_change(*, event: BusinessEvent, key: str, policy: Policy = OPEN) -> Change | Rejected:
    """What that update or clear does to its order, or Rejected with `mapping.unusable_id`.

    Neither registry nor asset are asked: the order is there, or there is nothing to change.
    """
    for what, value in (("Idempotency key", key), ("Entity id", event.entity_id)):
        if not _usable(value):
            return _unusable(what, value)
    clears = event.action is Action.CLEAR
    did = "Cleared" if clears else f"Now {event.severity.value}, since"
    at = "at " if clears else ""
    summary = one_line(_shown(event.summary, policy), NAME_MAX)
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


def closing(line: str) -> str:
    """The line of a clear that closes its order."""
    head, _, mark = line.rpartition(" ")
    return f"{head} {_CLOSED} {mark}"


def closed_by_us(comment: str) -> bool:
    """Whether our last line tells that we closed the order."""
    ours = [line for line in comment.splitlines() if line.rpartition(" ")[2].startswith(_MARK)]
    return bool(ours) and ours[-1].rpartition(" ")[0].endswith(_CLOSED)


def with_line(comment: str, line: str) -> str:
    """The comment with one more line at its end, after a blank one."""
    return f"{comment.rstrip()}\n\n{line}" if comment.strip() else line


def _shown(summary: str, policy: Policy) -> str:
    """The summary, as far as the policy lets it go."""
    field = next(field for field in ORDER if field.source == "event.summary")
    if policy.hides(policy.withheld, field):
        return ""
    return MASK if policy.hides(policy.masked, field) else summary


def _told(text: str | None, event: BusinessEvent) -> str:
    """The comment: `text` is what the policy left of it."""
    return (text or "") if text in {None, MASK} else _comment(event)


def _unusable(what: str, value: str) -> Rejected:
    return Rejected(
        code="mapping.unusable_id",
        message=(
            f"{what} {one_line(value, ID_MAX)!r} is unusable: give 1 to {ID_MAX} "
            "printable characters without blanks at the ends, without ' · ' and backslash, and do "
            "not mask it."
        ),
    )


def _usable(value: str) -> bool:
    """Whether Tryton keeps it as it is, and a search by prefix finds it alone."""
    clear = SEPARATOR not in value and "\\" not in value
    return 0 < len(value) <= ID_MAX and clear and one_line(value, ID_MAX) == value


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
