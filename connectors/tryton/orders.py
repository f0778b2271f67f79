"""What is raised: orders, and the equipment, customers and sites that they are for. Pure.

Customers and equipment come before the order, so a failure there is never Unknown: the order
was certainly not taken, and what was made is found the next time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from connectors.base import Conversation, Effect
from connectors.mapped import stop_of
from connectors.tryton.answers import (
    IN_BAND,
    INACTIVE_CUSTOMER,
    OTHER_CUSTOMER,
    VANISHED,
    Failure,
    outcome,
    trouble,
)
from connectors.tryton.mapping import Order
from connectors.tryton.records import (
    ADDRESS,
    PARTY,
    WORK,
    Equipment,
    Records,
    Works,
    customer_values,
    equipment_values,
    order_values,
)
from connectors.tryton.sales import Sales
from pipeline.core.outcome import Delivered, Outcome, Rejected, Retryable, Scope, Unknown


class Orders:
    """Creating orders under one session. With `sales`, each asset has a product too."""

    def __init__(self, records: Records, sales: Sales | None) -> None:
        self._records = records
        self._sales = sales

    def deliver(self, orders: Mapping[str, Order]) -> Conversation[dict[str, Outcome]]:
        """One outcome for each, by key; what is there is left as it is."""
        works = yield from self._records.works(orders, {o.asset_id for o in orders.values()})
        if isinstance(works, Failure):
            return dict.fromkeys(orders, trouble(works))
        results = _delivered(works.orders, created=False)
        left = [order for key, order in orders.items() if key not in results]
        if self._sales is not None and left:
            failed = yield from self._sales.assets(left)
            results |= {o.key: failed[o.asset_id] for o in left if o.asset_id in failed}
            left = [order for order in left if order.key not in results]
        equipment = yield from self._equipment(left, works)
        ready: list[tuple[Order, int]] = []
        for order in left:
            place = equipment[order.asset_id]
            if not isinstance(place, Equipment):
                results[order.key] = place
            elif place.customer_id != order.customer_id:
                results[order.key] = Rejected(
                    code=OTHER_CUSTOMER.code,
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
            if stop := stop_of(result):
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
        ready: dict[str, tuple[Order, int]] = {}
        for asset, order in missing.items():
            customer = customers[order.customer_id]
            if isinstance(customer, int):
                ready[asset] = (order, customer)
            else:
                places[asset] = customer
        sites = yield from self._sites(ready.values())
        if isinstance(sites, Failure):
            return places | {asset: outcome(sites, Effect.KEYED_WRITE) for asset in ready}
        values = {
            asset: equipment_values(order, customer, sites.get((customer, order.site)))
            for asset, (order, customer) in ready.items()
        }
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

    def _sites(
        self, ready: Collection[tuple[Order, int]]
    ) -> Conversation[dict[tuple[int, str], int] | Failure]:
        """The address of every site where equipment stands, by (party, site)."""
        wanted = {(customer, order.site) for order, customer in ready if order.site}
        if not wanted:
            return {}
        found = yield from self._records.addresses(wanted)
        if isinstance(found, Failure):
            return found
        missing = sorted(wanted - found.keys())
        if missing:
            values = [{"party": party, "building_name": site} for party, site in missing]
            made = yield from self._records.create("create_site", ADDRESS, values, Effect.WRITE)
            if isinstance(made, Failure):
                return made
            found |= dict(zip(missing, made, strict=True))
        return found

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
                    code=INACTIVE_CUSTOMER.code,
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
        code=VANISHED.code,
        message=f"Tryton made equipment {asset} and does not find it: was it deleted just now?",
        scope=Scope.ITEM,
    )
