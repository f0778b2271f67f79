"""What every mapping asks first of an event and its device's row in the registry. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from connectors.base import Delivery
from connectors.fields import OPEN, Field, Policy, payload
from connectors.sources import Facts
from pipeline.core.events import Action
from pipeline.core.outcome import Delivered, Outcome, Rejected


def mapped(
    fields: Sequence[Field], delivery: Delivery, policy: Policy = OPEN
) -> dict[str, Any] | Rejected:
    """The fields as the target wants them (connectors.fields.payload), or why there are none.

    Besides payload's codes: `mapping.unregistered_device` waits for a row in the registry;
    `mapping.retired_asset` is final, but what was raised before may still change;
    `mapping.asset_changed`: the event names another asset than the registry for its time.
    """
    facts = facts_of(delivery)
    return facts if isinstance(facts, Rejected) else payload(fields, facts, policy)


def in_order(deliveries: Sequence[Delivery], results: Mapping[str, Outcome]) -> Sequence[Outcome]:
    """One outcome per delivery from those by key: a key's second delivery created nothing."""
    outcomes: list[Outcome] = []
    told: set[str] = set()
    for one in deliveries:
        result = results[one.key]
        if one.key in told and isinstance(result, Delivered):
            result = replace(result, created=False)
        told.add(one.key)
        outcomes.append(result)
    return outcomes


def facts_of(delivery: Delivery) -> Facts | Rejected:
    """The event with its device's row, or why it cannot be mapped."""
    event, record = delivery.event, delivery.record
    if record is None:
        return Rejected(
            code="mapping.unregistered_device",
            message=f"Device {event.device_id} is not in the registry: add it, then replay.",
        )
    if event.action is Action.RAISE:
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
    return Facts(event=event, key=delivery.key, record=record)
