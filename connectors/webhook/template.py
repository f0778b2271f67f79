"""A body of one's own: a JSON file whose texts have placeholders. Pure, but for `load`.

| in the file | becomes |
|---|---|
| "{event.severity}" alone | the value as it is: a text, a number, true or false; null where empty |
| "Asset {asset.id}: {event.summary}" | a text; what is empty leaves nothing |
| "{event.occurred_at:iso}" | in a unit (connectors/fields.py Unit, in lower case) |
| "{{" and "}}" | braces |
| {"$from": "event.severity", "map": {"critical": 1}, "else": 3} | one of the map's values |
| {"$from": "event.summary", "limit": 80, "cut": true, "required": true} | as far as it fits |

Names are those of connectors/sources.py. The same policy holds as for every other mapping:
what is withheld is null, what is masked is stars. A file that cannot be used is refused at
the start, with the place in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from connectors.base import Delivery
from connectors.fields import Field, Overlong, Policy, Unit, payload
from connectors.mapped import facts_of
from connectors.sources import Facts
from pipeline.core.outcome import Rejected
from pipeline.core.registry import DeviceRecord
from pipeline.settings import SettingsError

FILE_MAX = 65_536
"""Largest template, bytes."""
DEPTH_MAX = 32
_TOKENS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_OPTIONS = frozenset({"$from", "map", "else", "limit", "cut", "required"})
_RECORD = ("device.class", "asset.", "site.", "customer.", "ids.")
"""Sources that only the device's row in the registry knows."""
_UNMAPPED = "mapping.unmapped"


@dataclass(frozen=True, slots=True)
class Mapped:
    """One `$from`: a field, and what stands for values that its map does not have."""

    field: Field
    otherwise: Any = None
    has_otherwise: bool = False


Parts = tuple[str | Field, ...]
Node = Any
"""Parts (a text), Mapped, dict or list of nodes, or a plain JSON value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A body and an address, ready to be filled. `by_record`: the registry must know the device."""

    body: Node
    url: Parts
    by_record: bool

    def fill(self, delivery: Delivery, policy: Policy) -> tuple[str, Any] | Rejected:
        """Address and body for that event, or Rejected with a 'mapping.*' code."""
        facts = self._facts(delivery, by_region=bool(policy.regions))
        if isinstance(facts, Rejected):
            return facts
        may_leave = payload((), facts, policy)
        if isinstance(may_leave, Rejected):
            return may_leave
        url = _address(self.url, facts, policy)
        if isinstance(url, Rejected):
            return url
        try:
            return url, _fill(self.body, facts, policy)
        except _RefusedError as refused:
            return refused.why

    def _facts(self, delivery: Delivery, *, by_region: bool) -> Facts | Rejected:
        if self.by_record or by_region:
            return facts_of(delivery)
        event = delivery.event
        nobody = DeviceRecord(
            device_id=event.device_id,
            asset_id=event.asset_id or "",
            asset_name="",
            customer_id=event.customer_id or "",
            customer_name="",
            customer_tax_id="",
            active=True,
        )
        return Facts(event=event, key=delivery.key, record=delivery.record or nobody)


