"""Event → document. Frappe's Data fields hold 140 characters (frappe, model/meta: varchar_len)."""

from __future__ import annotations

from connectors.fields import Field, Overlong

DATA_MAX = 140
PREFIX = "FL-"
"""Names begin so: a document of ours is known by it, also to people."""

NEW_NAME = "__newname"
"""frappe drops the `name` of a new document unless its DocType is named by 'Prompt'
(frappe/model/naming.py, set_new_name); this member it takes for every DocType
(frappe/model/document.py, set_new_name)."""

PRIORITY = {"critical": "High", "warning": "Medium", "info": "Low"}
ISSUE = (
    Field("name", "event.key", required=True, limit=DATA_MAX, make=lambda key: f"{PREFIX}{key}"),
    Field(NEW_NAME, "event.key", required=True, limit=DATA_MAX, make=lambda key: f"{PREFIX}{key}"),
    Field("subject", "event.summary", required=True, limit=DATA_MAX, overlong=Overlong.CUT),
    Field("description", "event.text", lines=True, limit=60_000, overlong=Overlong.CUT),
    Field("priority", "event.severity", choices=PRIORITY),
    Field("customer", "ids.erpnext.customer", limit=DATA_MAX),
    Field("fieldline_asset", "asset.id", required=True, limit=DATA_MAX),
    Field("fieldline_customer_name", "customer.name", limit=DATA_MAX, overlong=Overlong.CUT),
)
CHANGE = (
    Field("name", "event.entity", required=True, limit=DATA_MAX, make=lambda key: f"{PREFIX}{key}"),
    Field("priority", "event.severity", choices=PRIORITY, on=("update",)),
    Field("status", "event.open", choices={"True": "Open", "False": "Closed"}),
)
COMMENT = (
    Field("name", "event.key", required=True, limit=DATA_MAX, make=lambda key: f"{PREFIX}{key}"),
    Field(NEW_NAME, "event.key", required=True, limit=DATA_MAX, make=lambda key: f"{PREFIX}{key}"),
    Field("content", "event.text", lines=True, limit=60_000, overlong=Overlong.CUT),
)
