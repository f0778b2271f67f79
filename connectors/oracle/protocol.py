"""Work orders by a reference: looked up, made where they are missing, changed with If-Match. Pure.

A batch in the steady state is one look-up and one request per order, or one for many new ones
(connectors/oracle/orders.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.answers import Kind
from connectors.base import Checked, Conversation, Delivery, Effect
from connectors.fields import Policy
from connectors.mapped import in_order, mapped, one_by_one, sorted_out
from connectors.oracle.answers import NAME, NO_RECORD, trouble, words
from connectors.oracle.config import OracleSettings
from connectors.oracle.mapping import (
    CHANGE,
    Place,
    described,
    last_place,
    more_urgent,
    order_fields,
    place_of,
    reference,
    with_news,
)
from connectors.oracle.orders import Body, Orders
from connectors.oracle.resource import ORDERS, Fusion, Order, one_order
from connectors.speech import Speech
from pipeline.core.events import Action
from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
)

TITLE = "Oracle Fusion"
BATCH_SIZE = 25
"""A query names them all in its address, so they are few."""
NOBODY = "FL-fieldline-check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An update or a clear on its way. `key` is the order's reference."""

    key: str
    news: str
    priority: Any
    action: Action
    place: Place


class OracleConnector:
    """The connector. `clock` gives seconds since the Unix epoch."""

    name = NAME
    batch_size = BATCH_SIZE

    def __init__(
        self, settings: OracleSettings, policy: Policy, clock: Callable[[], float]
    ) -> None:
        self.keyed = settings.upsert_mode
        self._settings = settings
        self._policy = policy
        self._clock = clock
        self._fusion = Fusion(settings, clock)
        self._orders = Orders(settings, self._fusion, lambda: self._speech)

    @property
    def _speech(self) -> Speech:
        return Speech(title=TITLE, secrets=self._fusion.secrets(), words=words, clock=self._clock)

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """Bring the events to Oracle; one outcome per delivery, in order."""
        results, raised, changes = sorted_out(deliveries, self._mapped, Change)
        bodies = {body["reference"]: body for body in raised.values()}
        orders = yield from self._orders.find(
            bodies.keys() | {change.key for change in changes.values()}
        )
        if isinstance(orders, Retryable):
            results |= dict.fromkeys([*raised, *changes], orders)
            return in_order(deliveries, results)
        made: dict[str, Outcome] = {
            ref: Delivered(target_id=orders[ref].id, created=False)
            for ref in bodies
            if ref in orders
        }
        new = {ref: body for ref, body in bodies.items() if ref not in made}
        made |= yield from self._orders.make(new, orders)
        results |= {key: made[body["reference"]] for key, body in raised.items()}
        results |= yield from one_by_one(changes, made, lambda one: self._change(one, orders))
        return in_order(deliveries, results)

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """Ask by reference: whether the order is there, and of a change whether it is told of."""
        keys = [_reference(one.event.entity) for one in deliveries]
        orders = yield from self._orders.find({key for key in keys if key})
        if isinstance(orders, Retryable):
            return [orders] * len(deliveries)
        answers: list[LookUp] = []
        for one, key in zip(deliveries, keys, strict=True):
            order = orders.get(key)
            raises = one.event.action is Action.RAISE
            there = order is not None and (
                raises or last_place(order.description) >= place_of(one.event.version)
            )
            answers.append(Found(target_id=order.id) if order and there else NotFound())
        return answers

    def check(self) -> Conversation[Sequence[Checked]]:
        """Whether we are let in, and orders can be found by our reference. Only reads."""
        found = yield from self._orders.find({NOBODY}, step="check")
        if isinstance(found, Retryable):
            return [Checked(what="looking up orders", ok=False, detail=found.message)]
        told = "Rights to create and change show only when something is written."
        return [
            Checked(what="looking up orders", ok=True, detail=f"{TITLE} lets us in and answers."),
            Checked(what="writing", ok=None, detail=told),
        ]

    # -- from events to bodies

    def _mapped(self, one: Delivery) -> Body | Change | Rejected:
        place = place_of(one.event.version)
        if one.event.action is Action.RAISE:
            body = mapped(order_fields(one.record), one, self._policy)
            if not isinstance(body, Rejected):
                body["WorkOrderDescription"] = described(body["WorkOrderDescription"], place)
            return body
        body = mapped(CHANGE, one, self._policy)
        if isinstance(body, Rejected):
            return body
        return Change(
            key=body["reference"],
            news=body.get("WorkOrderDescription", ""),
            priority=body.get("WorkOrderPriority"),
            action=one.event.action,
            place=place,
        )

    # -- changes

    def _change(  # noqa: PLR0911 - step by step
        self, change: Change, orders: dict[str, Order]
    ) -> Conversation[Outcome]:
        """PATCH with If-Match; where somebody was faster, look and try once more."""
        for last in (False, True):
            order = orders.get(change.key)
            if order is None:
                return _no_record(change)
            if last_place(order.description) >= change.place:
                return Delivered(target_id=order.id, created=False)
            body = self._difference(change, order)
            reply = yield from self._fusion.send(
                "change",
                "PATCH",
                f"/{ORDERS}/{order.id}",
                effect=Effect.KEYED_WRITE,
                body=body,
                headers={"if-match": f'"{order.etag}"'} if order.etag else {},
            )
            if isinstance(reply, Retryable):
                return reply
            if after := one_order(reply):
                orders[change.key] = after
                return Delivered(target_id=order.id, created=True)
            row = trouble(reply)
            if row.code == f"{NAME}.not_found":
                return _no_record(change)
            if row.kind is not Kind.RACED or last:
                return self._speech.outcome(row, reply, keyed=True)
            again = yield from self._orders.find({change.key})
            if isinstance(again, Retryable):
                return again
            orders.pop(change.key)
            orders |= again
        raise AssertionError  # the loop returns

    def _difference(self, change: Change, order: Order) -> Body:
        """What changes of an order as it stands."""
        settings = self._settings
        body: Body = {
            "WorkOrderDescription": with_news(order.description, change.news, change.place)
        }
        if more_urgent(change.priority, order.priority):
            body["WorkOrderPriority"] = change.priority
        if change.action is Action.CLEAR and order.status != settings.status_closed:
            body["WorkOrderStatusCode"] = settings.status_closed
        elif change.action is Action.UPDATE and order.status == settings.status_closed:
            body["WorkOrderStatusCode"] = settings.status_open
        return body


def _reference(entity: str) -> str:
    """An event's reference; '' where it can have none, so that it is not there."""
    try:
        return str(reference(entity))
    except ValueError:
        return ""


def _no_record(change: Change) -> Rejected:
    return Rejected(
        code=NO_RECORD.code,
        message=f"{TITLE} does not have the order {change.key} that this changes.",
        final=change.action is Action.CLEAR,
    )
