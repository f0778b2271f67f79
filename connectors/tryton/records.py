"""Searches, creates and changes of the records: customer, equipment, order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from connectors.base import Conversation, Effect
from connectors.tryton.answers import (
    IN_BAND,
    NO_DONE_STATUS,
    NO_OPEN_STATUS,
    TOO_MANY,
    Failure,
    Kind,
    garbled,
)
from connectors.tryton.mapping import Order, closed_by_us, equipment_prefix, order_prefix
from connectors.tryton.session import Session

WORK = "project.work"
PARTY = "party.party"
ADDRESS = "party.address"
STATUS = "project.work.status"
STATE = (
    *("name", "comment", "_timestamp", "status.progress"),
    *("progress", "timesheet_duration", "children"),
)
"""What is read of an order that is to be changed."""
SEARCH_LIMIT = 1_000
"""Most records that one search may give."""

Rows = list[dict[str, Any]]
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Equipment:
    """A project of Tryton's, and the code of the party it is for."""

    id: int
    customer_id: str | None


@dataclass(frozen=True, slots=True)
class Customer:
    """A party of Tryton's."""

    id: int
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderState:
    """An order as it is now. `stamp` changes with every write (ModelSQL.__check_timestamp)."""

    id: int
    name: str
    comment: str
    stamp: str
    done: bool
    worked_on: bool
    """Whether a person has noted work on it: time, progress, or tasks below it."""

    @property
    def ours_to_open(self) -> bool:
        """Whether it is closed, and closed by us: nobody has said otherwise since."""
        return self.done and closed_by_us(self.comment)


@dataclass(frozen=True, slots=True)
class Works:
    """What a search found: order ids by key, equipments by asset id."""

    orders: dict[str, int] = field(default_factory=dict)
    equipment: dict[str, Equipment] = field(default_factory=dict)


