"""Event and registry row → maintenance request, equipment, note; and their external ids. Pure."""

from __future__ import annotations

import base64
import hashlib
import html
import re

from connectors.fields import Field, Overlong, Unit
from connectors.sources import Value

MODULE = "__fieldline__"
"""Module of our external ids; no module can have that name, so no upgrade removes them."""
NAME_MAX = 200
"""Longest subject, characters; Odoo's own has no limit."""
ID_MAX = 128
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
PRIORITY = {"info": "1", "warning": "2", "critical": "3"}


def as_html(text: Value) -> Value:
    """Lines as a paragraph; `description`, `note` and `body` are fields of HTML."""
    lines = (html.escape(line, quote=False) for line in str(text).splitlines())
    return f"<p>{'<br/>'.join(lines)}</p>"


REQUEST = (
    Field("name", "event.summary", required=True, limit=NAME_MAX, overlong=Overlong.CUT),
    Field("description", "event.text", make=as_html),
    Field("priority", "event.severity", required=True, choices=PRIORITY),
    Field("request_date", "event.occurred_at", required=True, unit=Unit.DATE),
    Field("equipment_id/.id", "asset.id", required=True, limit=ID_MAX, note="see EQUIPMENT"),
)
"""maintenance.request, as `load` names its columns."""
EQUIPMENT = (
    Field("serial_no", "asset.id", required=True, limit=ID_MAX),
    Field("name", "asset.name", limit=NAME_MAX, overlong=Overlong.CUT, note="else serial_no"),
    Field("location", "site.id", limit=NAME_MAX, overlong=Overlong.CUT),
    Field("note", "customer.name", make=as_html),
)
"""maintenance.equipment; made only where it is not there under 'odoo.equipment' of the identity
map, our external id, or its serial number."""
CHANGE = (Field("priority", "event.severity", choices=PRIORITY, on=("update",)),)
"""What an update sets on the request; its stage besides, see connectors/odoo/changes.py."""
SUBJECTS = {"update": "The trouble has changed", "clear": "The trouble is over"}
NOTE = (
    Field("subject", "event.action", required=True, choices=SUBJECTS),
    Field("body", "event.text", required=True, make=as_html),
)
"""mail.message: the note that an update or a clear leaves, and by which it is known as made."""


def request_id(key: str) -> str:
    """External id of the request of what was raised under that key."""
    return _external("wo", key)


def note_id(key: str) -> str:
    """External id of the note of the update or clear with that key."""
    return _external("note", key)


def equipment_id(asset_id: str, *, shown: bool = True) -> str:
    """External id of an asset's equipment; as a hash where the policy does not show the asset."""
    return _external("eq", asset_id, shown=shown)


def _external(kind: str, text: str, *, shown: bool = True) -> str:
    """Names hold no blank (ir.model.data), so odd texts go in as a hash: 120 bits, base32."""
    if shown and _PLAIN.fullmatch(text):
        return f"{MODULE}.{kind}_{text}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:15]
    return f"{MODULE}.{kind}h_{base64.b32encode(digest).decode().lower()}"
