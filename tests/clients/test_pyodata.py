"""SAP's official Python client works against the sandbox: pyodata's own code, unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.runner import run
from tests.sandboxes.box import Box, boxed
from tests.sandboxes.sap import CLIENT_ID, CLIENT_SECRET, PASSWORD, USERNAME, make

KIND = "MaintenanceNotification"


@pytest.fixture(scope="module")
def far() -> Iterator[Box]:
    """One system for all of them."""
    with boxed(make()) as box:
        yield box


@pytest.fixture(scope="module")
def said(far: Box) -> dict[str, Any]:
    """What pyodata saw."""
    answer: dict[str, Any] = run(
        "pyodata_script", url=far.url, username=USERNAME, password=PASSWORD
    )
    return answer


def test_the_client_is_built_from_the_metadata(said: dict[str, Any]) -> None:
    assert said["text_max"] == 40
    assert said["functions"] == ["CompleteMaintNotification", "SetMaintNotifToInProcess"]


def test_a_write_wants_the_token_and_all_its_cookies(said: dict[str, Any]) -> None:
    for what in ("no_token", "no_cookies"):
        assert (said[what]["status"], said[what]["csrf"]) == (403, "Required")


def test_what_is_created_is_read_back_as_it_was_given(said: dict[str, Any]) -> None:
    assert said["made"]["phase"] == "1"
    assert said["made"]["etag"] == said["read"]["etag"]
    assert said["read"] | {"etag": ""} == {
        "text": "Coolant at 112 °C 🔥",
        "reference": "ABCDEFGHIJ2345678901",
        "long": "Line one\nline two",
        "start": "2026-11-21T00:00:00+00:00",
        "etag": "",
    }


def test_it_is_found_by_its_reference_and_counted(said: dict[str, Any]) -> None:
    assert said["found"] == {"count": 1, "ids": [said["made"]["number"]]}
    assert said["counted"] == 1
    assert said["later"] == 0


def test_a_patch_wants_the_etag_of_what_is_there(said: dict[str, Any]) -> None:
    assert said["patch_without_etag"]["status"] == 428
    assert said["patch"] is None
    assert said["patch_stale"]["status"] == 412
    assert said["priority"] == "2"


def test_what_breaks_a_rule_is_refused_in_saps_own_format(said: dict[str, Any]) -> None:
    assert [one["status"] for one in said["refused"]] == [400] * 5
    assert all(one["details"] == [one["message"]] for one in said["refused"])
    assert said["refused"][4]["message"] == "Equipment 99999999 does not exist"
    assert said["missing"]["status"] == 404


def test_function_imports_complete_and_reopen(said: dict[str, Any]) -> None:
    assert said["completed"] == {"phase": "4"}
    assert said["patch_completed"]["status"] == 400
    assert said["reopened"] == {"phase": "3"}


def test_a_change_set_is_done_as_a_whole_or_not_at_all(said: dict[str, Any], far: Box) -> None:
    assert said["batch"]["read"] == said["made"]["number"]
    assert said["batch"]["made"] == ["in a batch", "in a batch too"]
    assert said["failed_batch"], "pyodata takes the plain error part for a failure"
    assert said["rolled_back"]
    texts = [e["fields"].get("NotificationText") for e in far.journal() if e["op"] == "create"]
    assert texts == ["Coolant at 112 °C 🔥", "in a batch", "in a batch too"]


def test_the_journal_has_every_effect_in_order(said: dict[str, Any], far: Box) -> None:
    ops = [e["op"] for e in far.journal() if e["id"] == said["made"]["number"]]
    assert ops == ["create", "update", "close", "reopen"]
    assert {e["kind"] for e in far.journal()} == {KIND}


def test_a_token_of_oauth_is_as_good_as_a_password(said: dict[str, Any]) -> None:
    with boxed(make()) as other:
        again = run(
            "pyodata_script",
            url=other.url,
            token_url=f"{other.url}/sap/bc/sec/oauth2/token",
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
        )
    assert again["read"] | {"etag": ""} == said["read"] | {"etag": ""}