def escape_like(text: str) -> str:
    """The text as itself in a 'like' pattern (backends escape with a backslash)."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _begins(prefixes: Collection[str]) -> list[Any]:
    return ["OR", *(["name", "like", escape_like(prefix) + "%"] for prefix in prefixes)]


def customer_values(order: Order) -> Values:
    """A party as `create` takes it; Tryton checks the VAT number (Identifier.check_code)."""
    values: dict[str, Any] = {"code": order.customer_id, "name": order.customer_name}
    if order.customer_tax_id:
        identifier = {"type": "eu_vat", "code": order.customer_tax_id}
        values["identifiers"] = [["create", [identifier]]]
    if order.site:
        values["addresses"] = [["create", [{"building_name": order.site}]]]
    return values


def equipment_values(order: Order, customer: int, address: int | None = None) -> Values:
    """A project as `create` takes it; `address` is where the equipment stands."""
    values = {"type": "project", "name": order.equipment_name, "party": customer}
    return values | ({} if address is None else {"party_address": address})


def order_values(order: Order, equipment: int) -> Values:
    """A task as `create` takes it."""
    return {"type": "task", "name": order.name, "parent": equipment, "comment": order.comment}


class Records:
    """Tryton's records under one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def works(
        self, keys: Collection[str], assets: Collection[str]
    ) -> Conversation[Works | Failure]:
        """The orders with these keys and the equipments of these assets, in one search.

        'like' disregards case on SQLite, so the names are compared again here. Of several
        records with one prefix the lowest id counts.
        """
        kinds = [
            [["type", "=", kind], _begins(prefixes)]
            for kind, prefixes in (
                ("task", [order_prefix(key) for key in keys]),
                ("project", [equipment_prefix(asset) for asset in assets]),
            )
            if prefixes
        ]
        rows = yield from self._search(
            "look_up", WORK, [["OR", *kinds]], ["name", "type", "party.code"], by_company=True
        )
        if isinstance(rows, Failure):
            return rows
        found = Works()
        for row in rows:
            if row.get("type") == "task":
                for key in _named(row, keys, order_prefix):
                    found.orders.setdefault(key, row["id"])
            else:
                party = row.get("party.")
                code = party.get("code") if isinstance(party, dict) else None
                for asset in _named(row, assets, equipment_prefix):
                    found.equipment.setdefault(asset, Equipment(row["id"], code))
        return found

    def customers(self, codes: Sequence[str]) -> Conversation[dict[str, Customer] | Failure]:
        """The parties with these codes, also those no longer active: their codes are taken."""
        domain = [["code", "in", list(codes)], ["active", "in", [True, False]]]
        rows = yield from self._search("find_customer", PARTY, domain, ["code", "active"])
        if isinstance(rows, Failure):
            return rows
        return {row.get("code", ""): Customer(row["id"], bool(row.get("active"))) for row in rows}

    def orders_after(self, prefix: str, since_id: int, limit: int) -> Conversation[Rows | Failure]:
        """One page of the orders whose reference begins so, ids rising from after `since_id`."""
        domain = [["type", "=", "task"], _begins([prefix]), ["id", ">", since_id]]
        names = ["name", "number", "status.name", "parent.name", "parent.party.name"]
        return (yield from self._search("list_orders", WORK, domain, names, limit=limit))

    def orders(self, keys: Collection[str]) -> Conversation[dict[str, OrderState] | Failure]:
        """The orders with these keys as they are now, by key."""
        domain = [["type", "=", "task"], _begins([order_prefix(key) for key in keys])]
        rows = yield from self._search("read_order", WORK, domain, STATE, by_company=True)
        if isinstance(rows, Failure):
            return rows
        found: dict[str, OrderState] = {}
        for row in rows:
            for key in _named(row, keys, order_prefix):
                found.setdefault(key, _state(row))
        return found

    def done_status(self) -> Conversation[int | Failure]:
        """The status of tasks that are done: the first of those that stand for 100 %."""
        found = yield from self._status("done_status", ["progress", "=", 1.0])
        return found or NO_DONE_STATUS.failure("make one of 100 % active, to close orders")

    def open_status(self) -> Conversation[int | Failure]:
        """The status that new tasks have."""
        found = yield from self._status("open_status", ["default", "=", True])
        return found or NO_OPEN_STATUS.failure("make one of them the default, to open orders again")

    def _status(self, step: str, which: list[Any]) -> Conversation[int | Failure | None]:
        domain = [which, ["types", "in", "task"]]
        rows = yield from self._search(step, STATUS, domain, ["id"], limit=1)
        if isinstance(rows, Failure):
            return rows
        return int(rows[0]["id"]) if rows else None

    def addresses(
        self, sites: Collection[tuple[int, str]]
    ) -> Conversation[dict[tuple[int, str], int] | Failure]:
        """The addresses of parties that bear a site's name, by (party, site), lowest id first."""
        domain = [
            ["party", "in", sorted({party for party, _ in sites})],
            ["building_name", "in", sorted({site for _, site in sites})],
        ]
        rows = yield from self._search("find_site", ADDRESS, domain, ["party", "building_name"])
        if isinstance(rows, Failure):
            return rows
        found: dict[tuple[int, str], int] = {}
        for row in rows:
            party, site = row.get("party"), row.get("building_name")
            if isinstance(party, int) and isinstance(site, str):
                found.setdefault((party, site), row["id"])
        return found

    def find(
        self, step: str, model: str, name: str, values: Collection[str], also: list[Any]
    ) -> Conversation[dict[str, int] | Failure]:
        """Ids of records by the value of a field, lowest id first."""
        domain = [[name, "in", sorted(values)], *also]
        rows = yield from self._search(step, model, domain, [name])
        if isinstance(rows, Failure):
            return rows
        found: dict[str, int] = {}
        for row in rows:
            found.setdefault(str(row.get(name)), row["id"])
        return found

    def write(
        self, step: str, changes: Sequence[tuple[OrderState, Values]]
    ) -> Conversation[Failure | None]:
        """Change all these orders in one transaction, each only if it still is as it was read.

        Tryton compares the stamps in the context and refuses with a ConcurrencyException, so
        the same request takes effect once however often it is sent.
        """
        params = [part for order, values in changes for part in ([order.id], values)]
        stamps = {f"{WORK},{order.id}": order.stamp for order, _ in changes}
        answer = yield from self._session.ask(
            step, f"model.{WORK}.write", params, Effect.KEYED_WRITE, {"_timestamp": stamps}
        )
        return answer if isinstance(answer, Failure) else None

    def create(
        self, step: str, model: str, values: Sequence[Values], effect: Effect
    ) -> Conversation[list[int] | Failure]:
        """Create all in one transaction: every id, in order, or why there is none."""
        answer = yield from self._session.ask(step, f"model.{model}.create", [list(values)], effect)
        if isinstance(answer, Failure):
            return answer
        ids = answer.value
        if isinstance(ids, list) and len(ids) == len(values) and all(type(i) is int for i in ids):
            return ids
        return garbled()

    def create_each(
        self, step: str, model: str, values: Sequence[Values], effect: Effect
    ) -> Conversation[list[int | Failure]]:
        """Create all at once or, where Tryton refuses that, one by one: an answer for each.

        Only for records that may be made again: a refused batch is not looked up.
        """
        ids = yield from self.create(step, model, values, effect)
        if not isinstance(ids, Failure):
            return list(ids)
        if len(values) == 1:
            return [(yield from self.blame(ids))]
        if ids.kind not in IN_BAND:
            return [ids] * len(values)
        answers: list[int | Failure] = []
        for at, one in enumerate(values):
            [answer] = yield from self.create_each(step, model, [one], effect)
            answers.append(answer)
            if isinstance(answer, Failure) and answer.kind not in IN_BAND:
                return answers + [not_sent(answer)] * (len(values) - at - 1)
        return answers

    def blame(self, failure: Failure, *, change: bool = False) -> Conversation[Failure]:
        """The failure, unless it was for want of rights: Tryton says that with a UserError too."""
        if failure.kind is not Kind.BUSINESS:
            return failure
        return (yield from self._session.check_rights(change=change)) or failure

    def _search(
        self,
        step: str,
        model: str,
        domain: list[Any],
        names: Sequence[str],
        *,
        limit: int = SEARCH_LIMIT,
        by_company: bool = False,
    ) -> Conversation[Rows | Failure]:
        if by_company:
            login = yield from self._session.ensure()
            if isinstance(login, Failure):
                return login
            domain = [["company", "=", login.company], *domain]
        answer = yield from self._session.ask(
            step,
            f"model.{model}.search_read",
            [domain, 0, limit, [["id", "ASC"]], list(names)],
            Effect.READ,
        )
        if isinstance(answer, Failure):
            return answer
        rows = answer.value
        if not (isinstance(rows, list) and all(_is_row(row) for row in rows)):
            return garbled()
        if len(rows) >= SEARCH_LIMIT:
            return TOO_MANY.failure(f"there are {SEARCH_LIMIT} or more: clean them up")
        return rows


def not_sent(failure: Failure) -> Failure:
    """The same trouble for what was to come after it and did not go out."""
    return replace(failure, kind=Kind.BUSY, answer=None)


def _state(row: Mapping[str, Any]) -> OrderState:
    """`timesheet_duration` comes as {"__class__": "timedelta", "seconds": …} (JSONEncoder)."""
    status, time = row.get("status."), row.get("timesheet_duration")
    reached = status.get("progress") if isinstance(status, dict) else None
    seconds = time.get("seconds") if isinstance(time, dict) else None
    return OrderState(
        id=row["id"],
        name=str(row.get("name") or ""),
        comment=str(row.get("comment") or ""),
        stamp=str(row.get("_timestamp") or ""),
        done=isinstance(reached, int | float) and reached >= 1,
        worked_on=bool(seconds or row.get("progress") or row.get("children")),
    )


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and type(row.get("id")) is int


def _named(
    row: Mapping[str, Any], ids: Collection[str], prefix: Callable[[str], str]
) -> Iterator[str]:
    name = row.get("name")
    return (i for i in ids if isinstance(name, str) and name.startswith(prefix(i)))
