"""jsforce works with the sandbox: JWT and client credentials, collections, Bulk 2.0."""

from __future__ import annotations

import time

import jwt

from tests.clients.node import run_node
from tests.contract.salesforce_examples import key_pair
from tests.sandboxes.box import boxed
from tests.sandboxes.salesforce import CLIENT_ID, CLIENT_SECRET, USERNAME, Salesforce
from tests.sandboxes.salesforce.app import DAILY


def test_jsforce_sees_an_org() -> None:
    private, public = key_pair()
    with boxed(Salesforce(public)) as far:
        claims = {
            "iss": CLIENT_ID,
            "sub": USERNAME,
            "aud": "https://login.salesforce.com",
            "exp": int(time.time()) + 120,
        }
        said = run_node(
            "jsforce_script",
            url=far.url,
            assertion=jwt.encode(claims, private, algorithm="RS256"),
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
        )
    assert said == {
        "instance": True,
        "app": 0,
        "key": [True, True],
        "upsert": [True, True, False, True],
        "collection": [False, "STRING_TOO_LONG", True],
        "found": [["m", "Acme"]],
        "event": [True, "OPERATION_ENQUEUED"],
        "bulk": [20, [["b-bad", "STRING_TOO_LONG"]], 0],
        "refused": [
            "DUPLICATE_VALUE",
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "INVALID_FIELD",
            "NOT_FOUND",
        ],
        "deleted": 0,
        "usage": DAILY,
    }
