"""Salesforce in the contract suite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.contract.case import Case, Cause, Means
from tests.sandboxes.box import FarEnd, boxed
from tests.sandboxes.salesforce import CLIENT_ID, CLIENT_SECRET, make

BULK_FROM = 200
"""So that the suite's full batch is a Bulk job, and smaller ones are collections."""


def values(far: FarEnd) -> Mapping[str, Any]:
    """The settings for that far end."""
    return {
        "url": far.url,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "bulk_from": BULK_FROM,
    }


_BULK = "only a Bulk job says it: tests/contract/test_salesforce_bulk.py"
CASE = Case(
    name="salesforce",
    start=lambda: boxed(make()),
    values=values,
    bad_values=lambda _: {"client_secret": "wrong"},
    kind="Case",
    write=("PATCH", "/sobjects/Case/Fieldline_Key__c"),
    codes={
        "REQUIRED_FIELD_MISSING": (Means.REJECTED, "salesforce.required_field_missing"),
        "FIELD_CUSTOM_VALIDATION_EXCEPTION": (Means.REJECTED, "salesforce.validation_rule"),
        "STRING_TOO_LONG": (Means.REJECTED, "salesforce.string_too_long"),
        "DUPLICATES_DETECTED": (Means.REJECTED, "salesforce.duplicates_detected"),
        "ENTITY_IS_DELETED": (Means.REJECTED, "salesforce.entity_is_deleted"),
        "INVALID_CROSS_REFERENCE_KEY": (
            Means.REJECTED,
            "salesforce.invalid_cross_reference_key",
        ),
        "INVALID_FIELD": (Means.REJECTED, "salesforce.invalid_field"),
        "INVALID_FIELD_FOR_INSERT_UPDATE": (Means.REJECTED, "salesforce.field_not_writeable"),
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": (Means.REJECTED, "salesforce.not_in_picklist"),
        "FIELD_INTEGRITY_EXCEPTION": (Means.REJECTED, "salesforce.field_integrity"),
        "FIELD_FILTER_VALIDATION_EXCEPTION": (Means.REJECTED, "salesforce.lookup_filter"),
        "MALFORMED_ID": (Means.REJECTED, "salesforce.malformed_id"),
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": (Means.REJECTED, "salesforce.trigger_failed"),
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": (
            Means.REJECTED,
            "salesforce.reference_not_shared",
        ),
        "INSUFFICIENT_ACCESS_OR_READONLY": (Means.REJECTED, "salesforce.record_not_editable"),
        "ENTITY_IS_LOCKED": (Means.REJECTED, "salesforce.record_locked"),
        "JSON_PARSER_ERROR": (Means.REJECTED, "salesforce.malformed"),
        "DUPLICATE_EXTERNAL_ID": (Means.REJECTED, "salesforce.ambiguous_key"),
        "DUPLICATE_VALUE": (Means.REJECTED, "salesforce.duplicate_value"),
        "INVALID_EMAIL_ADDRESS": (Means.REJECTED, "salesforce.refused"),
        "UNABLE_TO_LOCK_ROW": (Means.ITEM, "salesforce.row_locked"),
        "UNKNOWN_EXCEPTION": (Means.ITEM, "salesforce.internal_error"),
        "REQUEST_RUNNING_TOO_LONG": (Means.SYSTEM, "salesforce.request_too_long"),
        "REQUEST_LIMIT_EXCEEDED": (Means.SYSTEM, "salesforce.request_limit"),
        "LIMIT_EXCEEDED": (Means.SYSTEM, "salesforce.limit"),
        "SERVER_UNAVAILABLE": (Means.SYSTEM, "salesforce.unavailable"),
        "STORAGE_LIMIT_EXCEEDED": (Means.SYSTEM, "salesforce.storage_full"),
        "API_DISABLED_FOR_ORG": (Means.SYSTEM, "salesforce.api_disabled"),
        "NOT_FOUND": (Means.SYSTEM, "salesforce.not_set_up"),
        "INVALID_TYPE": (Means.SYSTEM, "salesforce.object_not_visible"),
        "FUNCTIONALITY_NOT_ENABLED": (Means.SYSTEM, "salesforce.forbidden"),
    },
    faults=(
        Cause(fault={"mode": "expire"}, means=Means.SYSTEM, code="salesforce.session_expired"),
        Cause(fault={"status": 401}, means=Means.SYSTEM, code="salesforce.session_expired"),
        Cause(fault={"status": 429}, means=Means.SYSTEM, code="salesforce.too_many_requests"),
        Cause(fault={"status": 500}, means=Means.SYSTEM, code="salesforce.server_error"),
        Cause(
            fault={"mode": "html", "status": 502},
            means=Means.SYSTEM,
            code="salesforce.server_error",
        ),
        Cause(fault={"mode": "html"}, means=Means.UNKNOWN, code="salesforce.unexpected_answer"),
        Cause(
            fault={"status": 300, "body_text": '["/services/data/v62.0/sobjects/Case/5001"]'},
            means=Means.REJECTED,
            code="salesforce.ambiguous_key",
        ),
    ),
    unseen={
        "salesforce.no_query": "said of a query: test_salesforce_changes.py",
        "salesforce.no_record": "said of a change: test_salesforce_changes.py",
        "salesforce.credentials": "of the token endpoint: the suite's test of wrong credentials",
        "salesforce.token_unavailable": "of the token endpoint: test_salesforce_session.py",
        "salesforce.instance_host": "of the token endpoint: test_salesforce_session.py",
        "salesforce.bulk_unfinished": _BULK,
        "salesforce.bulk_unprocessed": _BULK,
        "salesforce.bulk_silent": _BULK,
    },
    drop_fields=("id", "success"),
)
