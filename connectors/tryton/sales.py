"""What sales and stock-taking want besides the order: assets as products, and leads. Pure.

Both are off by default (TrytonSettings.assets, .lead_severity). An asset is a product of type
'assets' whose code is the asset's id; where an exclusion constraint holds (PostgreSQL), the code
is unique, and elsewhere the lowest id counts, for everybody. A lead is a sale.opportunity in
state 'lead' whose reference is that of its order, so one trouble makes one; its line names the
product that replaces what is in trouble, by the identity map's 'tryton.product'.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from connectors.base import Conversation, Effect
from connectors.tryton.answers import IN_BAND, NO_PRODUCT, NO_UNIT, Failure, outcome, trouble
from connectors.tryton.mapping import Lead, Order
from connectors.tryton.records import Records, Values
from pipeline.core.outcome import Outcome, Rejected, Unknown

LEAD = "sale.opportunity"
TEMPLATE = "product.template"
PRODUCT = "product.product"
UNIT = "product.uom"
UNIT_SYMBOL = "u"
"""Of the unit that trytond/modules/product/uom.xml calls 'Unit'."""


class Sales:
    """Assets and leads under one session."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def assets(self, orders: Collection[Order]) -> Conversation[dict[str, Outcome]]:
        """Make the products of assets that have none; only what failed, by asset id."""
        wanted = {order.asset_id: order for order in orders}
        found = yield from self._records.find("find_asset", PRODUCT, "code", wanted, [])
        if isinstance(found, Failure):
            return dict.fromkeys(wanted, trouble(found))
        missing = [order for asset, order in wanted.items() if asset not in found]
        if not missing:
            return {}
        unit = yield from self._unit()
        if isinstance(unit, Failure):
            return {order.asset_id: trouble(unit) for order in missing}
        values = [asset_values(order, unit) for order in missing]
        made = yield from self._records.create_each(
            "create_asset", TEMPLATE, values, Effect.KEYED_WRITE
        )
        failed = {
            order.asset_id: answer
            for order, answer in zip(missing, made, strict=True)
            if isinstance(answer, Failure)
        }
        if any(answer.kind in IN_BAND for answer in failed.values()):
            again = yield from self._records.find("find_asset", PRODUCT, "code", failed, [])
            if not isinstance(again, Failure):  # another worker was faster
                failed = {asset: answer for asset, answer in failed.items() if asset not in again}
        return {asset: outcome(answer, Effect.KEYED_WRITE) for asset, answer in failed.items()}

    def there(self, references: Collection[str]) -> Conversation[dict[str, int] | Failure]:
        """The leads with these references, by reference."""
        return (yield from self._records.find("find_lead", LEAD, "reference", references, []))

    def leads(self, wanted: Mapping[str, Lead]) -> Conversation[dict[str, Outcome]]:
        """Make the leads that are not there; only what failed, by event key."""
        found = yield from self.there({lead.reference for lead in wanted.values()})
        if isinstance(found, Failure):
            return dict.fromkeys(wanted, trouble(found))
        missing: dict[str, tuple[str, Lead]] = {}
        for key, lead in wanted.items():
            if lead.reference not in found:
                missing.setdefault(lead.reference, (key, lead))
        if not missing:
            return {}
        leads = [lead for _, lead in missing.values()]
        parties = yield from self._records.customers(sorted({lead.customer_id for lead in leads}))
        if isinstance(parties, Failure):
            return {key: trouble(parties) for key, _ in missing.values()}
        goods = yield from self._products(leads)
        if isinstance(goods, Failure):
            return {key: trouble(goods) for key, _ in missing.values()}
        products, unit = goods
        failed: dict[str, Outcome] = {}
        ready: list[tuple[str, Values]] = []
        for key, lead in missing.values():
            if lead.product and lead.product not in products:
                failed[key] = _no_product(lead)
            else:
                party = parties.get(lead.customer_id)
                product = products.get(lead.product)
                ready.append((key, lead_values(lead, party.id if party else None, product, unit)))
        return failed | ((yield from self._create(ready)) if ready else {})

    def _create(self, ready: Sequence[tuple[str, Values]]) -> Conversation[dict[str, Outcome]]:
        values = [one for _, one in ready]
        made = yield from self._records.create_each("create_lead", LEAD, values, Effect.WRITE)
        failed: dict[str, Outcome] = {}
        for (key, _), answer in zip(ready, made, strict=True):
            if isinstance(answer, Failure):
                # Its transaction is over where Tryton says so: nothing is there.
                effect = Effect.KEYED_WRITE if answer.kind in IN_BAND else Effect.WRITE
                failed[key] = _after_order(outcome(answer, effect))
        return failed

    def _products(
        self, leads: Collection[Lead]
    ) -> Conversation[tuple[dict[str, int], int] | Failure]:
        """Products for sale by code, and the unit that they are counted in."""
        codes = {lead.product for lead in leads} - {""}
        if not codes:
            return {}, 0
        salable = [["salable", "=", True]]
        found = yield from self._records.find("find_product", PRODUCT, "code", codes, salable)
        if isinstance(found, Failure):
            return found
        unit = yield from self._unit()
        return unit if isinstance(unit, Failure) else (found, unit)

    def _unit(self) -> Conversation[int | Failure]:
        found = yield from self._records.find("find_unit", UNIT, "symbol", [UNIT_SYMBOL], [])
        if isinstance(found, Failure):
            return found
        return found.get(UNIT_SYMBOL) or NO_UNIT.failure("make the unit with symbol 'u' active")


def asset_values(order: Order, unit: int) -> Values:
    """A template with its one product, as `create` takes it; the product has the same code."""
    return {
        "name": order.asset_name,
        "code": order.asset_id,
        "type": "assets",
        "default_uom": unit,
        "products": [["create", [{}]]],
    }


def lead_values(lead: Lead, party: int | None, product: int | None, unit: int) -> Values:
    """An opportunity as `create` takes it; Tryton sets number, company, currency and date."""
    values: dict[str, Any] = {
        "reference": lead.reference,
        "description": lead.description,
        "comment": lead.comment,
        "party": party,
    }
    if product is not None:
        line = {"product": product, "quantity": 1.0, "unit": unit}
        values["lines"] = [["create", [line]]]
    return values


def _after_order(result: Outcome) -> Outcome:
    """The order is there already: a person must know."""
    if isinstance(result, Rejected):
        message = f"The order is there, its opportunity is not: {result.message}"
        return Rejected(code=result.code, message=message, answer=result.answer)
    if isinstance(result, Unknown):
        return Unknown(code=result.code, message=f"Of the opportunity: {result.message}")
    return result


def _no_product(lead: Lead) -> Rejected:
    return Rejected(
        code=NO_PRODUCT.code,
        message=f"The order is there, its opportunity is not: Tryton has no product for sale with "
        f"code {lead.product!r}, which the identity map names: correct one of them.",
    )
