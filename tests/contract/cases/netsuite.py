"""NetSuite in the contract suite."""

from __future__ import annotations

from tests.contract.case import Case, Cause, Means
from tests.sandboxes.box import boxed
from tests.sandboxes.netsuite import ACCOUNT, CERTIFICATE_ID, CLIENT_ID, PRIVATE_KEY, make

IGNORES = {"x-netsuite-propertyvalidation": "custevent_fieldline_snapshot"}
BARE = '{"o:errorDetails": [{"detail": "New in a later release.", "o:errorCode": "BRAND_NEW"}]}'

CASE = Case(
    name="netsuite",
    start=lambda: boxed(make()),
    values=lambda far: {
        "url": far.url,
        "account": ACCOUNT,
        "client_id": CLIENT_ID,
        "certificate_id": CERTIFICATE_ID,
        "private_key": PRIVATE_KEY,
        "async_from": 2,
    },
    bad_values=lambda _: {"certificate_id": "wrong"},
    kind="supportCase",
    write=("PUT", "/record/v1/supportCase"),
    codes={
        "USER_ERROR": (Means.REJECTED, "netsuite.refused"),
        "INVALID_CONTENT": (Means.REJECTED, "netsuite.content"),
        "INVALID_PARAMETER": (Means.REJECTED, "netsuite.parameter"),
        "INVALID_HEADER": (Means.REJECTED, "netsuite.header"),
        "NONEXISTENT_ID": (Means.REJECTED, "netsuite.no_such_id"),
        "RCRD_DSNT_EXIST": (Means.REJECTED, "netsuite.gone"),
        "SOMETHING_ELSE": (Means.REJECTED, "netsuite.refused_otherwise"),
        "RCRD_HAS_BEEN_CHANGED": (Means.ITEM, "netsuite.changed_meanwhile"),
        "INVALID_LOGIN": (Means.SYSTEM, "netsuite.login"),
        "INSUFFICIENT_PERMISSION": (Means.SYSTEM, "netsuite.permission"),
        "CONCURRENCY_LIMIT_EXCEEDED": (Means.SYSTEM, "netsuite.concurrency"),
        "SSS_REQUEST_LIMIT_EXCEEDED": (Means.SYSTEM, "netsuite.request_limit"),
        "UNEXPECTED_ERROR": (Means.SYSTEM, "netsuite.unexpected_error"),
    },
    faults=(
        Cause(
            fault={"status": 204, "headers": IGNORES},
            means=Means.REJECTED,
            code="netsuite.fields_ignored",
        ),
        Cause(fault={"status": 204}, means=Means.UNKNOWN, code="netsuite.unreadable"),
        Cause(fault={"mode": "html"}, means=Means.UNKNOWN, code="netsuite.unreadable"),
        Cause(
            fault={"status": 404, "body_text": BARE},
            means=Means.REJECTED,
            code="netsuite.refused_otherwise",
        ),
        Cause(fault={"status": 401}, means=Means.SYSTEM, code="netsuite.unauthorized"),
        Cause(fault={"status": 403}, means=Means.SYSTEM, code="netsuite.forbidden"),
        Cause(fault={"status": 429}, means=Means.SYSTEM, code="netsuite.too_many_requests"),
        Cause(fault={"status": 500}, means=Means.SYSTEM, code="netsuite.server_error"),
        Cause(fault={"status": 502}, means=Means.SYSTEM, code="netsuite.bad_gateway"),
        Cause(fault={"status": 503}, means=Means.SYSTEM, code="netsuite.unavailable"),
        Cause(fault={"status": 504}, means=Means.SYSTEM, code="netsuite.gateway_timeout"),
        Cause(
            fault={"path": "/suiteql", "method": "POST", "status": 400},
            means=Means.SYSTEM,
            code="netsuite.query_refused",
        ),
        Cause(
            fault={"path": "/oauth2/v1/token", "method": "POST", "status": 400},
            means=Means.SYSTEM,
            code="netsuite.credentials",
        ),
        Cause(
            fault={"path": "/oauth2/v1/token", "method": "POST", "status": 500},
            means=Means.SYSTEM,
            code="netsuite.token_unavailable",
        ),
    ),
    unseen={
        "netsuite.no_record": "only of changes: the suite refuses one without its record",
        "netsuite.no_query": "of a query: tests/contract/test_netsuite_records.py",
        "netsuite.same_job": "only a batch has a job: tests/contract/test_netsuite_batches.py",
        "netsuite.job_running": "only a batch has a job: tests/contract/test_netsuite_batches.py",
    },
)
