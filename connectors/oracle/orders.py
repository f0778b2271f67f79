"""Work orders that are found, and those that are made. Pure.

A create is not kept to once by Oracle as far as is known (which fields Upsert-Mode matches is
not documented for this resource), so orders are looked up before each, and what may have been
taken is looked up again. With `upsert_mode` somebody has told us that it matches, and creates
are keyed. A batch is all or nothing (D): refused, its orders go one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import httpx

from connectors.answers import Kind, json_of, text_of
from connectors.base import Conversation, Effect, Reply
from connectors.mapped import stop_of
from connectors.oracle.answers import MISSING, QUERY, UNREADABLE, trouble
from connectors.oracle.config import OracleSettings
from connectors.oracle.resource import (
    ACTION,
    BATCH,
    DOCUMENTS,
    ORDERS,
    PAGE,
    Fusion,
    Order,
    one_order,
    order_of,
    page_of,
    references,
)
from connectors.speech import Speech
from pipeline.core.outcome import Delivered, Outcome, Retryable, Unknown

Body = dict[str, Any]
SHOWN = (
    *("WorkOrderId", "WorkOrderNumber", "WorkOrderDescription", "WorkOrderStatusCode"),
    "WorkOrderPriority",
)
EXPANDED = {"expand": DOCUMENTS}
_OF_ONE = frozenset({Kind.REFUSED, Kind.RACED, Kind.HELD})
"""Refusals that say something of one order."""


class Orders:
    """One organization's orders."""

    def __init__(
        self, settings: OracleSettings, fusion: Fusion, speech: Callable[[], Speech]
    ) -> None:
        self._settings = settings
        self._fusion = fusion
        self._speech = speech

    def find(
        self,
        keys: Collection[str],
        *,
        step: str = "look_up",
    ) -> Conversation[dict[str, Order] | Retryable]:
        """The orders that are there, by reference; of several the one with the lowest id."""
        if not keys:
            return {}
        own = "" if self._settings.condition_code else self._settings.reference_field
        name = own or f"{DOCUMENTS}.DocumentNumber"
        params = {
            "q": " or ".join(f"{name} = '{key}'" for key in sorted(keys)),
            "orderBy": "WorkOrderId:asc",
            "limit": str(PAGE),
        }
        # With `fields` the children would be left out.
        params |= {"fields": ",".join(dict.fromkeys((*SHOWN, own)))} if own else EXPANDED
        reply = yield from self._fusion.send(
            step, "GET", f"/{ORDERS}", effect=Effect.READ, params=params
        )
        if isinstance(reply, Retryable):
            return reply
        page = page_of(reply)
        if page is None:
            row = trouble(reply)
            return self._speech().again(QUERY if row.kind is Kind.REFUSED else row, reply)
        found: dict[str, Order] = {}
        for row_of_it in page[0]:
            order = order_of(row_of_it)
            for key in references(row_of_it, own) if order else ():
                if order and key in keys:
                    found.setdefault(key, order)
        if page[1] and len(found) < len(keys):
            return self._speech().again(UNREADABLE, reply)  # half an answer is none
        return found

    def make(
        self, new: Mapping[str, Body], orders: dict[str, Order]
    ) -> Conversation[dict[str, Outcome]]:
        """Make them all, each with an outcome; what was made is in `orders` then."""
        made: dict[str, Outcome] = {}
        least = self._settings.batch_from
        if least and len(new) >= least and not self._settings.condition_code:
            made = yield from self._batch(new, orders)
        stop: Retryable | None = None
        for key, body in new.items():
            if key in made:
                continue
            made[key] = stop or (yield from self._create(key, body, orders))
            stop = stop or stop_of(made[key])
        return made

    def _create(self, key: str, body: Body, orders: dict[str, Order]) -> Conversation[Outcome]:
        if self._settings.condition_code:
            return (yield from self._act(key, body, orders))
        upsert = self._settings.upsert_mode
        reply = yield from self._fusion.send(
            "upsert" if upsert else "create",
            "POST",
            f"/{ORDERS}",
            effect=Effect.KEYED_WRITE if upsert else Effect.WRITE,
            body=self._whole(body),
            headers={"upsert-mode": "true"} if upsert else {},
        )
        if isinstance(reply, Retryable):
            return reply
        if order := one_order(reply):
            orders[key] = order
            return Delivered(target_id=order.id, created=True)
        return (yield from self._not_made(key, reply, orders))

    def _act(self, key: str, body: Body, orders: dict[str, Order]) -> Conversation[Outcome]:
        """One condition-based order or more, from the asset's maintenance programs."""
        settings = self._settings
        reply = yield from self._fusion.send(
            "create_by_condition",
            "POST",
            f"/{ORDERS}/action/createConditionBasedWorkOrders",
            effect=Effect.WRITE,
            body={
                "assetNumber": body["AssetNumber"],
                "organizationCode": settings.organization_code,
                "workOrderTypeCode": settings.work_order_type,
                "conditionCode": settings.condition_code,
                "documentNumber": key,
                "documentType": settings.document_type,
            },
            headers={"content-type": ACTION},
        )
        if isinstance(reply, Retryable):
            return reply
        result = json_of(reply) if isinstance(reply, httpx.Response) and reply.is_success else None
        if not isinstance(result, dict) or "result" not in result:
            return (yield from self._not_made(key, reply, orders))
        found = yield from self.find({key})  # the action does not say which it made
        if isinstance(found, Retryable) or key not in found:
            return self._speech().outcome(UNREADABLE, reply, keyed=False)
        orders |= found
        return Delivered(target_id=found[key].id, created=True)

    def _not_made(self, key: str, reply: Reply, orders: dict[str, Order]) -> Conversation[Outcome]:
        """A refusal may mean that somebody else was faster: only a look tells."""
        row = trouble(reply)
        if row.kind in _OF_ONE:
            found = yield from self.find({key})
            if isinstance(found, Retryable):
                return Unknown(code=row.code, message=self._speech().message(row, reply))
            if key in found:
                orders |= found
                return Delivered(target_id=found[key].id, created=False)
        return self._speech().outcome(row, reply, keyed=self._settings.upsert_mode)

    def _batch(
        self, new: Mapping[str, Body], orders: dict[str, Order]
    ) -> Conversation[dict[str, Outcome]]:
        """All in one request; nothing where it was refused, for then none was taken (D)."""
        upsert = self._settings.upsert_mode
        parts = [
            {
                "id": key,
                "path": f"/{ORDERS}",
                "operation": "upsert" if upsert else "create",
                "payload": self._whole(body),
            }
            for key, body in new.items()
        ]
        reply = yield from self._fusion.send(
            "upsert_batch" if upsert else "create_batch",
            "POST",
            "",
            effect=Effect.KEYED_WRITE if upsert else Effect.WRITE,
            body={"parts": parts},
            headers={"content-type": BATCH},
        )
        if isinstance(reply, Retryable):
            return dict.fromkeys(new, reply)
        if isinstance(reply, httpx.TransportError) or not reply.is_success:
            row = trouble(reply)
            if row.kind in _OF_ONE:
                return {}
            return dict.fromkeys(
                new, self._speech().outcome(row, reply, keyed=self._settings.upsert_mode)
            )
        body_of_it = json_of(reply)
        shown = body_of_it.get("parts") if isinstance(body_of_it, dict) else None
        made: dict[str, Outcome] = {}
        for part in shown if isinstance(shown, list) else []:
            if not isinstance(part, dict) or (key := text_of(part.get("id"))) not in new:
                continue
            if key and (order := order_of(part.get("payload"))):
                orders[key] = order
                made[key] = Delivered(target_id=order.id, created=True)
        unclear = self._speech().outcome(MISSING, reply, keyed=self._settings.upsert_mode)
        return {key: made.get(key, unclear) for key in new}

    def _whole(self, body: Body) -> Body:
        """A new order as Oracle wants it."""
        settings = self._settings
        fields = {name: value for name, value in body.items() if name != "reference"}
        return {
            "OrganizationCode": settings.organization_code,
            "WorkOrderTypeCode": settings.work_order_type,
            settings.reference_field: body["reference"],
            **fields,
        }