def load(path: Path, url: str) -> Template:
    """The template in a file; SettingsError with the place where it cannot be used."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        raise SettingsError(
            f"WEBHOOK_TEMPLATE cannot be read ({error.strerror}): correct the path {path}."
        ) from error
    if len(data) > FILE_MAX:
        raise SettingsError(f"{path} has more than {FILE_MAX:,} bytes: make it smaller.")
    try:
        return parse(json.loads(data), url)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{path} is no JSON ({error}): correct it there.") from error
    except ValueError as error:
        raise SettingsError(f"{path}: {error}.") from error


def parse(told: Any, url: str) -> Template:  # noqa: ANN401 - JSON
    """The template that JSON and an address make; ValueError names the place."""
    body = _parse(told, "")
    address = tuple(
        replace(part, required=True, lines=False) if isinstance(part, Field) else part
        for part in _parts(url, "WEBHOOK_URL")
    )
    names = [one.source for one in (*_fields(body), *_fields(address))]
    return Template(
        body=body, url=address, by_record=any(name.startswith(_RECORD) for name in names)
    )


def _parse(told: Any, place: str) -> Node:  # noqa: ANN401 - JSON
    if place.count("/") > DEPTH_MAX:
        raise _wrong(place[:64], f"it is nested more than {DEPTH_MAX} deep")
    if isinstance(told, str):
        return _parts(told, place or "/")
    if isinstance(told, list):
        return [_parse(one, f"{place}/{number}") for number, one in enumerate(told)]
    if not isinstance(told, dict):
        return told
    if "$from" in told:
        return _mapped(told, place or "/")
    odd = next((name for name in told if name.startswith("$")), None)
    if odd is not None:
        raise _wrong(place or "/", f"there is no {odd!r}, write $from")
    return {name: _parse(one, f"{place}/{name}") for name, one in told.items()}


def _parts(text: str, place: str) -> Parts:
    parts: list[str | Field] = []
    end = 0
    for found in _TOKENS.finditer(text):
        parts.append(text[end : found.start()])
        end = found.end()
        if found[1] is not None:
            parts.append(_field(found[1], place))
        elif len(found[0]) == 1:
            raise _wrong(place, f"there is a {found[0]} alone, write it twice for a brace")
        else:
            parts.append(found[0][0])
    parts.append(text[end:])
    return tuple(part for part in parts if part != "")


def _field(name: str, place: str, **options: Any) -> Field:  # noqa: ANN401 - of Field
    named, _, unit = name.partition(":")
    known = {one.name.lower(): one for one in Unit if one.value}
    if unit and unit not in known:
        raise _wrong(place, f"there is no unit {unit!r}, choose among {', '.join(known)}")
    try:
        # Dots would nest the field in what `payload` makes.
        return Field(
            place.replace(".", "·"),
            named,
            unit=known.get(unit, Unit.AS_IS),
            lines=options.pop("lines", True),
            **options,
        )
    except KeyError:
        raise _wrong(place, f"there is no source {named!r}, see connectors/sources.py") from None


def _mapped(told: Mapping[str, Any], place: str) -> Mapped:
    odd = sorted(set(told) - _OPTIONS)
    if odd:
        raise _wrong(place, f"{odd[0]!r} is no option, choose among {_listed(_OPTIONS)}")
    name, choices, limit = told["$from"], told.get("map"), told.get("limit")
    if not isinstance(name, str):
        raise _wrong(place, "$from names no source")
    if choices is not None and not (
        isinstance(choices, dict)
        and all(isinstance(one, str | int | float | bool) for one in choices.values())
    ):
        raise _wrong(place, "map is no object of texts, numbers, true or false")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise _wrong(place, "limit is no whole number above 0")
    for flag in ("cut", "required"):
        if not isinstance(told.get(flag, False), bool):
            raise _wrong(place, f"{flag} is neither true nor false")
    made = _field(
        name,
        place,
        choices=choices,
        limit=limit,
        overlong=Overlong.CUT if told.get("cut") else Overlong.REJECT,
        required=told.get("required", False),
    )
    return Mapped(made, told.get("else"), "else" in told)


def _wrong(place: str, why: str) -> ValueError:
    return ValueError(f"at {place}: {why}")


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _fields(node: Node) -> Iterator[Field]:
    if isinstance(node, Field):
        yield node
    elif isinstance(node, Mapped):
        yield node.field
    elif isinstance(node, dict):
        for one in node.values():
            yield from _fields(one)
    elif isinstance(node, list | tuple):
        for one in node:
            yield from _fields(one)


class _RefusedError(Exception):
    """Ends the filling of a body; never leaves this module."""

    def __init__(self, why: Rejected) -> None:
        super().__init__(why.code)
        self.why = why


def _fill(node: Node, facts: Facts, policy: Policy) -> Any:  # noqa: ANN401 - JSON
    if isinstance(node, dict):
        return {name: _fill(one, facts, policy) for name, one in node.items()}
    if isinstance(node, list):
        return [_fill(one, facts, policy) for one in node]
    if isinstance(node, Mapped):
        return _chosen(node, facts, policy)
    if not isinstance(node, tuple):
        return node
    made = [part if isinstance(part, str) else _value(part, facts, policy) for part in node]
    alone = len(node) == 1 and isinstance(node[0], Field)
    return made[0] if alone else "".join(map(_text, made))


def _chosen(node: Mapped, facts: Facts, policy: Policy) -> Any:  # noqa: ANN401 - JSON
    made = payload((node.field,), facts, policy)
    if not isinstance(made, Rejected):
        return made.get(node.field.target, node.otherwise)
    if node.has_otherwise and made.code == _UNMAPPED:
        return node.otherwise
    raise _RefusedError(made)


def _value(one: Field, facts: Facts, policy: Policy) -> Any:  # noqa: ANN401 - JSON
    made = payload((one,), facts, policy)
    if isinstance(made, Rejected):
        raise _RefusedError(made)
    return made.get(one.target)


def _text(value: Any) -> str:  # noqa: ANN401 - JSON
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _address(parts: Sequence[str | Field], facts: Facts, policy: Policy) -> str | Rejected:
    made: list[str] = []
    for part in parts:
        if isinstance(part, str):
            made.append(part)
            continue
        try:
            text = _text(_value(part, facts, policy))
        except _RefusedError as refused:
            return refused.why
        if not text.strip("."):
            return Rejected(
                code="mapping.unusable",
                message=f"Field WEBHOOK_URL (from {part.source}; rule: its format): dots alone "
                "would lead to another address.",
            )
        made.append(quote(text, safe=""))
    return "".join(made)
