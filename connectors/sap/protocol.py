"""Conversations with SAP: deliver, look up, check. Pure.

A batch in the steady state is two calls: one $filter for the references of all, one $batch
with a change set for each new notification, so that one that SAP refuses rolls back no other.
There is no upsert and no unique key at SAP: the reference is looked for before any create, and
after any whose end is unknown. So `keyed` is False, and two workers on one key are kept apart
by the ledger only. Updates and clears: connectors/sap/changes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import Any

import httpx

from connectors.answers import text_of
from connectors.base import Checked, Conversation, Delivery, Effect
from connectors.fields import Policy
from connectors.mapped import in_order, sorted_out
from connectors.sap.answers import NAME, entity
from connectors.sap.batch import Op
from connectors.sap.changes import Changes
from connectors.sap.checks import check
from connectors.sap.config import SapSettings
from connectors.sap.mapping import (
    Change,
    reference,
    request_id,
    sought,
    to_change,
    to_notification,
    to_order,
)
from connectors.sap.orders import Orders
from connectors.sap.records import ID_MAX, SERVICE, SET, find
from connectors.sap.session import Answer, Session
from pipeline.core.events import Action
from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Scope,
    Unknown,
)

BATCH_SIZE = 20
"""Most events in one conversation: the $filter for twenty references has under two kilobytes."""
REFERENCE = "MaintNotifExtReferenceNumber"


class SapConnector:
    """Maintenance notifications in S/4HANA, for connectors.base.Connector."""

    name = NAME
    batch_size = BATCH_SIZE
    keyed = False

    def __init__(self, settings: SapSettings, policy: Policy, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._policy = policy
        self._session = Session(settings, clock)
        self._changes = Changes(self._session, settings)
        self._orders = Orders(self._session, settings)

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """Bring the events to SAP; one outcome per delivery, in order.

        A key that comes twice in one batch is created once. What is raised goes first, so that
        it can be updated and cleared in the same batch.
        """
        results, bodies, changes = sorted_out(deliveries, self._mapped, Change)
        raised = {one.key: one for one in deliveries if one.key in bodies}
        if raised:
            results |= yield from self._raise(raised, bodies)
        made_of = {reference(key): results[key] for key in raised}
        for key, change in list(changes.items()):
            if put_off := _put_off(made_of.get(change.reference)):
                results[key] = put_off
                del changes[key]
        if changes:
            results |= yield from self._changes.apply(list(changes.values()))
        return in_order(deliveries, results)

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """Ask SAP by reference; one answer per delivery, in order.

        Of an update or a clear: whether it was made. With `create_order`: whether the order is
        there too.
        """
        answers: dict[str, LookUp] = {}
        raised = {one.key: reference(one.key) for one in deliveries if _raises(one)}
        changes = [sought(one) for one in deliveries if not _raises(one)]
        if raised:
            answers |= yield from self._look_up_raised(raised)
        if changes:
            answers |= yield from self._changes.look_up(changes)
        return [answers.get(one.key, NotFound()) for one in deliveries]

    def check(self) -> Conversation[Sequence[Checked]]:
        """Whether SAP lets us in and its service is as this connector knows it. Only reads."""
        return (yield from check(self._session))

    # -- raising

    def _raise(
        self, raised: Mapping[str, Delivery], bodies: Mapping[str, dict[str, Any]]
    ) -> Conversation[dict[str, Outcome]]:
        refs = {key: str(body[REFERENCE]) for key, body in bodies.items()}
        found = yield from find(self._session, set(refs.values()))
        if not isinstance(found, dict):
            return dict.fromkeys(raised, self._session.again(found))
        results: dict[str, Outcome] = {
            key: Delivered(target_id=found[ref], created=False)
            for key, ref in refs.items()
            if ref in found
        }
        left = {key: bodies[key] for key in raised if key not in results}
        if left:
            results |= yield from self._create(left, raised)
        if self._settings.create_order:
            results |= yield from self._make_orders(results, raised)
        return results

    def _create(
        self, bodies: Mapping[str, dict[str, Any]], raised: Mapping[str, Delivery]
    ) -> Conversation[dict[str, Outcome]]:
        constant = self._constants()
        ops = [
            Op(
                step="create",
                method="POST",
                path=SET,
                body=constant | body,
                headers=self._repeatable(raised[key]),
            )
            for key, body in bodies.items()
        ]
        answers = yield from self._session.send(
            SERVICE,
            ops,
            effect=Effect.WRITE,
            batch_step="create_batch",
            apart=self._settings.repeatable_requests,  # they are of a whole HTTP request
        )
        return {
            key: self._created(str(body[REFERENCE]), answer)
            for (key, body), answer in zip(bodies.items(), answers, strict=True)
        }

    def _created(self, ref: str, answer: Answer) -> Outcome:
        if not isinstance(answer, httpx.Response):
            return self._session.outcome(answer, effect=Effect.WRITE)
        made = entity(answer) or {}
        number = text_of(made.get("MaintenanceNotification"), ID_MAX)
        # Another reference is another's answer; an empty one is a field that SAP did not keep.
        if number is None or str(made.get(REFERENCE) or ref).strip().upper() != ref:
            return self._session.unknown(answer)
        return Delivered(target_id=number, created=True)

    def _make_orders(
        self, results: Mapping[str, Outcome], raised: Mapping[str, Delivery]
    ) -> Conversation[dict[str, Outcome]]:
        """Outcomes of those whose notification is there, and whose order is not."""
        changed: dict[str, Outcome] = {}
        keys: dict[str, str] = {}
        wanted: dict[str, Mapping[str, Any]] = {}
        for key, one in results.items():
            if isinstance(one, Delivered):
                made = to_order(raised[key], self._policy, self._settings.priorities)
                if isinstance(made, Rejected):
                    changed[key] = made
                else:
                    keys[one.target_id], wanted[one.target_id] = key, made
        if wanted:
            ends = yield from self._orders.make(wanted)
            changed |= {keys[number]: why for number, why in ends.items() if why is not None}
        return changed

    def _look_up_raised(self, raised: Mapping[str, str]) -> Conversation[dict[str, LookUp]]:
        found = yield from find(self._session, set(raised.values()))
        if not isinstance(found, dict):
            return dict.fromkeys(raised, self._session.again(found))
        numbers = {key: found[ref] for key, ref in raised.items() if ref in found}
        if self._settings.create_order and numbers:
            orders = yield from self._orders.find(sorted(set(numbers.values())))
            if not isinstance(orders, dict):
                return dict.fromkeys(raised, self._session.again(orders))
            numbers = {key: number for key, number in numbers.items() if number in orders}
        return {key: Found(target_id=number) for key, number in numbers.items()}

    # -- parts

    def _mapped(self, one: Delivery) -> dict[str, Any] | Change | Rejected:
        if _raises(one):
            return to_notification(one, self._policy, self._settings.priorities)
        return to_change(one, self._policy, self._settings.priorities)

    def _constants(self) -> dict[str, str]:
        settings = self._settings
        made = {
            "NotificationType": settings.notification_type,
            "MaintenancePlanningPlant": settings.maintenance_planning_plant,
            "MainWorkCenter": settings.main_work_center,
            "MainWorkCenterPlant": settings.main_work_center_plant,
        }
        return {name: value for name, value in made.items() if value}

    def _repeatable(self, one: Delivery) -> dict[str, str]:
        """The two headers; the moment is the event's own, so that a repetition has the same.

        Its format is unverified: an HTTP date, as in OASIS' successor of this scheme.
        """
        if not self._settings.repeatable_requests:
            return {}
        try:
            when = formatdate(one.event.observed_at_ms / 1000, usegmt=True)
        except (ValueError, OverflowError, OSError):
            return {}
        return {"RequestID": request_id(one.key), "RepeatabilityCreation": when}


def _raises(one: Delivery) -> bool:
    return one.event.action is Action.RAISE


def _put_off(outcome: Outcome | None) -> Retryable | None:
    """What a change waits for: `outcome` is what came of raising its notification just now."""
    if isinstance(outcome, Retryable):
        return outcome
    if isinstance(outcome, Unknown):
        return Retryable(code=outcome.code, message=outcome.message, scope=Scope.ITEM)
    return None
