"""simple-salesforce works with the sandbox: all three logins, records, Bulk 2.0, errors."""

from __future__ import annotations

from tests.clients.runner import run
from tests.contract.salesforce_examples import key_pair
from tests.sandboxes.box import boxed
from tests.sandboxes.salesforce import CLIENT_ID, CLIENT_SECRET, USERNAME, Salesforce
from tests.sandboxes.salesforce.app import DAILY


def test_simple_salesforce_sees_an_org() -> None:
    private, public = key_pair()
    with boxed(Salesforce(public)) as far:
        said = run(
            "simple_salesforce_script",
            url=far.url,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            username=USERNAME,
            private_key=private,
        )
        creates = [e["key"] for e in far.journal() if e["kind"] == "Case" and e["op"] == "create"]
    assert said == {
        "jwt": 0,
        "direct": 0,
        "wrong": ["SalesforceAuthenticationFailed", "invalid_client"],
        "objects": ["Case", "Account", "Asset", "Entitlement", "Fieldline_Event__e"],
        "key": [True, True, 64],
        "metadata": "Case",
        "upsert": [201, 200],
        "got": ["two", True, "New"],
        "updated": 204,
        "closed": True,
        "query": [1, True, "Acme"],
        "accounts": 1,
        "collection": [[True, False, []], [False, None, ["STRING_TOO_LONG"]], [True, True, []]],
        "composite": [201, 201],
        "rolled_back": ["PROCESSING_HALTED", "INVALID_FIELD"],
        "event": [True, "OPERATION_ENQUEUED"],
        "bulk": [31, 1],
        "bulk_failed": 1,
        "bulk_there": 1,
        "limits": ["Max", "Remaining"],
        "usage": DAILY,
        "refused": [
            ["SalesforceMoreThanOneRecord", "2"],
            ["SalesforceMalformedRequest", "DUPLICATE_VALUE"],
            ["SalesforceMalformedRequest", "INVALID_FIELD"],
            ["SalesforceMalformedRequest", "STRING_TOO_LONG"],
            ["SalesforceMalformedRequest", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"],
            ["SalesforceMalformedRequest", "MALFORMED_ID"],
            ["SalesforceResourceNotFound", "NOT_FOUND"],
            ["SalesforceMalformedRequest", "INVALID_TYPE"],
            ["SalesforceMalformedRequest", "MALFORMED_QUERY"],
            ["SalesforceResourceNotFound", "NOT_FOUND"],
        ],
        "deleted": 204,
        "after": ["SalesforceResourceNotFound", "ENTITY_IS_DELETED"],
        "expired": ["SalesforceExpiredSession", "INVALID_SESSION_ID"],
        "renewed": 1,
    }
    assert "k-5" not in creates
    assert {f"b-{n:03}" for n in range(30)} <= set(creates)
