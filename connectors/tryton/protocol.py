"""Conversations with Tryton: deliver, look up, and read back what was delivered. Pure.

A batch in the steady state is two calls: one search for all its orders and equipments, one
create of the missing orders. A create of several records is one transaction in Tryton
(`ModelSQL.create` within `_dispatch`), so where Tryton refuses a batch it is gone through
one by one, and each event gets an outcome of its own.

Twice is avoided thus: orders are looked up by key before each create (their create is a
plain WRITE: project.work has no unique field that a client may set, see mapping.py);
customers are kept apart by Tryton itself (party code is unique; who loses a race looks
again); of two equipments made at the same instant the one with the lower id counts, for
everybody. Customers and equipments come before the order, so a failure there is never
Unknown: the order was certainly not taken, and what was made is found the next time.
Updates and clears change the order of the event that raised it: connectors/tryton/changes.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.base import Conversation, Delivery, Effect
from connectors.tryton.answers import IN_BAND, Failure, outcome, trouble
from connectors.tryton.changes import Changes
from connectors.tryton.config import TrytonConfig
from connectors.tryton.mapping import PREFIX, SEPARATOR, Change, Order, to_change, to_order
from connectors.tryton.records import (
    PARTY,
    WORK,
    Equipment,
    Records,
    Works,
    customer_values,
    equipment_values,
    order_values,
)
from connectors.tryton.session import Session
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
from pipeline.core.registry import Devices

BATCH_SIZE = 25
"""Orders in one transaction: 50 were hardly faster (measured), and lock the tables longer."""
PAGE = 500
"""Orders read back in one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSeen:
    """An order as Tryton shows it. `id` is Delivered's target_id; `number` Tryton's own.

    `status` is the name of its status, in the user's language.
    """

    key: str
    id: int
    number: str
    name: str
    equipment: str
    party: str
    status: str = ""


