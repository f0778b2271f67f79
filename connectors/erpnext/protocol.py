"""Documents by name: POST with a name is kept to once by ERPNext (409 the second time). Pure.

An update or a clear is two writes: PUT of priority and status, then a Comment whose name is
the change's own key. The Comment says that the change was made, so it comes last and is looked
for first: sent again, nothing that people did meanwhile is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from connectors.answers import Row
from connectors.base import Call, Checked, Conversation, Delivery, Effect
from connectors.erpnext.answers import NAME, document, trouble, words
from connectors.erpnext.config import ErpnextSettings
from connectors.erpnext.mapping import CHANGE, COMMENT, ISSUE, PREFIX
from connectors.fields import Policy
from connectors.mapped import mapped
from connectors.speech import Speech
from pipeline.core.events import Action
from pipeline.core.outcome import Delivered, Found, LookUp, NotFound, Outcome, Rejected

TITLE = "ERPNext"
NO_RECORD = f"{NAME}.no_record"
EXISTS = f"{NAME}.exists"
COMMENTS = "Comment"
WHO = "api/method/frappe.auth.get_logged_user"


class ErpnextConnector:
    """The connector. `clock` gives seconds since the Unix epoch, for dates in Retry-After."""

    name = NAME
    batch_size = 1
    keyed = True

    def __init__(
        self, settings: ErpnextSettings, policy: Policy, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._policy = policy
        token = f"{settings.api_key}:{settings.api_secret.get_secret_value()}"
        secrets = (*settings.secrets(), token)
        self._speech = Speech(title=TITLE, secrets=secrets, words=words, clock=clock)
        self._headers = {"authorization": f"token {token}", "accept": "application/json"}

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """One document or change after the other; one outcome per delivery, in order."""
        outcomes = []
        for one in deliveries:
            raises = one.event.action is Action.RAISE
            outcomes.append((yield from (self._create(one) if raises else self._change(one))))
        return outcomes

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """Ask by name: the document itself, or the Comment that a change leaves."""
        answers: list[LookUp] = []
        for one in deliveries:
            raises = one.event.action is Action.RAISE
            kind = self._settings.doctype if raises else COMMENTS
            reply = yield self._call("look_up", "GET", kind, f"{PREFIX}{one.key}")
            found = document(reply, f"{PREFIX}{one.key}")
            if isinstance(found, dict):
                target = found["name"] if raises else f"{PREFIX}{one.event.entity}"
                answers.append(Found(target_id=target))
            elif found.code == NO_RECORD:
                answers.append(NotFound())
            else:
                answers.append(self._speech.again(found, reply))
        return answers

    def check(self) -> Conversation[Sequence[Checked]]:
        """Whether the key is good, and the DocType readable."""
        url, kind = self._settings.url, quote(self._settings.doctype)
        reply = yield self._request("check_user", "GET", f"{url}/{WHO}")
        checks = [self._speech.checked("credentials", trouble(reply), reply)]
        if checks[0].ok:
            where = f"{url}/api/resource/{kind}?limit_page_length=1"
            reply = yield self._request("check_doctype", "GET", where)
            checks.append(self._speech.checked(f"reading {kind}", trouble(reply), reply))
            told = "Rights to create and write show only when something is written."
            checks.append(Checked(what="writing", ok=None, detail=told))
        return checks

    # -- one event

    def _create(self, one: Delivery) -> Conversation[Outcome]:
        body = mapped(ISSUE, one, self._policy)
        if isinstance(body, Rejected):
            return body
        reply = yield self._call("create", "POST", self._settings.doctype, "", body)
        made = document(reply, body["name"])
        if isinstance(made, dict):
            return Delivered(target_id=body["name"], created=True)
        if made.code == EXISTS:
            return Delivered(target_id=body["name"], created=False)
        return self._speech.outcome(made, reply, keyed=True)

    def _change(self, one: Delivery) -> Conversation[Outcome]:  # noqa: PLR0911 - step by step
        change = mapped(CHANGE, one, self._policy)
        comment = mapped(COMMENT, one, self._policy)
        if isinstance(change, Rejected):
            return change
        if isinstance(comment, Rejected):
            return comment
        target = change.pop("name")
        reply = yield self._call("look_for_change", "GET", COMMENTS, comment["name"])
        before = document(reply, comment["name"])
        if isinstance(before, dict):
            return Delivered(target_id=target, created=False)
        if before.code != NO_RECORD:
            return self._speech.again(before, reply)
        reply = yield self._call("change", "PUT", self._settings.doctype, target, change)
        done = document(reply, target)
        if isinstance(done, Row):
            if done.code == NO_RECORD:
                why = f"{TITLE} does not have the document that this changes."
                final = one.event.action is Action.CLEAR
                return Rejected(code=NO_RECORD, message=why, final=final)
            return self._speech.outcome(done, reply, keyed=True)
        about = {
            "reference_doctype": self._settings.doctype,
            "reference_name": target,
            "comment_type": "Comment",
        }
        reply = yield self._call("comment", "POST", COMMENTS, "", comment | about)
        said = document(reply, comment["name"])
        if isinstance(said, dict) or said.code == EXISTS:
            return Delivered(target_id=target, created=isinstance(said, dict))
        return self._speech.outcome(said, reply, keyed=True)

    # -- requests and answers

    def _call(
        self, step: str, method: str, kind: str, name: str, body: dict[str, Any] | None = None
    ) -> Call:
        path = f"/{quote(name, safe='')}" if name else ""
        where = f"{self._settings.url}/api/resource/{quote(kind)}{path}"
        return self._request(step, method, where, body)

    def _request(
        self, step: str, method: str, where: str, body: dict[str, Any] | None = None
    ) -> Call:
        headers = self._headers | ({"content-type": "application/json"} if body else {})
        content = orjson.dumps(body) if body else None
        request = httpx.Request(method, where, headers=headers, content=content)
        effect = Effect.READ if method == "GET" else Effect.KEYED_WRITE
        return Call(step=step, request=request, effect=effect)
