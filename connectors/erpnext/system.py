"""ERPNext as the registry knows it."""

from __future__ import annotations

from connectors.answers import transport_rows
from connectors.base import Effect
from connectors.erpnext.answers import BROKEN, NAME, STATUSES, TYPES
from connectors.erpnext.config import ErpnextSettings
from connectors.erpnext.mapping import CHANGE, COMMENT, ISSUE
from connectors.erpnext.protocol import TITLE, ErpnextConnector
from connectors.system import CallSpec, MapSpec, System, reads

_KEY = "the event's id with FL- before it, as the document's name (__newname)"
_AGAIN = "sent again at once: the name is unique"


SYSTEM = System(
    name=NAME,
    title=TITLE,
    settings=ErpnextSettings,
    make=ErpnextConnector,
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
        reads("look_for_change", "GET /api/resource/Comment/{name}"),
        reads("look_up", "GET /api/resource/{doctype}/{name}"),
        reads("check_user", "GET /api/method/frappe.auth.get_logged_user"),
        reads("check_doctype", "GET /api/resource/{doctype}"),
    ),
    answers=(*TYPES, *STATUSES, BROKEN, *transport_rows(NAME)),
    unsure=("whether a later frappe still takes __newname in /api/resource: read in its source",),
)
