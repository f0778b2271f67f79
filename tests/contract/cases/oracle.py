"""Oracle Fusion in the contract suite."""

from __future__ import annotations

from tests.contract.case import Case, Cause, Means
from tests.sandboxes.box import boxed
from tests.sandboxes.oracle import (
    CLIENT_ID,
    CLIENT_SECRET,
    ORGANIZATION,
    SCOPE,
    TOKEN_PATH,
    make,
)

WRITE = r"/resources/[0-9.]+(/maintenanceWorkOrders)?$"

CASE = Case(
    name="oracle",
    start=lambda: boxed(make()),
    values=lambda far: {
        "url": far.url,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "token_url": f"{far.url}{TOKEN_PATH}",
        "scope": SCOPE,
        "organization_code": ORGANIZATION,
        "batch_from": 2,
    },
    bad_values=lambda _: {"client_secret": "wrong"},
    kind="maintenanceWorkOrders",
    write=("POST", WRITE),
    far_key=lambda key: f"FL-{key}",
    codes={
        "400": (Means.REJECTED, "oracle.refused"),
        "404": (Means.REJECTED, "oracle.not_found"),
        "409": (Means.ITEM, "oracle.conflict"),
        "412": (Means.ITEM, "oracle.changed_meanwhile"),
        "401": (Means.SYSTEM, "oracle.login"),
        "403": (Means.SYSTEM, "oracle.permission"),
        "429": (Means.SYSTEM, "oracle.too_many_requests"),
        "503": (Means.SYSTEM, "oracle.unavailable"),
        "500": (Means.UNKNOWN, "oracle.server_error"),
        "502": (Means.UNKNOWN, "oracle.bad_gateway"),
        "504": (Means.UNKNOWN, "oracle.gateway_timeout"),
    },
    faults=(
        Cause(fault={"mode": "html"}, means=Means.UNKNOWN, code="oracle.unreadable"),
        Cause(
            fault={"method": "GET", "path": "q=", "status": 400, "body_text": '{"title": "no"}'},
            means=Means.SYSTEM,
            code="oracle.query_refused",
        ),
        Cause(
            fault={"path": TOKEN_PATH, "status": 401},
            means=Means.SYSTEM,
            code="oracle.credentials",
        ),
        Cause(
            fault={"path": TOKEN_PATH, "status": 503},
            means=Means.SYSTEM,
            code="oracle.token_unavailable",
        ),
    ),
    unseen={
        "oracle.no_record": "only of changes: the suite refuses one without its record",
        "oracle.part_missing": "only a batch has parts: tests/contract/test_oracle_orders.py",
    },
    drop_fields=("WorkOrderId",),
)
