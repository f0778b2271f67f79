"""Odoo in the contract suite, by JSON-2; tests/contract/test_odoo_jsonrpc.py has the older API."""

from __future__ import annotations

import json
from typing import Any

from tests.contract.case import Case, Cause, Means, Trait
from tests.sandboxes.box import boxed
from tests.sandboxes.odoo import API_KEY, DATABASE, make

ITEMS = {
    "odoo.exceptions.ValidationError": (Means.REJECTED, "odoo.refused"),
    "odoo.exceptions.UserError": (Means.REJECTED, "odoo.refused"),
    "odoo.exceptions.AccessError": (Means.REJECTED, "odoo.refused"),
    "psycopg2.errors.NotNullViolation": (Means.REJECTED, "odoo.refused"),
    "psycopg2.errors.SerializationFailure": (Means.ITEM, "odoo.locked"),
    "psycopg2.errors.DeadlockDetected": (Means.ITEM, "odoo.locked"),
    "psycopg2.errors.LockNotAvailable": (Means.ITEM, "odoo.locked"),
    "builtins.KeyError": (Means.ITEM, "odoo.import_failed"),
    "psycopg2.Warning": (Means.ITEM, "odoo.skipped"),
}
"""What `load` tells of one record."""
WHOLE = {
    "odoo.exceptions.AccessDenied": (403, Means.SYSTEM, "odoo.credentials"),
    "odoo.exceptions.AccessError": (403, Means.SYSTEM, "odoo.no_rights"),
    "odoo.exceptions.ValidationError": (422, Means.REJECTED, "odoo.refused"),
    "odoo.exceptions.MissingError": (404, Means.ITEM, "odoo.vanished"),
    "odoo.exceptions.LockError": (409, Means.ITEM, "odoo.locked"),
    "psycopg2.errors.SerializationFailure": (500, Means.ITEM, "odoo.locked"),
    "werkzeug.exceptions.Unauthorized": (401, Means.SYSTEM, "odoo.credentials"),
    "werkzeug.exceptions.NotFound": (404, Means.SYSTEM, "odoo.not_found"),
    "werkzeug.exceptions.UnprocessableEntity": (422, Means.SYSTEM, "odoo.arguments"),
    "builtins.ValueError": (500, Means.SYSTEM, "odoo.fault"),
}
"""Exceptions that end a call."""
STATUSES = {
    302: (Means.SYSTEM, "odoo.redirect"),
    403: (Means.SYSTEM, "odoo.forbidden"),
    413: (Means.REJECTED, "odoo.too_large"),
    429: (Means.SYSTEM, "odoo.rate_limit"),
    500: (Means.SYSTEM, "odoo.server_error"),
    502: (Means.SYSTEM, "odoo.bad_gateway"),
    503: (Means.SYSTEM, "odoo.unavailable"),
    504: (Means.SYSTEM, "odoo.gateway_timeout"),
}


def raised(name: str) -> dict[str, Any]:
    """An exception's own data (odoo/http.py, serialize_exception)."""
    return {"name": name, "message": "as told", "arguments": [], "context": {}, "debug": "…"}


FAULTS = (
    *(
        Cause(
            fault={"status": status, "body_text": json.dumps(raised(name))}, means=means, code=code
        )
        for name, (status, means, code) in WHOLE.items()
    ),
    *(
        Cause(fault={"status": status}, means=means, code=code)
        for status, (means, code) in STATUSES.items()
    ),
    Cause(fault={"mode": "html"}, means=Means.UNKNOWN, code="odoo.unreadable"),
)
CASE = Case(
    name="odoo",
    start=lambda: boxed(make()),
    values=lambda far: {"url": far.url, "database": DATABASE, "api_key": API_KEY},
    bad_values=lambda _: {"api_key": "wrong"},
    kind="maintenance.request",
    write=("POST", "/json/2/maintenance.request/load"),
    far_key=lambda key: f"__fieldline__.wo_{key}",
    codes=ITEMS,
    faults=FAULTS,
    unseen={
        "odoo.no_stage": "the settings' own fault: tests/contract/test_odoo_deliver.py",
        "odoo.no_equipment": "the identity map's own fault: tests/contract/test_odoo_deliver.py",
        "odoo.no_record": "said of changes only: the suite's own test of a change without record",
    },
    lacks={Trait.EXPIRY: "an API key has no session; one that is over is for people to renew"},
    drop_fields=("ids",),
)
