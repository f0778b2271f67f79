"""Event → maintenance work order, and the trace that a change leaves on one.

An order has no field of ours, so its description carries the place of the last event as its end,
'[FL-12.0]': whoever reads it knows whether a change was made, and an older one changes nothing.
What stands before ' · now: ' is people's. Names and lengths of fields: Oracle's REST API for
Supply Chain, Maintenance Work Orders (D); that WorkOrderNumber may be given, the length of a
description and the direction of priorities are unverified.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.fields import Field, Overlong, Unit
from connectors.sources import Value
from pipeline.core.registry import DeviceRecord

PREFIX = "FL-"
DESCRIPTION_MAX = 240
TEXT_MAX = 200
"""So much of a description is text; the rest is for the mark."""
NEWS = " · now: "
PRIORITY: Mapping[str, Value] = {"critical": 1, "warning": 2, "info": 3}
_KEY = re.compile(r"[A-Za-z0-9_-]{1,100}")
_MARK = re.compile(r"\s*\[FL-([0-9]{1,19})\.([0-9]{1,10})\]\s*$")
Place = tuple[int, int]
"""Offset and index of the event that a description tells of last; (-1, -1) where of none."""
NOWHERE: Place = (-1, -1)


def reference(value: Value) -> Value:
    """Our key as an order has it; ValueError where a query could not name it."""
    if _KEY.fullmatch(str(value)) is None:
        raise ValueError("a reference is 1 to 100 letters, digits, '_' and '-'")
    return f"{PREFIX}{value}"


ORDER = (
    Field("reference", "event.key", required=True, make=reference),
    Field("AssetNumber", "asset.id", required=True, limit=80),
    Field(
        "WorkOrderDescription",
        "event.summary",
        required=True,
        limit=TEXT_MAX,
        overlong=Overlong.CUT,
        note="and the place of the event, as '[FL-12.0]'",
    ),
    Field("WorkOrderPriority", "event.severity", choices=PRIORITY),
    Field("PlannedStartDate", "event.occurred_at", unit=Unit.ISO),
)
MAPPED_ASSET = Field(
    "AssetNumber", "ids.oracle.asset", limit=80, note="instead of asset.id, where it is known"
)
CHANGE = (
    Field("reference", "event.entity", required=True, make=reference),
    Field(
        "WorkOrderDescription",
        "event.summary",
        limit=TEXT_MAX,
        overlong=Overlong.CUT,
        note="after ' · now: '",
    ),
    Field("WorkOrderPriority", "event.severity", choices=PRIORITY, on=("update",)),
)


def order_fields(record: DeviceRecord | None) -> tuple[Field, ...]:
    """The fields of a new order; the asset by the identity map's number where it has one."""
    if record is None or not record.ids.get("oracle.asset"):
        return ORDER
    return tuple(MAPPED_ASSET if one.target == MAPPED_ASSET.target else one for one in ORDER)


def place_of(version: str) -> Place:
    """An event's version as numbers."""
    offset, _, index = version.partition(".")
    return int(offset), int(index)


def last_place(description: str) -> Place:
    """The event that a description tells of last."""
    found = _MARK.search(description)
    return (int(found[1]), int(found[2])) if found else NOWHERE


def described(text: str, place: Place) -> str:
    """A new order's description."""
    return f"{text[:TEXT_MAX]} [FL-{place[0]}.{place[1]}]"


def with_news(description: str, news: str, place: Place) -> str:
    """The description with other news at its end; what people wrote before them stays whole.

    Where that leaves no room, the news are cut, then left out.
    """
    mark = f" [FL-{place[0]}.{place[1]}]"
    head = _MARK.sub("", description).partition(NEWS)[0].rstrip()
    room = DESCRIPTION_MAX - len(mark) - len(head) - len(NEWS)
    told = news if len(news) <= room else f"{news[: max(0, room - 1)].rstrip()}…"
    return f"{head}{NEWS}{told}{mark}" if room > 1 and news else f"{head}{mark}"


def more_urgent(wanted: Any, there: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether a priority rises: a smaller number is more urgent; one that we do not know stays."""
    known = isinstance(there, int) and there in PRIORITY.values()
    return isinstance(wanted, int) and known and wanted < there
