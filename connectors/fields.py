"""Mappings as typed code: a table of fields per object, read by people and by `payload`. Pure.

    CASE = (
        Field("Subject", "event.summary", limit=255, overlong=Overlong.CUT),
        Field("Priority", "event.severity", choices={"critical": "High", "warning": "Medium"}),
        Field("Occurred__c", "event.occurred_at", unit=Unit.ISO),
    )

A value that is missing where it is required, too long, not among the choices or in another
unit is a business rejection that names field and rule, before anything is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from connectors.sources import KEYS, MILLISECONDS, Facts, Value, source
from pipeline.core.outcome import Rejected
from pipeline.wire.cloudevents import instant

MASK = "***"


class Overlong(StrEnum):
    """What happens to a text over the limit."""

    REJECT = "reject"
    """Keys and references: cut, they would be others."""
    CUT = "cut"
    """Texts for people: the end is lost, and an ellipsis says so."""


class Unit(StrEnum):
    """What a target wants a time or a share in."""

    AS_IS = ""
    ISO = "ISO 8601, UTC"
    SECONDS = "s since 1970"
    MILLISECONDS = MILLISECONDS
    DATE = "date, UTC"
    SPACED = "YYYY-MM-DD hh:mm:ss, UTC"
    ODATA_V2 = "/Date(ms)/"
    ODATA_V2_TIME = "PThhHmmMssS, UTC"
    PERCENT = "%"


def _at(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _clock(ms: float) -> str:
    at = _at(ms)
    return f"PT{at:%H}H{at:%M}M{at:%S}S"


CONVERSIONS: Mapping[tuple[str, Unit], Callable[[float], Value]] = {
    (MILLISECONDS, Unit.ISO): lambda ms: instant(int(ms)),
    (MILLISECONDS, Unit.SECONDS): lambda ms: ms / 1000,
    (MILLISECONDS, Unit.DATE): lambda ms: _at(ms).date().isoformat(),
    (MILLISECONDS, Unit.SPACED): lambda ms: f"{_at(ms).replace(tzinfo=None, microsecond=0)}",
    (MILLISECONDS, Unit.ODATA_V2): lambda ms: f"/Date({int(ms)})/" if _at(ms) else None,
    (MILLISECONDS, Unit.ODATA_V2_TIME): _clock,
    ("1", Unit.PERCENT): lambda share: round(share * 100, 6),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a target's object.

    `target` is its name there; dots nest ('message.text'). `source` names a canonical value
    (connectors/sources.py). `make` works on the value before all else is judged (formats that
    are this system's own); it may raise ValueError with a sentence. `limit` in characters, by
    the target's own count. `choices` maps canonical values to the target's; what is not among
    them is rejected. `on` says for which actions it is sent ('' = all): 'raise', 'update', …
    """

    target: str
    source: str
    _: Any = field(default=None, repr=False, kw_only=True)
    required: bool = field(default=False, kw_only=True)
    limit: int | None = field(default=None, kw_only=True)
    overlong: Overlong = field(default=Overlong.REJECT, kw_only=True)
    lines: bool = field(default=False, kw_only=True)
    """Keeps line breaks; a field without is one line."""
    choices: Mapping[str, Value] | None = field(default=None, kw_only=True)
    unit: Unit = field(default=Unit.AS_IS, kw_only=True)
    make: Callable[[Value], Value] | None = field(default=None, kw_only=True)
    on: tuple[str, ...] = field(default=(), kw_only=True)
    note: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        source(self.source)  # KeyError at import, not at the first event


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may leave, for one sink (infra/config/sinks.yaml).

    `masked` sources go out as stars, `withheld` not at all: names of sources, or of a care
    ('personal'). What is masked and cannot be stars in its field (a number, a time, a choice)
    is withheld. KEYS always go out. `regions`: only events of assets there are sent; empty = all.
    """

    masked: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()

    def hides(self, names: frozenset[str], of: Field) -> bool:
        """Whether a field's source is among those, by name or by care."""
        if of.source in KEYS:
            return False
        return of.source in names or source(of.source).care.value in names


OPEN = Policy()