class TrytonConnector:
    """Service orders in Tryton, for connectors.base.Connector."""

    name = "tryton"
    batch_size = BATCH_SIZE
    keyed = False

    def __init__(self, config: TrytonConfig, registry: Devices) -> None:
        self._registry = registry
        self._records = Records(Session(config))
        self._changes = Changes(self._records)

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """Bring the events to Tryton; one outcome per delivery, in order.

        A key that comes twice in one batch is created once. What is raised goes first, so that
        it can be updated and cleared in the same batch.
        """
        results: dict[str, Outcome] = {}
        orders: dict[str, Order] = {}
        changes: dict[str, Change] = {}
        for delivery in deliveries:
            made = self._mapped(delivery)
            if isinstance(made, Rejected):
                results[delivery.key] = made
            elif isinstance(made, Order):
                orders[delivery.key] = made
            else:
                changes[delivery.key] = made
        if orders:
            results.update((yield from self._deliver(orders)))
        if changes:
            results.update((yield from self._changes.apply(tuple(changes.values()))))
        outcomes: list[Outcome] = []
        told: set[str] = set()
        for delivery in deliveries:
            result = results[delivery.key]
            if delivery.key in told and isinstance(result, Delivered):
                result = replace(result, created=False)
            told.add(delivery.key)
            outcomes.append(result)
        return outcomes

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """Ask Tryton by key; one answer per delivery, in order.

        For an update or a clear: whether the order of its entity has its mark.
        """
        answers: dict[str, LookUp] = {}
        raised = {d.key for d in deliveries if d.event.action is Action.RAISE}
        changed = {d.key: d.event.entity for d in deliveries if d.key not in raised}
        if raised:
            works = yield from self._records.works(raised, ())
            if isinstance(works, Failure):
                answers |= dict.fromkeys(raised, trouble(works))
            else:
                answers |= {key: Found(target_id=str(i)) for key, i in works.orders.items()}
        if changed:
            answers |= yield from self._changes.look_up(changed)
        return [answers.get(d.key, NotFound()) for d in deliveries]

    def _mapped(self, delivery: Delivery) -> Order | Change | Rejected:
        event, key = delivery.event, delivery.key
        if event.action is Action.RAISE:
            return to_order(event=event, key=key, record=self._registry.get(event.device_id))
        return to_change(event=event, key=key)

    def find_orders(
        self, prefix: str = PREFIX, since_id: int = 0
    ) -> Conversation[Sequence[OrderSeen] | Retryable]:
        """All orders whose reference begins so and whose id is above `since_id`, ids rising.

        Retryable where a page could not be read: half a list is no list.
        """
        orders: list[OrderSeen] = []
        while True:
            rows = yield from self._records.orders_after(prefix, since_id, PAGE)
            if isinstance(rows, Failure):
                return trouble(rows)
            orders += [_seen(row) for row in rows if str(row.get("name")).startswith(prefix)]
            if len(rows) < PAGE:
                return orders
            since_id = rows[-1]["id"]

    def _deliver(self, orders: Mapping[str, Order]) -> Conversation[dict[str, Outcome]]:
        works = yield from self._records.works(orders, {o.asset_id for o in orders.values()})
        if isinstance(works, Failure):
            return dict.fromkeys(orders, trouble(works))
        results = _delivered(works.orders, created=False)
        left = [order for key, order in orders.items() if key not in results]
        equipment = yield from self._equipment(left, works)
        ready: list[tuple[Order, int]] = []
        for order in left:
            place = equipment[order.asset_id]
            if not isinstance(place, Equipment):
                results[order.key] = place
            elif place.customer_id != order.customer_id:
                results[order.key] = Rejected(
                    code="tryton.equipment_of_other_customer",
                    message=(
                        f"Equipment {order.asset_id} belongs to customer {place.customer_id} in "
                        f"Tryton and to {order.customer_id} in the registry: correct one of them."
                    ),
                )
            else:
                ready.append((order, place.id))
        if ready:
            results.update((yield from self._create(ready)))
        return results

    def _create(self, ready: Sequence[tuple[Order, int]]) -> Conversation[dict[str, Outcome]]:
        """Create the orders, each (order, id of its equipment), with an outcome for each."""
        keys = [order.key for order, _ in ready]
        values = [order_values(order, place) for order, place in ready]
        ids = yield from self._records.create("create_order", WORK, values, Effect.WRITE)
        if not isinstance(ids, Failure):
            return _delivered(dict(zip(keys, ids, strict=True)), created=True)
        if ids.kind not in IN_BAND:
            return dict.fromkeys(keys, outcome(ids, Effect.WRITE))
        works = yield from self._records.works(keys, ())
        if isinstance(works, Failure):
            return dict.fromkeys(keys, Unknown(code=ids.code, message=ids.message))
        results = _delivered(works.orders, created=False)
        left = [pair for pair in ready if pair[0].key not in results]
        if len(ready) == 1 and left:
            # Refused, and looked up: certainly not there, so as safe as a keyed write.
            failure = yield from self._records.blame(ids)
            return {keys[0]: outcome(failure, Effect.KEYED_WRITE)}
        for at, pair in enumerate(left):
            result = (yield from self._create([pair]))[pair[0].key]
            results[pair[0].key] = result
            if stop := _trouble_for_all(result):
                results.update(dict.fromkeys([order.key for order, _ in left[at + 1 :]], stop))
                break
        return results

    def _equipment(
        self, orders: Collection[Order], works: Works
    ) -> Conversation[dict[str, Equipment | Outcome]]:
        """The equipment of every order, by asset id, made where it is missing."""
        places: dict[str, Equipment | Outcome] = dict(works.equipment)
        missing = {o.asset_id: o for o in orders if o.asset_id not in places}
        if not missing:
            return places
        customers = yield from self._customers({o.customer_id: o for o in missing.values()})
        values: dict[str, Mapping[str, Any]] = {}
        for asset, order in missing.items():
            customer = customers[order.customer_id]
            if isinstance(customer, int):
                values[asset] = equipment_values(order, customer)
            else:
                places[asset] = customer
        if not values:
            return places
        answers = yield from self._records.create_each(
            "create_equipment", WORK, list(values.values()), Effect.WRITE
        )
        # Looked up again, for another worker may have made the same one just before.
        again = yield from self._records.works((), values)
        for asset, answer in zip(values, answers, strict=True):
            if isinstance(again, Failure):
                places[asset] = trouble(again)
            elif asset in again.equipment:
                places[asset] = again.equipment[asset]
            else:
                places[asset] = _not_made(answer, asset)
        return places

    def _customers(self, orders: Mapping[str, Order]) -> Conversation[dict[str, int | Outcome]]:
        """The party of every customer, by customer id, made where it is missing."""
        found = yield from self._records.customers(list(orders))
        if isinstance(found, Failure):
            return dict.fromkeys(orders, trouble(found))
        missing = [code for code in orders if code not in found]
        answers: dict[str, int | Failure] = {}
        if missing:
            values = [customer_values(orders[code]) for code in missing]
            made = yield from self._records.create_each(
                "create_customer", PARTY, values, Effect.KEYED_WRITE
            )
            answers = dict(zip(missing, made, strict=True))
            refused = [
                c for c, a in answers.items() if isinstance(a, Failure) and a.kind in IN_BAND
            ]
            if refused:  # perhaps because another worker was faster
                again = yield from self._records.customers(refused)
                if isinstance(again, Failure):
                    answers.update(dict.fromkeys(refused, again))
                else:
                    found.update(again)
        parties: dict[str, int | Outcome] = {}
        for code in orders:
            party = found.get(code)
            if party is None:
                answer = answers[code]
                parties[code] = (
                    answer if isinstance(answer, int) else outcome(answer, Effect.KEYED_WRITE)
                )
            elif party.active:
                parties[code] = party.id
            else:
                parties[code] = Rejected(
                    code="tryton.inactive_customer",
                    message=f"Customer {code} is deactivated in Tryton: decide who pays.",
                )
        return parties


def _delivered(ids: Mapping[str, int], *, created: bool) -> dict[str, Outcome]:
    return {key: Delivered(target_id=str(i), created=created) for key, i in ids.items()}


def _not_made(answer: int | Failure, asset: str) -> Outcome:
    """What equipment that is not there means for the orders that need it."""
    if isinstance(answer, Failure):
        return outcome(answer, Effect.KEYED_WRITE)
    return Retryable(
        code="tryton.vanished",
        message=f"Tryton made equipment {asset} and does not find it: was it deleted just now?",
        scope=Scope.ITEM,
    )


def _trouble_for_all(result: Outcome) -> Retryable | None:
    """What the orders still to be sent get, where this one's trouble is the system's."""
    if isinstance(result, Unknown):
        return Retryable(code=result.code, message=result.message, scope=Scope.SYSTEM)
    if isinstance(result, Retryable) and result.scope is Scope.SYSTEM:
        return result
    return None


def _seen(row: Mapping[str, Any]) -> OrderSeen:
    equipment = row.get("parent.") or {}
    name = str(row.get("name") or "")
    return OrderSeen(
        key=name.split(SEPARATOR, 1)[0].removeprefix(PREFIX),
        id=row["id"],
        number=str(row.get("number") or ""),
        name=name,
        equipment=str(equipment.get("name") or ""),
        party=str((equipment.get("party.") or {}).get("name") or ""),
        status=str((row.get("status.") or {}).get("name") or ""),
    )
