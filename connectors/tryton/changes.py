"""Updates and clears: orders that are there already are changed. Pure.

Read, then write what was read with one line more, for all orders in one transaction. The line
ends with the event's own mark, so an order that has it is left alone, and Tryton takes a write
only where the order still is as it was read (Records.write): a person's change in between is
never lost, and the same write never counts twice. So an answer that does not come is no
trouble: the next attempt reads again.

    update   the severity in the order's name, and a line in its comment; an order that a clear
             closed is opened again, one that a person closed is not
    clear    a line, and the status 'done', unless somebody has noted work on it or closed it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.base import Conversation, Effect
from connectors.tryton.answers import IN_BAND, Failure, Kind, outcome, trouble
from connectors.tryton.mapping import (
    PREFIX,
    Change,
    closing,
    mark_of,
    with_line,
    with_severity,
)
from connectors.tryton.records import OrderState, Records, Values
from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Scope,
)

STEP = "change_order"
_OF_ONE = IN_BAND | {Kind.CONFLICT}
"""Refusals of a batch that may be for one order's sake."""

Planned = tuple[Change, OrderState, Values]


class Changes:
    """Changes of orders under one session."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def apply(self, changes: Sequence[Change]) -> Conversation[dict[str, Outcome]]:
        """Bring the changes to their orders, those of one order one after the other."""
        results: dict[str, Outcome] = {}
        left = list(changes)
        while left:
            now: dict[str, Change] = {}
            for change in left:
                now.setdefault(change.entity, change)
            results.update((yield from self._apply(now)))
            left = [change for change in left if change.key not in results]
        return results

    def look_up(self, entities: Mapping[str, str]) -> Conversation[dict[str, LookUp]]:
        """Whether these changes were made; `entities` are their orders' keys, by their own."""
        orders = yield from self._records.orders(set(entities.values()))
        if isinstance(orders, Failure):
            return dict.fromkeys(entities, trouble(orders))
        answers: dict[str, LookUp] = {}
        for key, entity in entities.items():
            order = orders.get(entity)
            made = order is not None and mark_of(key) in order.comment
            answers[key] = Found(target_id=str(order.id)) if order and made else NotFound()
        return answers

    def _apply(self, changes: Mapping[str, Change]) -> Conversation[dict[str, Outcome]]:
        """One change for each of some orders, given by the orders' keys."""
        orders = yield from self._records.orders(changes)
        if isinstance(orders, Failure):
            return {change.key: trouble(orders) for change in changes.values()}
        results: dict[str, Outcome] = {}
        planned: list[Planned] = []
        statuses: dict[bool, int | Failure] = {}
        for entity, change in changes.items():
            order = orders.get(entity)
            if order is None:
                results[change.key] = _nothing_there(change)
                continue
            if change.mark in order.comment:
                results[change.key] = Delivered(target_id=str(order.id), created=False)
                continue
            values = _values(change, order)
            wanted = self._status_of(change, order)
            if wanted is not None and wanted not in statuses:
                find = self._records.done_status if wanted else self._records.open_status
                statuses[wanted] = yield from find()
            if wanted is not None:
                status = statuses[wanted]
                if isinstance(status, Failure):
                    results[change.key] = trouble(status)
                    continue
                values |= {"status": status, "progress": 1.0 if wanted else None}
            planned.append((change, order, values))
        if planned:
            results.update((yield from self._write(planned)))
        return results

    @staticmethod
    def _status_of(change: Change, order: OrderState) -> bool | None:
        """Whether the order is to be closed (True), opened (False) or left as it is (None)."""
        if change.closes:
            return True if _closes(change, order) else None
        return False if order.ours_to_open else None

    def _write(self, planned: Sequence[Planned]) -> Conversation[dict[str, Outcome]]:
        """All in one transaction or, where Tryton refuses that, one by one."""
        failure = yield from self._records.write(STEP, [(o, values) for _, o, values in planned])
        if failure is None:
            return {c.key: Delivered(target_id=str(o.id), created=True) for c, o, _ in planned}
        if len(planned) == 1:
            failure = yield from self._records.blame(failure, change=True)
            return {planned[0][0].key: outcome(failure, Effect.KEYED_WRITE)}
        if failure.kind not in _OF_ONE:
            return {c.key: outcome(failure, Effect.KEYED_WRITE) for c, _, _ in planned}
        results: dict[str, Outcome] = {}
        for at, one in enumerate(planned):
            result = (yield from self._write([one]))[one[0].key]
            results[one[0].key] = result
            if isinstance(result, Retryable) and result.scope is Scope.SYSTEM:
                results.update({c.key: result for c, _, _ in planned[at + 1 :]})
                break
        return results


def _closes(change: Change, order: OrderState) -> bool:
    return change.closes and not order.done and not order.worked_on


def _values(change: Change, order: OrderState) -> dict[str, Any]:
    """What `write` takes for the comment and, of an update, the name."""
    line = closing(change.line) if _closes(change, order) else change.line
    values: dict[str, Any] = {"comment": with_line(order.comment, line)}
    if change.severity is not None:
        values["name"] = with_severity(order.name, change.severity)
    return values


def _nothing_there(change: Change) -> Rejected:
    what = "clear" if change.closes else "update"
    return Rejected(
        code="mapping.nothing_to_update",
        message=f"Tryton has no order {PREFIX}{change.entity} to {what}: what raised it was not "
        "delivered here.",
        final=True,
    )
