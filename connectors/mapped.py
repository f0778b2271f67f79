"""What connectors have in common around a batch: what is asked first, and what goes after what.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

from connectors.base import Conversation, Delivery
from connectors.fields import OPEN, Field, Policy, payload
from connectors.sources import Facts
from pipeline.core.events import Action
from pipeline.core.outcome import Delivered, Outcome, Rejected, Retryable, Scope, Unknown

WAITS = "What it changes is not there yet: first things first."


class OfRecord(Protocol):
    """A change on its way."""

    @property
    def key(self) -> str:
        """The record's key."""


Ours = TypeVar("Ours")
Raised = TypeVar("Raised")
Changed = TypeVar("Changed")
Changing = TypeVar("Changing", bound=OfRecord)


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


def in_turns(
    changes: Iterable[Ours],
    record: Callable[[Ours], str],
    apply: Callable[[dict[str, Ours]], Conversation[dict[str, Outcome]]],
) -> Conversation[dict[str, Outcome]]:
    """All changes' outcomes by their own keys, those of one record one after the other.

    `apply` is given at most one change for each record, by the record's key.
    """
    results: dict[str, Outcome] = {}
    left = list(changes)
    while left:
        now: dict[str, Ours] = {}
        for change in left:
            now.setdefault(record(change), change)
        results |= yield from apply(now)
        left = [change for change in left if now[record(change)] is not change]
    return results


def one_by_one(
    changes: Mapping[str, Changing],
    made: Mapping[str, Outcome],
    change: Callable[[Changing], Conversation[Outcome]],
) -> Conversation[dict[str, Outcome]]:
    """Each change's outcome by its own key, one request after the other.

    `made` is what came of the records that the same batch makes, by their keys: a change of one
    that is not through waits as it does. After trouble of the system the rest is not sent.
    """
    results: dict[str, Outcome] = {}
    stop: Retryable | None = None
    for key, one in changes.items():
        before = made.get(one.key)
        if isinstance(before, Retryable | Unknown):
            held = Retryable(code=before.code, message=WAITS, scope=Scope.ITEM)
            results[key] = stop_of(before) or held
            continue
        results[key] = stop or (yield from change(one))
        stop = stop or stop_of(results[key])
    return results


def sorted_out(
    deliveries: Sequence[Delivery],
    plan: Callable[[Delivery], Rejected | Changed | Raised],
    change: type[Changed],
) -> tuple[dict[str, Outcome], dict[str, Raised], dict[str, Changed]]:
    """By key: what cannot be mapped, what raises a record, and what changes one."""
    rejected: dict[str, Outcome] = {}
    raised: dict[str, Raised] = {}
    changes: dict[str, Changed] = {}
    for one in deliveries:
        made = plan(one)
        if isinstance(made, Rejected):
            rejected[one.key] = made
        elif isinstance(made, change):
            changes[one.key] = made
        else:
            raised[one.key] = cast("Raised", made)
    return rejected, raised, changes


def stop_of(outcome: Outcome) -> Retryable | None:
    """What those still to be sent get, where this one's trouble is the system's."""
    if isinstance(outcome, Unknown):
        return Retryable(code=outcome.code, message=outcome.message, scope=Scope.SYSTEM)
    if isinstance(outcome, Retryable) and outcome.scope is Scope.SYSTEM:
        return outcome
    return None


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
