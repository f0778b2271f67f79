"""Dynamics 365 in the contract suite."""

from __future__ import annotations

from tests.contract.case import Case, Cause, Means
from tests.sandboxes.box import boxed
from tests.sandboxes.dynamics import ACCOUNT, CLIENT_ID, CLIENT_SECRET, TENANT, make

CASE = Case(
    name="dynamics",
    start=lambda: boxed(make()),
    values=lambda far: {
        "url": far.url,
        "tenant_id": TENANT,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "token_url": f"{far.url}/{{tenant_id}}/oauth2/v2.0/token",
    },
    bad_values=lambda _: {"client_secret": "wrong"},
    kind="incident",
    write=("PATCH|POST", r"/incidents\(|/\$batch"),
    ids={"dynamics.account": ACCOUNT},
    codes={
        "0x80044331": (Means.REJECTED, "dynamics.too_long"),
        "0x8004431A": (Means.REJECTED, "dynamics.choice"),
        "0x80048d19": (Means.REJECTED, "dynamics.payload"),
        "0x80040203": (Means.REJECTED, "dynamics.argument"),
        "0x80040265": (Means.REJECTED, "dynamics.plugin"),
        "0x80040217": (Means.REJECTED, "dynamics.reference"),
        "0x80060891": (Means.REJECTED, "dynamics.reference_key"),
        "0x80048408": (Means.REJECTED, "dynamics.refused"),
        "0x80040237": (Means.ITEM, "dynamics.duplicate"),
        "0x80060892": (Means.ITEM, "dynamics.duplicate_key"),
        "0x80060882": (Means.ITEM, "dynamics.changed_meanwhile"),
        "0x800404CF": (Means.ITEM, "dynamics.resolved"),
        "0x80040224": (Means.ITEM, "dynamics.plugin_failed"),
        "0x80040216": (Means.ITEM, "dynamics.unexpected"),
        "0x80044150": (Means.ITEM, "dynamics.database"),
        "0x80044151": (Means.ITEM, "dynamics.database_timeout"),
        "0x80072322": (Means.SYSTEM, "dynamics.requests_limit"),
        "0x80072321": (Means.SYSTEM, "dynamics.time_limit"),
        "0x80072326": (Means.SYSTEM, "dynamics.concurrency_limit"),
        "0x80040220": (Means.SYSTEM, "dynamics.privilege"),
        "0x80048306": (Means.SYSTEM, "dynamics.privilege_of_role"),
        "0x80072560": (Means.SYSTEM, "dynamics.no_member"),
        "0x8006088a": (Means.SYSTEM, "dynamics.setup"),
        "0x80060888": (Means.SYSTEM, "dynamics.setup_key"),
    },
    faults=(
        Cause(fault={"status": 401}, means=Means.SYSTEM, code="dynamics.token"),
        Cause(fault={"status": 403}, means=Means.SYSTEM, code="dynamics.forbidden"),
        Cause(
            fault={"status": 404, "body_text": '{"error":{"code":"","message":"gone"}}'},
            means=Means.REJECTED,
            code="dynamics.not_found",
        ),
        Cause(fault={"status": 412}, means=Means.ITEM, code="dynamics.precondition"),
        Cause(fault={"status": 413}, means=Means.REJECTED, code="dynamics.too_large"),
        Cause(fault={"status": 429}, means=Means.SYSTEM, code="dynamics.rate_limit"),
        Cause(fault={"status": 500}, means=Means.SYSTEM, code="dynamics.server_error"),
        Cause(fault={"status": 502}, means=Means.SYSTEM, code="dynamics.bad_gateway"),
        Cause(fault={"status": 503}, means=Means.SYSTEM, code="dynamics.unavailable"),
        Cause(fault={"status": 504}, means=Means.SYSTEM, code="dynamics.gateway_timeout"),
        Cause(fault={"mode": "html"}, means=Means.UNKNOWN, code="dynamics.unreadable"),
    ),
    unseen={
        "dynamics.no_record": "of changes only: tests/contract/test_dynamics_changes.py",
        "dynamics.credentials": "of the token endpoint: tests/contract/test_dynamics_session.py",
        "dynamics.token_unavailable": "the same",
    },
    drop_fields=("incidentid",),
)