def payload(
    fields: Sequence[Field], facts: Facts, policy: Policy = OPEN
) -> dict[str, Any] | Rejected:
    """The object's fields as the target wants them, or Rejected with a 'mapping.*' code.

    Codes: mapping.region (final), mapping.missing, mapping.unmapped, mapping.unusable,
    mapping.too_long, mapping.wrong_unit. Empty values, and numbers that are none or infinite,
    are left out where they are not required.
    """
    if policy.regions and facts.record.region not in policy.regions:
        return Rejected(
            code="mapping.region",
            message=(
                f"Asset {facts.record.asset_id} is in region {facts.record.region or 'none'!r}, "
                f"which does not send here: only {', '.join(sorted(policy.regions))} may."
            ),
            final=True,
        )
    made: dict[str, Any] = {}
    for one in fields:
        if one.on and facts.event.action.value not in one.on:
            continue
        if policy.hides(policy.withheld, one):
            if one.required:
                return _no(one, "missing", "it is required and the policy withholds it")
            continue
        value = _masked(one, facts) if policy.hides(policy.masked, one) else _value(one, facts)
        if isinstance(value, Rejected):
            return value
        if value is None or value == "":
            if one.required:
                return _no(one, "missing", f"{one.source} is empty and the field is required")
            continue
        _put(made, one.target, value)
    return made


def _masked(one: Field, facts: Facts) -> Value | Rejected:
    told = source(one.source).value(facts)
    if _nothing(told):
        return None
    room = one.limit is None or one.limit >= len(MASK)
    if isinstance(told, str) and room and one.choices is None and one.unit is Unit.AS_IS:
        return MASK
    return (
        _no(one, "missing", "the policy masks it and it cannot be stars") if one.required else None
    )


def _nothing(value: Value) -> bool:
    """Whether nothing is said: no JSON can say what is no finite number."""
    return value is None or value == "" or (isinstance(value, float) and not math.isfinite(value))


def _value(one: Field, facts: Facts) -> Value | Rejected:
    told = source(one.source).value(facts)
    if _nothing(told):
        return None
    value = _converted(one, told)
    if isinstance(value, Rejected):
        return value
    if one.choices is not None:
        if str(value) not in one.choices:
            return _no(one, "unmapped", f"{str(value)[:64]!r} is none of {', '.join(one.choices)}")
        value = one.choices[str(value)]
    if one.make is not None:
        try:
            value = one.make(value)
        except ValueError as error:
            return _no(one, "unusable", str(error))
    if _nothing(value):
        return None
    return _fitted(one, value) if isinstance(value, str) else value


def _converted(one: Field, value: Value) -> Value | Rejected:
    """The value in the unit that the target wants; as it is where the target names none."""
    unit = source(one.source).unit
    if one.unit is Unit.AS_IS or one.unit.value == unit:
        return value
    convert = CONVERSIONS.get((unit, one.unit))
    if convert is None:
        return _no(one, "wrong_unit", f"{unit or 'no unit'} is no {one.unit.value}")
    try:
        made = convert(float(value or 0))
    except (ValueError, OverflowError, OSError):
        made = None
    if made is None:
        return _no(one, "unusable", f"{value} is beyond what {one.unit.value} can say")
    return made


def _fitted(one: Field, value: str) -> str | Rejected:
    text = clean_text(value, lines=one.lines)
    if one.limit is None or len(text) <= one.limit:
        return text
    if one.overlong is Overlong.REJECT:
        return _no(one, "too_long", f"it has {len(text)} characters, at most {one.limit} are taken")
    return text[: one.limit - 1].rstrip() + "…"


def clean_text(text: str, *, lines: bool) -> str:
    """Without control characters; blanks and breaks are single blanks where `lines` is False.

    Lone surrogates, which no encoding can carry, become blanks too.
    """
    one = text.replace("\r\n", "\n")
    kept = "".join(c if c.isprintable() or (lines and c in "\n\t") else " " for c in one)
    return kept.strip() if lines else " ".join(kept.split())


def _put(made: dict[str, Any], target: str, value: Value) -> None:
    *path, last = target.split(".")
    for name in path:
        made = made.setdefault(name, {})
    made[last] = value


def _no(one: Field, reason: str, why: str) -> Rejected:
    rules = {
        "missing": "required",
        "too_long": f"at most {one.limit} characters",
        "unmapped": "one of its choices",
        "wrong_unit": f"unit {one.unit.value}",
    }
    rule = rules.get(reason, "its format")
    return Rejected(
        code=f"mapping.{reason}",
        message=f"Field {one.target} (from {one.source}; rule: {rule}): {why}.",
    )
