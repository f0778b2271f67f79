"""Bulk API 2.0: when it is used, and that each row's end is told by its key."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.base import Reply
from connectors.salesforce.bulk import csv_of, pieces, rows_of
from pipeline.core.outcome import Delivered, Outcome, Rejected, Retryable, Scope, Unknown
from tests.contract import salesforce_examples
from tests.contract.conversation import steps
from tests.contract.salesforce_examples import READ, Org, talk
from tests.contract.world import many
from tests.sandboxes.salesforce import jobs
from tests.sandboxes.salesforce.schema import OBJECTS

JOB = "750000000000001AAA"
BULK = ["bulk_create", "bulk_upload", "bulk_start"]
RESULTS = ["bulk_unprocessed", "bulk_failed", "bulk_successful"]


there = salesforce_examples.there


async def bulk(there: Org, count: int, **values: Any) -> list[Outcome]:  # noqa: ANN401 - settings
    connector = there.world.connector(**{"bulk_from": 5, **values})
    return await there.world.deliver(*many(count), connector=connector)


@pytest.mark.parametrize(
    ("count", "bulk_from", "step"),
    [
        (1, 5, "upsert"),
        (4, 5, "upsert_collection"),
        (5, 5, "bulk_start"),
        (7, 5, "bulk_start"),
        (7, 0, "upsert_collection"),
    ],
)
async def test_the_number_of_new_records_alone_decides_how_they_go(
    there: Org, count: int, bulk_from: int, step: str
) -> None:
    outcomes = await bulk(there, count, bulk_from=bulk_from)
    writes = {"upsert", "upsert_collection", "bulk_start"} & set(there.steps())
    assert writes == {step}
    assert all(isinstance(one, Delivered) and one.created for one in outcomes)
    by_key = {case["Fieldline_Key__c"]: case["Id"] for case in there.cases()}
    assert [one.target_id for one in outcomes if isinstance(one, Delivered)] == [
        by_key[told.id] for told in many(count)
    ]


async def test_rows_are_matched_by_key_and_refused_one_by_one(there: Org) -> None:
    told = many(6)
    there.world.far.errors(
        {"code": "UNABLE_TO_LOCK_ROW", "key": told[0].id},
        {"code": "STRING_TOO_LONG", "key": told[4].id},
    )
    outcomes = await bulk(there, 6)
    assert there.steps() == ["read", *BULK, "bulk_poll", "bulk_poll", *RESULTS]
    assert isinstance(outcomes[0], Retryable)
    assert (outcomes[0].code, outcomes[0].scope) == ("salesforce.row_locked", Scope.ITEM)
    assert isinstance(outcomes[4], Rejected)
    assert outcomes[4].code == "salesforce.string_too_long"
    assert sum(isinstance(one, Delivered) for one in outcomes) == 4


async def test_a_bulk_row_has_the_same_fields_as_a_single_record(there: Org) -> None:
    there.add("Account", Name="Acme", Customer_Id__c="C-1")
    values: dict[str, Any] = {"account_external_id_field": "Customer_Id__c"}
    await bulk(there, 5, **values)
    in_bulk = there.cases()
    there.world.far.clear()
    there.add("Account", Name="Acme", Customer_Id__c="C-1")
    for told in many(5):
        await there.world.deliver(told, connector=there.world.connector(**values))
    made = {"Id", "CaseNumber", "AccountId", "CreatedDate", "LastModifiedDate", "SystemModstamp"}

    def lasting(cases: list[dict[str, object]]) -> dict[object, dict[str, object]]:
        return {
            case["Fieldline_Key__c"]: {k: v for k, v in case.items() if k not in made}
            for case in cases
        }

    assert lasting(in_bulk) == lasting(there.cases())
    assert all(case["AccountId"] for case in in_bulk)


async def test_sent_again_nothing_is_made_twice_and_no_job_begins(there: Org) -> None:
    await bulk(there, 6)
    there.world.calls.clear()
    outcomes = await bulk(there, 6)
    assert there.steps() == ["read"]
    assert all(isinstance(one, Delivered) and not one.created for one in outcomes)
    assert len(there.cases()) == 6


async def test_a_job_that_does_not_end_is_aborted_and_unknown_then_done_again(there: Org) -> None:
    there.sandbox.rest.jobs.stuck = True
    outcomes = await bulk(there, 6, bulk_polls=3)
    assert {type(one) for one in outcomes} == {Unknown}
    assert {one.code for one in outcomes if isinstance(one, Unknown)} == {
        "salesforce.bulk_unfinished"
    }
    assert there.steps() == ["read", *BULK, *["bulk_poll"] * 3, "bulk_abort"]
    assert [job.state for job in there.sandbox.rest.jobs.jobs.values()] == ["Aborted"]
    there.sandbox.rest.jobs.stuck = False
    assert all(isinstance(one, Delivered) for one in await bulk(there, 6))
    assert len(there.cases()) == 6


async def test_a_job_that_went_on_though_nobody_waited_is_found(there: Org) -> None:
    there.sandbox.rest.jobs.lag = 100
    assert {type(one) for one in await bulk(there, 6, bulk_polls=2)} == {Unknown}
    assert all(isinstance(one, Delivered) and not one.created for one in await bulk(there, 6))
    assert len(there.cases()) == 6


async def test_a_job_that_fails_as_a_whole_blames_no_event(
    there: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {k: v for k, v in OBJECTS["Case"].items() if k != "Fieldline_Snapshot__c"}
    monkeypatch.setattr(jobs, "OBJECTS", {**OBJECTS, "Case": columns})
    for one in await bulk(there, 5):
        assert isinstance(one, Retryable)
        assert (one.code, one.scope) == ("salesforce.bulk_unprocessed", Scope.SYSTEM)
    assert there.cases() == []


async def test_an_account_that_is_not_there_is_refused_in_a_job_too(there: Org) -> None:
    outcomes = await bulk(there, 5, account_external_id_field="Customer_Id__c")
    assert [one.code for one in outcomes if isinstance(one, Rejected)] == [
        "salesforce.invalid_field"
    ] * 5


@pytest.mark.parametrize("step", ["bulk_create", "bulk_upload"])
@pytest.mark.parametrize(
    "reply",
    [httpx.Response(500), httpx.Response(200, text="<html>"), httpx.ReadTimeout("slow")],
)
def test_before_the_job_is_started_nothing_can_have_been_taken(
    step: str, reply: httpx.Response | httpx.TransportError
) -> None:
    replies = [reply] if step == "bulk_create" else [httpx.Response(200, json={"id": JOB}), reply]
    outcomes, calls = talk(many(5), READ, *replies, bulk_from=5)
    assert steps(calls)[-1] == step
    assert all(isinstance(one, Retryable) and one.scope is Scope.SYSTEM for one in outcomes)


def started(*more: Reply) -> list[Reply]:
    state = httpx.Response(200, json={"id": JOB, "state": "UploadComplete"})
    return [READ, httpx.Response(200, json={"id": JOB}), httpx.Response(201), state, *more]


def test_an_answer_to_the_start_that_is_lost_is_unknown() -> None:
    replies = started()[:-1]
    outcomes, _ = talk(many(5), *replies, httpx.ReadError("gone"), bulk_from=5)
    assert {type(one) for one in outcomes} == {Unknown}


def test_rows_that_salesforce_did_not_come_to_are_sent_again_later() -> None:
    told = many(5)
    left = csv_of([{"Fieldline_Key__c": one.id} for one in told[1:4]])
    made = csv_of([{"sf__Id": JOB, "sf__Created": "true", "Fieldline_Key__c": told[0].id}])
    replies = started(
        httpx.Response(200, json={"id": JOB, "state": "Failed", "errorMessage": "too many"}),
        httpx.Response(200, content=left),
        httpx.Response(500),
        httpx.Response(200, content=made),
    )
    outcomes, calls = talk(told, *replies, bulk_from=5)
    assert steps(calls)[-3:] == RESULTS
    assert [type(one) for one in outcomes] == [Delivered, *[Retryable] * 3, Unknown]
    assert outcomes[1].code == "salesforce.bulk_unprocessed"
    assert outcomes[4].code == "salesforce.bulk_silent"


def test_a_state_that_nobody_knows_is_not_waited_for() -> None:
    odd = httpx.Response(200, json={"state": "Thinking"})
    outcomes, calls = talk(many(5), *started(odd, httpx.Response(200)), bulk_from=5)
    assert steps(calls)[-2:] == ["bulk_poll", "bulk_abort"]
    assert {type(one) for one in outcomes} == {Unknown}


# -- CSV

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), TEXT, min_size=1), min_size=1, max_size=8))
def test_a_csv_is_read_back_as_it_was_written(rows: list[dict[str, str]]) -> None:
    names = {name for row in rows for name in row}
    assert rows_of(csv_of(rows)) == [{name: row.get(name, "") for name in names} for row in rows]
    text = io.StringIO(csv_of(rows).decode(), newline="")
    assert len(list(csv.reader(text))) == len(rows) + 1


@given(st.binary(max_size=200))
def test_no_answer_of_a_job_raises(content: bytes) -> None:
    assert isinstance(rows_of(content), list)


@given(st.lists(st.text(max_size=50), max_size=40), st.integers(10, 200))
@example(["", "", '"', "x", "x"], 31)
def test_jobs_are_cut_to_size_and_lose_no_row(texts: list[str], most: int) -> None:
    rows = [{"a": text, "n": str(n)} for n, text in enumerate(texts)]
    cut = list(pieces(rows, most))
    assert [row for piece in cut for row in piece] == rows
    for piece in cut:
        assert len(piece) == 1 or len(csv_of(piece)) <= most + len(b'"a","n"\n')
