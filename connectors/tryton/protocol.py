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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Checked, Conversation, Delivery
from connectors.fields import OPEN, Policy
from connectors.mapped import in_order, sorted_out
from connectors.tryton.answers import Failure, trouble
from connectors.tryton.changes import Changes
from connectors.tryton.config import TrytonSettings
from connectors.tryton.mapping import (
    PREFIX,
    SEPARATOR,
    Change,
    Lead,
    Order,
    to_change,
    to_lead,
    to_order,
)
from connectors.tryton.orders import Orders
from connectors.tryton.records import Records
from connectors.tryton.sales import Sales
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
)

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

    def __init__(self, config: TrytonSettings, policy: Policy = OPEN) -> None:
        self._config = config
        self._policy = policy
        self._session = Session(config)
        self._records = Records(self._session)
        self._changes = Changes(self._records)
        self._sales = Sales(self._records)
        self._orders = Orders(self._records, self._sales if config.assets else None)

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """Bring the events to Tryton; one outcome per delivery, in order.

        A key that comes twice in one batch is created once. What is raised goes first, so that
        it can be updated and cleared in the same batch.
        """
        results, orders, changes = sorted_out(deliveries, self._mapped, Change)
        if orders:
            results.update((yield from self._orders.deliver(orders)))
        if changes:
            results.update((yield from self._changes.apply(tuple(changes.values()))))
        leads = self._leads(d for d in deliveries if isinstance(results[d.key], Delivered))
        if leads:
            results.update((yield from self._sales.leads(leads)))
        return in_order(deliveries, results)

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """Ask Tryton by key; one answer per delivery, in order.

        For an update or a clear: whether the order of its entity has its mark. Where the event
        makes a lead, that must be there too.
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
        leads = self._leads(d for d in deliveries if isinstance(answers.get(d.key), Found))
        if leads:
            there = yield from self._sales.there({lead.reference for lead in leads.values()})
            for key, lead in leads.items():
                if isinstance(there, Failure):
                    answers[key] = trouble(there)
                elif lead.reference not in there:
                    answers[key] = NotFound()
        return [answers.get(d.key, NotFound()) for d in deliveries]

    def check(self) -> Conversation[Sequence[Checked]]:
        """Login, company, modules and rights, and the statuses that orders get. Only reads."""
        self._session.forget()
        login = yield from self._session.ensure()
        if isinstance(login, Failure):
            return [_checked("login, company and rights to create", login)]
        checks = [_checked("login, company and rights to create", None)]
        rights = yield from self._session.check_rights(change=True)
        checks.append(_checked("right to change orders", rights))
        done = yield from self._records.done_status()
        checks.append(_checked("status of closed orders", done))
        opened = yield from self._records.open_status()
        checks.append(_checked("status of open orders", opened))
        return checks

    def _mapped(self, delivery: Delivery) -> Order | Change | Rejected:
        if delivery.event.action is Action.RAISE:
            return to_order(delivery, self._policy)
        return to_change(event=delivery.event, key=delivery.key, policy=self._policy)

    def _leads(self, deliveries: Iterable[Delivery]) -> dict[str, Lead]:
        """The opportunities that these events make, by the rule of the settings."""
        made = {
            one.key: to_lead(one, self._policy)
            for one in deliveries
            if one.event.action is not Action.CLEAR
            and self._config.makes_lead(one.event.severity, one.event.type)
        }
        return {key: lead for key, lead in made.items() if lead is not None}

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


def _checked(what: str, got: Failure | int | None) -> Checked:
    """One line of a check: a Failure, or anything else."""
    if isinstance(got, Failure):
        return Checked(what=what, ok=False, detail=got.message)
    return Checked(what=what, ok=True, detail="It is well.")


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
