"""Event → case (incident), and what an update, a clear and a reopening bring to it. Pure.

Lengths and choices are the standard columns' own (Case table reference, Microsoft Learn).
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from connectors.base import Delivery
from connectors.dynamics.config import DynamicsSettings
from connectors.fields import Field, Overlong, Policy
from connectors.mapped import mapped
from connectors.sources import Value
from pipeline.core.outcome import Rejected

KEY_MAX = 100
TITLE_MAX = 200
DESCRIPTION_MAX = 2_000
NOTE_MAX = 100_000
PRIORITY = {"critical": 1, "warning": 2, "info": 3}
"""prioritycode: 1 High, 2 Normal, 3 Low."""
_BREAKS = frozenset("/<>*%&:\\?+#")
"""Characters in a key's value that the Web API does not take, encoded or not (Microsoft Learn,
use-alternate-key-reference-record); '#' besides, for it ends an address."""
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NOTES = uuid.UUID("5f1d1e0a-6a59-5c11-9a3e-0f1e1d11e001")
"""Name space of the notes' ids (RFC 9562, 5.5): never to change, or notes would come twice."""


def key_value(value: Value) -> str:
    """A key that the Web API takes in an address; ValueError otherwise."""
    text = str(value)
    if not text.isprintable() or _BREAKS & set(text):
        raise ValueError("a key may have none of the characters / < > * % & : \\ ? + #")
    return text


def guid(value: Value) -> str:
    """A row's id; ValueError where it is none."""
    if _GUID.fullmatch(str(value)) is None:
        raise ValueError("it is no row id (GUID) of Dataverse")
    return str(value).lower()


def note_id(key: str) -> str:
    """The id of the note that an update leaves: from its key, so that it comes once."""
    return str(uuid.uuid5(_NOTES, key))


KEY = Field(
    "key",
    "event.key",
    required=True,
    limit=KEY_MAX,
    make=key_value,
    note="key_attribute; in the address",
)
VERSION = Field("version", "event.version", required=True, limit=40, note="version_attribute")
ACCOUNT_BY_ID = Field(
    "customerid_account", "ids.dynamics.account", required=True, make=guid, note="as @odata.bind"
)
ACCOUNT_BY_KEY = Field(
    "customerid_account",
    "customer.id",
    required=True,
    limit=KEY_MAX,
    make=key_value,
    note="as @odata.bind by account_key, where the identity map knows no account",
)
ASSET = Field(
    "asset", "ids.dynamics.asset", make=guid, note="as @odata.bind, where asset_binding is set"
)
CASE = (
    KEY,
    VERSION,
    Field("title", "event.summary", required=True, limit=TITLE_MAX, overlong=Overlong.CUT),
    Field("description", "event.text", lines=True, limit=DESCRIPTION_MAX, overlong=Overlong.CUT),
    Field("prioritycode", "event.severity", required=True, choices=PRIORITY),
)
CHANGE = (
    Field(
        "key", "event.entity", required=True, limit=KEY_MAX, make=key_value, note="in the address"
    ),
    VERSION,
    Field("prioritycode", "event.severity", choices=PRIORITY, on=("update",)),
)
NOTE = (
    Field("annotationid", "event.key", required=True, make=lambda key: note_id(str(key))),
    Field("subject", "event.summary", required=True, limit=500, overlong=Overlong.CUT),
    Field("notetext", "event.text", lines=True, limit=NOTE_MAX, overlong=Overlong.CUT),
)
RESOLUTION = (
    Field("subject", "event.summary", required=True, limit=TITLE_MAX, overlong=Overlong.CUT),
    Field("description", "event.text", lines=True, limit=DESCRIPTION_MAX, overlong=Overlong.CUT),
)


def case_of(
    one: Delivery, policy: Policy, settings: DynamicsSettings
) -> tuple[str, dict[str, Any]] | Rejected:
    """The key and the body of the case that an event raises."""
    known = one.record is not None and one.record.ids.get("dynamics.account")
    account = ACCOUNT_BY_ID if known or not settings.account_key else ACCOUNT_BY_KEY
    asset = (ASSET,) if settings.asset_binding else ()
    body = mapped((*CASE, account, *asset), one, policy)
    if isinstance(body, Rejected):
        return body
    key = body.pop("key")
    body[settings.version_attribute] = body.pop("version")
    customer = body.pop("customerid_account")
    by = customer if account is ACCOUNT_BY_ID else f"{settings.account_key}={quoted(customer)}"
    body["customerid_account@odata.bind"] = f"/accounts({by})"
    if target := body.pop("asset", ""):
        lookup, _, entity_set = settings.asset_binding.partition(":")
        body[f"{lookup}@odata.bind"] = f"/{entity_set}({target})"
    return key, body


def quoted(text: str) -> str:
    """A string literal of OData: quotes are doubled (OData 4 URL conventions, 5.1.1.6.1)."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
