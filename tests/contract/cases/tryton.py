"""Tryton in the contract suite: the real server, with faults put in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.contract.case import Case, Cause, Means
from tests.sandboxes.box import FarEnd
from tests.sandboxes.tryton import far_end, server

STATUSES = {
    302: (Means.SYSTEM, "tryton.redirect"),
    400: (Means.SYSTEM, "tryton.refused"),
    401: (Means.SYSTEM, "tryton.session"),
    403: (Means.SYSTEM, "tryton.forbidden"),
    404: (Means.SYSTEM, "tryton.no_database"),
    413: (Means.REJECTED, "tryton.too_large"),
    418: (Means.UNKNOWN, "tryton.unexpected_status"),
    429: (Means.SYSTEM, "tryton.rate_limit"),
    500: (Means.UNKNOWN, "tryton.server_error"),
    502: (Means.UNKNOWN, "tryton.bad_gateway"),
    503: (Means.UNKNOWN, "tryton.unavailable"),
    504: (Means.UNKNOWN, "tryton.gateway_timeout"),
}
_CANNED = "tests/contract/test_tryton_deliver.py has it with canned replies"
_REAL = "tests/integration/test_tryton_*.py has it with the real server"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrytonCase(Case):
    """One address has all calls: the write is known by its body, a task."""

    def on_write(self, **fault: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of knobs.Fault
        """A fault on the call that creates orders; not on those that make what they are for."""
        return {"method": "POST", "path": "/rpc/", "body": '"type":"task"', **fault}


def _values(far: FarEnd) -> Mapping[str, Any]:
    part, _ = server()
    told = part.settings()
    return {
        "url": f"{far.url}/erp",
        "user": told["TRYTON_USER"],
        "password": told["TRYTON_PASSWORD"],
    }


CASE = TrytonCase(
    name="tryton",
    start=far_end,
    values=_values,
    # Another user: Tryton slows down the logins of one whose password was wrong.
    bad_values=lambda _: {"user": "nobody", "password": "wrong"},
    kind="project.work",
    write=("POST", "/rpc/"),
    far_key=lambda key: f"FL-{key}",
    codes={
        "UserError": (Means.REJECTED, "tryton.user_error"),
        "UserWarning": (Means.REJECTED, "tryton.user_warning"),
        "ConcurrencyException": (Means.ITEM, "tryton.concurrency"),
        "LoginException": (Means.SYSTEM, "tryton.credentials"),
        "KeyError": (Means.ITEM, "tryton.fault"),
    },
    faults=(
        *(
            Cause(fault={"status": status}, means=means, code=code)
            for status, (means, code) in STATUSES.items()
        ),
        Cause(
            fault={"status": 503, "body_text": "database is locked"},
            means=Means.SYSTEM,
            code="tryton.locked",
        ),
        Cause(fault={"mode": "html"}, means=Means.UNKNOWN, code="tryton.garbled"),
    ),
    unseen={
        "tryton.number_race": f"two creates at one instant; {_CANNED}",
        "tryton.no_company": f"the user's own; {_CANNED}",
        "tryton.no_rights": f"the user's own; {_REAL}",
        "tryton.no_done_status": f"Tryton's set-up; {_CANNED}",
        "tryton.no_open_status": f"Tryton's set-up; {_CANNED}",
        "tryton.no_unit": f"Tryton's set-up; {_CANNED}",
        "tryton.too_many": "a thousand orders that begin alike: none begin so",
        "tryton.vanished": f"deleted within the same second; {_CANNED}",
        "tryton.equipment_of_other_customer": f"the registry's own; {_CANNED}",
        "tryton.inactive_customer": f"a person's doing; {_CANNED}",
        "tryton.no_product": f"the identity map's own; {_REAL}",
    },
    drop_fields=("result",),
    lanes=1,
    parts=True,
    request_s=2.0,
)
