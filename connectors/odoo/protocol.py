"""Requests by external id, in batches: conversations with Odoo. Pure.

A batch in the steady state is three calls: one search for all external ids, one `load` of
missing equipment, one of the requests. Every write is a `load` keyed by external id, so what
may have been taken is sent again at once (connectors/odoo/records.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from connectors.base import Checked, Conversation, Delivery
from connectors.fields import Policy
from connectors.mapped import facts_of, in_order, mapped, sorted_out
from connectors.odoo.answers import NAME, Trouble, words
from connectors.odoo.changes import MESSAGES, Change, Changes
from connectors.odoo.config import OdooSettings
from connectors.odoo.mapping import CHANGE, EQUIPMENT, NOTE, REQUEST, request_id
from connectors.odoo.records import DATA, Records
from connectors.odoo.requests import COLUMNS, EQUIPMENTS, REQUESTS, Request, Requests
from connectors.odoo.rpc import Api
from connectors.speech import Speech
from pipeline.core.events import Action
from pipeline.core.outcome import Found, LookUp, NotFound, Outcome, Rejected, Retryable

TITLE = "Odoo"
BATCH_SIZE = 50
KNOWN = f"{NAME}.equipment"
"""What the identity map calls an asset's equipment: 'module.name', or its number in Odoo."""
RIGHTS = (
    (REQUESTS, "create"),
    (REQUESTS, "write"),
    (EQUIPMENTS, "create"),
    (MESSAGES, "create"),
    (DATA, "read"),
)


class OdooConnector:
    """The connector. `clock` gives seconds since the Unix epoch, for dates in Retry-After."""

    name = NAME
    batch_size = BATCH_SIZE
    keyed = True

    def __init__(self, settings: OdooSettings, policy: Policy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._api = Api(settings)
        secrets = settings.secrets()
        self._speech = Speech(title=TITLE, secrets=secrets, words=words, clock=clock)
        self._records = Records(self._api, self._speech, secrets)
        self._requests = Requests(self._records, settings)
        self._changes = Changes(self._records, self._requests, settings)

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """What is raised first, then what changes it; one outcome per delivery, in order."""
        results, raised, changed = sorted_out(deliveries, self._mapped, Change)
        if raised:
            results |= yield from self._requests.create(raised)
        if changed:
            results |= yield from self._changes.apply(tuple(changed.values()))
        return in_order(deliveries, results)

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """By external id: the request itself, or the note that a change leaves on it."""
        answers: dict[str, LookUp] = {}
        raised = {d.key for d in deliveries if d.event.action is Action.RAISE}
        if raised:
            found = yield from self._records.ids("look_up", {request_id(key) for key in raised})
            for key in raised:
                if isinstance(found, Retryable):
                    answers[key] = found
                elif there := found.get(request_id(key)):
                    answers[key] = Found(target_id=str(there[1]))
        changed = {d.key: d.event.entity for d in deliveries if d.key not in raised}
        if changed:
            answers |= yield from self._changes.look_up(changed)
        return [answers.get(d.key, NotFound()) for d in deliveries]

    def check(self) -> Conversation[Sequence[Checked]]:
        """The key, the user's rights, the fields and the stages. Only reads."""
        got = yield from self._api.call("check_user", "res.users", "context_get")
        if isinstance(got, Trouble):
            return [self._speech.checked("credentials", got.row, got.reply)]
        checks = [Checked(what="credentials", ok=True, detail="Odoo knows the user.")]
        for model, operation in RIGHTS:
            may = yield from self._records.may(model, operation)
            told = {True: "may", False: "may not", None: "cannot be asked whether it may"}[may]
            detail = f"The key's user {told} {operation} {model}."
            checks.append(Checked(what=f"{operation} {model}", ok=may, detail=detail))
        checks.append((yield from self._check_fields()))
        found = yield from self._records.ids("look_up", self._requests.stage_names())
        stages = found if isinstance(found, Retryable) else self._requests.stages(found)
        trouble = stages.message if isinstance(stages, Retryable) else ""
        detail = trouble or "Both stages are there."
        checks.append(Checked(what="stages", ok=not trouble, detail=detail))
        return checks

    def _check_fields(self) -> Conversation[Checked]:
        got = yield from self._api.call("check_fields", REQUESTS, "fields_get", attributes=["type"])
        if isinstance(got, Trouble):
            return self._speech.checked("fields", got.row, got.reply)
        there = got.value if isinstance(got.value, dict) else {}
        missing = [name for column in COLUMNS if (name := column.partition("/")[0]) not in there]
        detail = f"{REQUESTS} has every field."
        if missing:
            detail = f"{REQUESTS} has no field {missing[0]}: install the module Maintenance."
        return Checked(what="fields", ok=not missing, detail=detail)

    def _mapped(self, one: Delivery) -> Request | Change | Rejected:
        facts = facts_of(one)
        if isinstance(facts, Rejected):
            return facts
        if one.event.action is not Action.RAISE:
            return self._change(one)
        fields, equipment = mapped(REQUEST, one, self._policy), mapped(EQUIPMENT, one, self._policy)
        if isinstance(fields, Rejected):
            return fields
        if isinstance(equipment, Rejected):
            return equipment
        return Request(
            key=one.key,
            asset=facts.record.asset_id,
            known=facts.record.ids.get(KNOWN, ""),
            fields=fields,
            equipment=equipment,
        )

    def _change(self, one: Delivery) -> Change | Rejected:
        fields, note = mapped(CHANGE, one, self._policy), mapped(NOTE, one, self._policy)
        if isinstance(fields, Rejected):
            return fields
        if isinstance(note, Rejected):
            return note
        closes = one.event.action is Action.CLEAR
        return Change(key=one.key, entity=one.event.entity, closes=closes, fields=fields, note=note)
