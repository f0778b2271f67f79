"""A maintenance order for each notification, where `create_order` is set. Pure.

Unverified: the service API_MAINTENANCEORDER;v=0002 and its fields are known from third
parties only ((3) in wire-formats.md; field names from recorded reads). The order's key is the
notification's number: orders of it are looked for before one is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from connectors.answers import text_of
from connectors.base import Conversation, Effect
from connectors.sap.answers import Trouble, entities, entity
from connectors.sap.batch import Op
from connectors.sap.config import SapSettings
from connectors.sap.records import ID_MAX, quoted
from connectors.sap.session import Session
from pipeline.core.outcome import Outcome, Rejected, Retryable

SERVICE = "API_MAINTENANCEORDER;v=0002"
SET = "MaintenanceOrder"


class Orders:
    """Orders in one system."""

    def __init__(self, session: Session, settings: SapSettings) -> None:
        self._session = session
        self._settings = settings

    def find(self, numbers: Sequence[str]) -> Conversation[dict[str, str] | Trouble | Retryable]:
        """Orders by notification, of those that have one."""
        wanted = " or ".join(f"MaintenanceNotification eq {quoted(one)}" for one in numbers)
        path = (
            f"{SET}?$filter={quote(wanted, safe='')}"
            "&$select=MaintenanceOrder,MaintenanceNotification&$format=json"
        )
        reply = yield from self._session.read("find_order", SERVICE, path)
        if not isinstance(reply, httpx.Response):
            return reply
        rows = entities(reply)
        if rows is None:
            return self._session.unreadable(reply)
        by_digits = {one.lstrip("0"): one for one in numbers}
        found: dict[str, str] = {}
        for row in rows:
            order = text_of(row.get(SET), ID_MAX)
            number = text_of(row.get("MaintenanceNotification"), ID_MAX) or ""
            known = by_digits.get(number.lstrip("0"))
            if order is None or known is None:
                return self._session.unreadable(reply)
            found[known] = min(order, found.get(known, order))
        return found

    def make(
        self, wanted: Mapping[str, Mapping[str, Any]]
    ) -> Conversation[dict[str, Outcome | None]]:
        """An order for each notification that has none, given their fields by number.

        None for a notification that has one now; else why it has none.
        """
        found = yield from self.find(list(wanted))
        if not isinstance(found, dict):
            return dict.fromkeys(wanted, self._session.again(found))
        results: dict[str, Outcome | None] = dict.fromkeys(found)
        left = [number for number in wanted if number not in found]
        if not left:
            return results
        ops = [
            Op(step="create_order", method="POST", path=SET, body=self._fields(one, wanted[one]))
            for one in left
        ]
        answers = yield from self._session.send(
            SERVICE, ops, effect=Effect.WRITE, batch_step="create_orders"
        )
        for number, answer in zip(left, answers, strict=True):
            results[number] = self._result(number, answer)
        return results

    def _result(self, number: str, answer: httpx.Response | Trouble | Retryable) -> Outcome | None:
        if isinstance(answer, httpx.Response):
            made = entity(answer) or {}
            return None if text_of(made.get(SET)) else self._session.unknown(answer)
        outcome = self._session.outcome(answer, effect=Effect.WRITE)
        if isinstance(outcome, Rejected):
            return Rejected(
                code=outcome.code,
                message=f"Notification {number} is there, but its order is not: {outcome.message}",
                answer=outcome.answer,
            )
        return outcome

    def _fields(self, number: str, mapped: Mapping[str, Any]) -> dict[str, Any]:
        settings = self._settings
        constant = {
            "MaintenanceOrderType": settings.order_type,
            "MaintenanceNotification": number,
            "MaintenancePlanningPlant": settings.maintenance_planning_plant,
            "MainWorkCenter": settings.main_work_center,
            "MainWorkCenterPlant": settings.main_work_center_plant,
        }
        return {**mapped, **{name: value for name, value in constant.items() if value}}
