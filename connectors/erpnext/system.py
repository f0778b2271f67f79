"""ERPNext as the registry knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from connectors.answers import transport_rows
from connectors.base import Connector, Effect
from connectors.erpnext.answers import BROKEN, NAME, STATUSES, TYPES
from connectors.erpnext.config import ErpnextSettings
from connectors.erpnext.mapping import CHANGE, COMMENT, ISSUE
from connectors.erpnext.protocol import TITLE, ErpnextConnector
from connectors.settings import ConnectorSettings
from connectors.system import CallSpec, MapSpec, Policy, System

_KEY = "the event's id with FL- before it, as the document's name (__newname)"
_AGAIN = "sent again at once: the name is unique"


def _make(settings: ConnectorSettings, policy: Policy, clock: Callable[[], float]) -> Connector:
    return ErpnextConnector(cast("ErpnextSettings", settings), policy, clock)


SYSTEM = System(
    name=NAME,
    title=TITLE,
    settings=ErpnextSettings,
    make=_make,
    objects={
        "Issue": MapSpec(
            canonical="ServiceOrder",
            fields=ISSUE,
            owner="ERPNext, once it is there",
            conflict="a raise never touches a document that is there",
        ),
        "Issue (change)": MapSpec(
            canonical="ServiceOrder",
            fields=CHANGE,
            owner="Fieldline for priority and status while the trouble lasts",
            conflict="each change is made once, in the order of events; people's other fields stay",
        ),
        "Comment": MapSpec(
            canonical="Document",
            fields=COMMENT,
            owner="Fieldline",
            conflict="never changed",
        ),
    },
    calls=(
        CallSpec(
            step="create",
            request="POST /api/resource/{doctype}",
            effect=Effect.KEYED_WRITE,
            key=_KEY,
            once="name is unique: 409 DuplicateEntryError the second time",
            unknown=_AGAIN,
        ),
        CallSpec(
            step="change",
            request="PUT /api/resource/{doctype}/{name}",
            effect=Effect.KEYED_WRITE,
            key="the raising event's id, in the path",
            once="sets plain values; skipped where the change's Comment is there",
            unknown=_AGAIN,
        ),
        CallSpec(
            step="comment",
            request="POST /api/resource/Comment",
            effect=Effect.KEYED_WRITE,
            key="the change's own id, as the Comment's name",
            once="name is unique: 409 DuplicateEntryError the second time",
            unknown=_AGAIN,
        ),
        CallSpec(
            step="look_for_change", request="GET /api/resource/Comment/{name}", effect=Effect.READ
        ),
        CallSpec(step="look_up", request="GET /api/resource/{doctype}/{name}", effect=Effect.READ),
        CallSpec(
            step="check_user",
            request="GET /api/method/frappe.auth.get_logged_user",
            effect=Effect.READ,
        ),
        CallSpec(step="check_doctype", request="GET /api/resource/{doctype}", effect=Effect.READ),
    ),
    answers=(*TYPES, *STATUSES, BROKEN, *transport_rows(NAME)),
    unsure=("whether a later frappe still takes __newname in /api/resource: read in its source",),
)
