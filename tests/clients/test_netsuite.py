"""The `netsuite` package works against the sandbox as against NetSuite."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.runner import run
from tests.sandboxes.box import Box, boxed
from tests.sandboxes.netsuite import (
    ACCOUNT,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    TOKEN_ID,
    TOKEN_SECRET,
    make,
)

Told = tuple[dict[str, Any], Box]


@pytest.fixture(scope="module")
def told() -> Any:  # noqa: ANN401 - a generator of Told
    """What the client saw, once for all tests."""
    with boxed(make()) as far:
        seen = run(
            "netsuite_script",
            url=far.url,
            account=ACCOUNT,
            consumer_key=CONSUMER_KEY,
            consumer_secret=CONSUMER_SECRET,
            token_id=TOKEN_ID,
            token_secret=TOKEN_SECRET,
        )
        yield seen, far


def test_a_record_is_upserted_read_changed_and_deleted(told: Told) -> None:
    seen, _ = told
    assert seen["put"] is None
    assert seen["got"] == ["Coolant high", "Not Started", "Acme Cold Chain"]
    assert seen["by_id"] == "client-1"
    assert seen["patched"] == "Closed"
    assert seen["upserted"] == [True, "Coolant high again"]


def test_suiteql_pages_in_lower_case_and_reads_quotes(told: Told) -> None:
    seen, _ = told
    assert seen["pages"] == [["client-1", "client-2"], True, ["client-3"], False]
    assert seen["quoted"] == ["client-3"]
    assert seen["listed"] == 3


def test_the_metadata_catalogue_describes_the_records(told: Told) -> None:
    seen, _ = told
    assert {"title", "company", "custevent_fieldline_version"} <= set(seen["schema"])
    assert seen["openapi"] == ["customer"]


def test_a_batch_is_a_job_that_takes_some_looks_and_is_the_same_for_the_same_key(
    told: Told,
) -> None:
    seen, _ = told
    assert seen["batch"] == [202, 400]
    assert seen["same_job"]
    assert seen["job"] == ["succeeded", True]
    assert seen["tasks"] == 3
    assert seen["result"] is None


def test_what_is_wrong_is_refused_in_netsuites_own_words(told: Told) -> None:
    seen, _ = told
    assert seen["refused"] == {
        "gone": [404, "NONEXISTENT_ID"],
        "field": [400, "INVALID_CONTENT"],
        "missing": [400, "USER_ERROR"],
        "query": [400, "INVALID_PARAMETER"],
        "secret": [401, "INVALID_LOGIN"],
        "realm": [401, "INVALID_LOGIN"],
    }
    assert seen["loose"] == "custevent_nobody_made"


def test_the_journal_has_what_the_client_did_and_nothing_twice(told: Told) -> None:
    _, far = told
    ops = [(e["op"], e["key"]) for e in far.journal()]
    assert ops[:3] == [("create", "client-1"), ("close", "client-1"), ("update", "client-1")]
    creates = [key for op, key in ops if op == "create"]
    assert sorted(creates) == sorted(
        ["client-1", "client-2", "client-3", "batch-0", "batch-1", "batch-2", "loose"]
    )
    assert ("delete", "batch-0") in ops
