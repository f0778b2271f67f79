"""ERPNext in the contract suite."""

from __future__ import annotations

from tests.contract.case import Case, Cause, Means, Trait
from tests.sandboxes.box import boxed
from tests.sandboxes.erpnext import API_KEY, API_SECRET, make

CASE = Case(
    name="erpnext",
    start=lambda: boxed(make()),
    values=lambda far: {"url": far.url, "api_key": API_KEY, "api_secret": API_SECRET},
    bad_values=lambda _: {"api_secret": "wrong"},
    kind="Issue",
    write=("POST|PUT", "/api/resource/Issue"),
    far_key=lambda key: f"FL-{key}",
    ids={"erpnext.customer": "CUST-0001"},
    codes={
        "MandatoryError": (Means.REJECTED, "erpnext.mandatory"),
        "LinkValidationError": (Means.REJECTED, "erpnext.link"),
        "CharacterLengthExceededError": (Means.REJECTED, "erpnext.too_long"),
        "UpdateAfterSubmitError": (Means.REJECTED, "erpnext.submitted"),
        "ValidationError": (Means.REJECTED, "erpnext.validation"),
        "TimestampMismatchError": (Means.ITEM, "erpnext.changed_meanwhile"),
        "DocumentLockedError": (Means.ITEM, "erpnext.locked"),
        "QueryDeadlockError": (Means.ITEM, "erpnext.deadlock"),
        "QueryTimeoutError": (Means.ITEM, "erpnext.lock_timeout"),
        "DoesNotExistError": (Means.REJECTED, "erpnext.no_record"),
        "InReadOnlyMode": (Means.SYSTEM, "erpnext.read_only"),
        "TooManyRequestsError": (Means.SYSTEM, "erpnext.rate_limit"),
        "PermissionError": (Means.SYSTEM, "erpnext.permission"),
        "AuthenticationError": (Means.SYSTEM, "erpnext.credentials"),
    },
    faults=(
        Cause(fault={"status": 404}, means=Means.SYSTEM, code="erpnext.not_found"),
        Cause(fault={"status": 500}, means=Means.SYSTEM, code="erpnext.server_error"),
        Cause(fault={"status": 502}, means=Means.SYSTEM, code="erpnext.bad_gateway"),
        Cause(fault={"status": 503}, means=Means.SYSTEM, code="erpnext.unavailable"),
        Cause(fault={"status": 504}, means=Means.SYSTEM, code="erpnext.gateway_timeout"),
        Cause(fault={"mode": "html"}, means=Means.UNKNOWN, code="erpnext.unreadable"),
    ),
    unseen={"erpnext.exists": "it means that the document is there, so it is delivered"},
    lacks={Trait.EXPIRY: "an API key has no end"},
    drop_fields=("data", "name"),
)
