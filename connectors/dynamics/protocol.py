"""Conversations with Dataverse: cases by alternate key. Pure.

    raise    PATCH incidents(key) with If-None-Match: * - an upsert that may only create. It is
             there already: 412, and what people made of it meanwhile stays as it is.
    update   read, then one change set: the record with If-Match, and a note (annotation) whose
             own id comes from the event's key. A resolved case is reopened first.
    clear    read, then one change set: the record's version with If-Match, and CloseIncident -
             a case is never resolved by writing statecode.

So all writes are kept to once by Dataverse: by the alternate key, or by the record's ETag. The
record's version column says which event it shows: an older one never overwrites a newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from connectors.answers import Kind, text_of
from connectors.base import Checked, Conversation, Delivery, Effect, Reply
from connectors.dynamics.answers import BROKEN, NAME, NO_RECORD, absent, id_of, row_of
from connectors.dynamics.changes import Seen, shows, steps
from connectors.dynamics.config import DynamicsSettings
from connectors.dynamics.mapping import case_of, quoted
from connectors.dynamics.odata import Ask, Step, record_path
from connectors.dynamics.session import TITLE, Session, meaning
from connectors.fields import Policy
from connectors.mapped import in_order, in_turns
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
)

BATCH_SIZE = 50
"""Cases in one $batch: up to three requests each. Microsoft advises small batches, several at
once (Learn, 'Optimize performance for bulk operations'); the limit is 1,000 requests."""
REPRESENTATION = "return=representation"


class DynamicsConnector:
    """The connector. `clock` gives seconds since the Unix epoch, for tokens and Retry-After."""

    name = NAME
    batch_size = BATCH_SIZE
    keyed = True

    def __init__(
        self, settings: DynamicsSettings, policy: Policy, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._session = Session(settings, clock)

    # -- the three conversations

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """What is raised first, all at once; then the changes, those of one record in order."""
        results: dict[str, Outcome] = {}
        cases: dict[str, tuple[str, dict[str, Any]]] = {}
        changes: dict[str, Delivery] = {}
        for one in deliveries:
            if one.event.action is not Action.RAISE:
                changes.setdefault(one.key, one)
            elif isinstance(made := case_of(one, self._policy, self._settings), Rejected):
                results[one.key] = made
            else:
                cases[one.key] = made
        if cases:
            results |= yield from self._create(cases)
        raised = dict(results)
        results |= yield from in_turns(
            changes.values(),
            lambda one: one.event.entity,
            lambda now: self._change(now, raised),
        )
        return in_order(deliveries, results)

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """By alternate key. A change is there where the record shows it, or a later one."""
        found = yield from self._find([_record_key(one) for one in deliveries])
        told: list[LookUp] = []
        for one in deliveries:
            seen = found[_record_key(one)]
            if isinstance(seen, Retryable):
                told.append(seen)
            elif seen is None or not shows(seen, one):
                told.append(NotFound())
            else:
                told.append(Found(target_id=seen.id))
        return told

    def check(self) -> Conversation[Sequence[Checked]]:
        """Whether we are let in, and the alternate key is there and active."""
        who = Step(method="GET", path="WhoAmI")
        [answer] = yield from self._session.talk("who_am_i", [(who,)], Effect.READ)
        checks = [self._session.checked("credentials", answer)]
        if not checks[0].ok:
            return checks
        query = urlencode(
            {
                "$select": "LogicalName,IsOptimisticConcurrencyEnabled",
                "$filter": f"EntitySetName eq {quoted(self._settings.entity_set)}",
                "$expand": "Keys($select=KeyAttributes,EntityKeyIndexStatus)",
            },
            quote_via=quote,
        )
        table = Step(method="GET", path=f"EntityDefinitions?{query}")
        [answer] = yield from self._session.talk("check_key", [(table,)], Effect.READ)
        line = self._session.checked("alternate key", answer)
        if line.ok and not isinstance(answer, Retryable):
            line = self._key_line(row_of(answer) if answer is not None else None)
        told = "Rights to create and write show only when something is written."
        return [*checks, line, Checked(what="writing", ok=None, detail=told)]

    # -- raising

    def _create(
        self, cases: Mapping[str, tuple[str, dict[str, Any]]]
    ) -> Conversation[dict[str, Outcome]]:
        only_new = {"If-None-Match": "*", "Prefer": REPRESENTATION}
        select = f"?$select={self._settings.id_attribute}"
        asks = [
            (
                Step(
                    method="PATCH",
                    path=f"{record_path(self._settings, k)}{select}",
                    headers=only_new,
                    body=body,
                ),
            )
            for k, body in cases.values()
        ]
        replies = yield from self._session.talk("create", asks, Effect.KEYED_WRITE)
        results: dict[str, Outcome] = {}
        raced: dict[str, Outcome] = {}
        for key, reply in zip(cases, replies, strict=True):
            row = meaning(reply)
            if row is None and not isinstance(reply, Retryable) and reply is not None:
                own = id_of(reply, self._settings.id_attribute)
                # 200 says that it was there and was updated: an environment without If-None-Match.
                there = isinstance(reply, httpx.Response) and reply.status_code == httpx.codes.OK
                results[key] = (
                    Delivered(target_id=own, created=not there)
                    if own
                    else self._session.outcome(BROKEN, reply)
                )
            elif row is not None and row.kind is Kind.RACED:
                raced[key] = self._session.outcome(row, reply)
            else:
                results[key] = self._session.outcome(row, reply)
        if raced:
            found = yield from self._find(list(raced))
            for key, otherwise in raced.items():
                seen = found[key]
                results[key] = (
                    Delivered(target_id=seen.id, created=False)
                    if isinstance(seen, Seen)
                    else seen or otherwise
                )
        return results

    # -- changing

    def _change(
        self, changes: Mapping[str, Delivery], done: Mapping[str, Outcome], *, again: bool = True
    ) -> Conversation[dict[str, Outcome]]:
        """One change for each of some records, given by the records' keys."""
        found = yield from self._find(list(changes))
        results, asks = self._planned(changes, found, done)
        if not asks:
            return results
        replies = yield from self._session.talk("change", list(asks.values()), Effect.KEYED_WRITE)
        raced: dict[str, Delivery] = {}
        for entity, reply in zip(asks, replies, strict=True):
            one, seen, row = changes[entity], found[entity], meaning(reply)
            if isinstance(reply, httpx.Response) and row is None and isinstance(seen, Seen):
                results[one.key] = Delivered(target_id=seen.id, created=True)
            elif row is not None and row.kind is Kind.RACED and again:
                raced[entity] = one
            else:
                results[one.key] = self._session.outcome(row, reply)
        if raced:
            results |= yield from self._change(raced, done, again=False)
        return results

    def _planned(
        self,
        changes: Mapping[str, Delivery],
        found: Mapping[str, Seen | Retryable | None],
        done: Mapping[str, Outcome],
    ) -> tuple[dict[str, Outcome], dict[str, Ask]]:
        """Outcomes of what is not to be sent, by its own key; the rest by its record's."""
        results: dict[str, Outcome] = {}
        asks: dict[str, Ask] = {}
        for entity, one in changes.items():
            seen = found[entity]
            if isinstance(seen, Retryable):
                results[one.key] = seen
            elif seen is None:
                results[one.key] = _nothing(one, done.get(entity))
            elif shows(seen, one):
                results[one.key] = Delivered(target_id=seen.id, created=False)
            elif isinstance(made := steps(one, seen, self._settings, self._policy), Rejected):
                results[one.key] = made
            else:
                asks[entity] = made
        return results, asks

    # -- reading

    def _find(self, keys: Sequence[str]) -> Conversation[dict[str, Seen | Retryable | None]]:
        """Each record as it is now, by key; None where Dataverse says that it is not there."""
        wanted = list(dict.fromkeys(keys))
        columns = (
            self._settings.id_attribute,
            "statecode",
            "prioritycode",
            self._settings.version_attribute,
        )
        select = f"?$select={','.join(columns)}"
        asks = [
            (Step(method="GET", path=f"{record_path(self._settings, key)}{select}"),)
            for key in wanted
        ]
        replies = yield from self._session.talk("find", asks, Effect.READ)
        found: dict[str, Seen | Retryable | None] = {}
        for key, reply in zip(wanted, replies, strict=True):
            if isinstance(reply, Retryable):
                found[key] = reply
            elif reply is not None and absent(reply):
                found[key] = None
            elif (row := meaning(reply)) is not None:
                found[key] = self._session.again(row, reply)
            else:
                found[key] = self._seen(reply) or self._session.again(BROKEN, reply)
        return found

    def _seen(self, reply: Reply | None) -> Seen | None:
        body = (row_of(reply) if reply is not None else None) or {}
        own, etag = text_of(body.get(self._settings.id_attribute)), body.get("@odata.etag")
        state, priority = body.get("statecode"), body.get("prioritycode")
        usable = isinstance(etag, str) and etag.isascii() and etag.isprintable()
        if own is None or not usable or not isinstance(state, int):
            return None
        return Seen(
            id=own,
            etag=str(etag),
            open=state == 0,
            priority=priority if isinstance(priority, int) else None,
            version=text_of(body.get(self._settings.version_attribute)) or "",
        )

    def _key_line(self, body: Mapping[str, Any] | None) -> Checked:
        """What the table's definition says of our alternate key."""
        tables = (body or {}).get("value")
        table = tables[0] if isinstance(tables, list) and tables else None
        keys = table.get("Keys") if isinstance(table, dict) else None
        wanted = self._settings.key_attribute
        for key in keys if isinstance(keys, list) else ():
            if isinstance(key, dict) and key.get("KeyAttributes") == [wanted]:
                active = key.get("EntityKeyIndexStatus") == "Active"
                how = "is active" if active else "is not active yet: wait for its index"
                return Checked(what="alternate key", ok=active, detail=f"Key {wanted} {how}.")
        how = f"make an alternate key of {wanted} alone on {self._settings.entity_set}"
        return Checked(what="alternate key", ok=False, detail=f"There is no key to use: {how}.")


def _record_key(one: Delivery) -> str:
    return one.key if one.event.action is Action.RAISE else one.event.entity


def _nothing(one: Delivery, raised: Outcome | None) -> Outcome:
    """What a change of a record that is not there means; `raised` is what came of its raising."""
    if isinstance(raised, Retryable):
        return replace(raised, scope=Scope.ITEM)
    if raised is not None and not isinstance(raised, Delivered | Rejected):
        return Retryable(code=raised.code, message=raised.message, scope=Scope.ITEM)
    return Rejected(
        code=NO_RECORD.code,
        message=f"{TITLE} does not have the record that this changes.",
        final=one.event.action is Action.CLEAR,
    )
