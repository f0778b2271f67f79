"""Documents by CMIS: bytes, versions, working copies, folders, and repositories that differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Delivery
from connectors.dms.config import DmsSettings
from connectors.dms.mapping import documents_of
from connectors.settings import make as make_settings
from connectors.system import OPEN
from pipeline.core.events import Action
from pipeline.core.outcome import Delivered, Rejected, Retryable, Scope
from pipeline.settings import SettingsError
from tests.contract.cases.dms import CASE
from tests.contract.world import World, event, story
from tests.sandboxes.box import Box
from tests.sandboxes.dms import OTHER, PASSWORD, USERNAME, Dms, Series, make
from tests.sandboxes.serve import running

URL = "https://dms.example/browser"


@pytest.fixture
def far() -> Iterator[tuple[Dms, World]]:
    sandbox = make()
    with running(sandbox) as url, httpx.Client(trust_env=False) as client:
        yield sandbox, World(CASE, Box(url, client))


def settings(**values: Any) -> DmsSettings:  # noqa: ANN401 - any setting
    return make_settings(DmsSettings, {"url": URL, "username": "u", **values})


def delivery(**changes: Any) -> Delivery:  # noqa: ANN401 - any field of an event
    told = event(**changes)
    return Delivery(event=told, key=told.id, record=CASE.record)


def report(sandbox: Dms) -> Series:
    [found] = [s for path, s in sandbox.documents.items() if path.endswith("-report.json")]
    return found


# -- what is in them


@pytest.mark.parametrize("form", ["json", "pdf"])
def test_the_same_event_makes_the_same_bytes_and_names(form: str) -> None:
    first, again = (documents_of(delivery(), OPEN, settings(format=form)) for _ in range(2))
    assert first == again
    assert not isinstance(first, Rejected)
    assert [one.name for one in first] == [
        f"{event().id}-snapshot.{form}",
        f"{event().id}-report.{form}",
    ]
    starts = {"json": b"{", "pdf": b"%PDF-"}[form]
    assert all(one.content.startswith(starts) for one in first)


def test_a_pdf_is_dated_by_the_event_and_holds_what_its_fonts_cannot_show() -> None:
    told = delivery(summary="Überhitzung 過熱 €", occurred_at_ms=1_795_257_000_250)
    made = documents_of(told, OPEN, settings(format="pdf"))
    assert not isinstance(made, Rejected)
    assert b"/CreationDate (D:20261121103000Z)" in made[-1].content
    assert b"/EmbeddedFile" in made[-1].content
    plain = documents_of(told, OPEN, settings())
    assert not isinstance(plain, Rejected)
    assert json.loads(plain[-1].content)["summary"] == "Überhitzung 過熱 €"


@given(text=st.text(max_size=300), values=st.lists(st.floats(), max_size=5))
def test_every_event_has_documents_in_either_form(text: str, values: list[float]) -> None:
    entries = tuple(replace(event().snapshot[0], metric=text, value=value) for value in values)
    told = delivery(summary=text, snapshot=entries, detector=text)
    for form in ("json", "pdf"):
        made = documents_of(told, OPEN, settings(format=form))
        assert not isinstance(made, Rejected)
        assert len(made) == (2 if values else 1)


def test_retention_is_a_class_by_a_secondary_type_and_a_date_where_days_are_set() -> None:
    made = documents_of(delivery(), OPEN, settings(retention_days=10))
    assert not isinstance(made, Rejected)
    assert made[0].secondary == ("fieldline:retention", "cmis:rm_clientMgtRetention")
    assert made[0].properties["fieldline:retentionClass"] == "service-10y"
    until = event().occurred_at_ms + 10 * 86_400_000
    assert made[0].properties["cmis:rm_expirationDate"] == until
    none = documents_of(delivery(), OPEN, settings(retention_class=""))
    assert not isinstance(none, Rejected)
    assert none[0].secondary == ()


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "", "x" * 65, "a b", "a."])
def test_a_key_or_tenant_that_is_no_name_is_refused_before_anything_is_sent(name: str) -> None:
    for told in (delivery(tenant=name), replace(delivery(id=name or "?"), key=name or "?")):
        made = documents_of(told, OPEN, settings())
        assert isinstance(made, Rejected)
        assert made.code in {"mapping.unusable", "mapping.missing"}


# -- versions


async def test_each_change_is_a_version_and_all_earlier_ones_stay(far: tuple[Dms, World]) -> None:
    sandbox, world = far
    told = story()
    for one in told:
        [made] = await world.deliver(one)
        assert made == Delivered(target_id=report(sandbox).id, created=True)
    versions = report(sandbox).versions
    assert [one.label for one in versions] == ["1.0", "2.0", "3.0", "4.0"]
    states = [one.properties["fieldline:state"] for one in versions]
    assert states == ["open", "open", "closed", "open"]
    assert [json.loads(one.content)["summary"] for one in versions] == [e.summary for e in told]
    retained = [one.properties["fieldline:retentionClass"] for one in versions]
    assert retained == ["service-10y"] * 4
    assert report(sandbox).working is None


async def test_an_older_change_makes_no_version_after_a_newer_one(far: tuple[Dms, World]) -> None:
    sandbox, world = far
    raised, update, clear, _ = story()
    await world.deliver(raised)
    await world.deliver(clear)
    [late] = await world.deliver(update)
    assert late == Delivered(target_id=report(sandbox).id, created=False)
    assert len(report(sandbox).versions) == 2


async def test_a_working_copy_of_a_worker_that_died_is_used_again(far: tuple[Dms, World]) -> None:
    sandbox, world = far
    raised, update, _, _ = story()
    await world.deliver(raised)
    world.far.faults({"method": "POST", "body": "checkIn", "status": 503, "times": 1})
    [put_off] = await world.deliver(update)
    assert isinstance(put_off, Retryable)
    assert [s for s in sandbox.documents.values() if s.working is not None]
    [made] = await world.deliver(update)
    assert isinstance(made, Delivered)
    assert len(report(sandbox).versions) == 2
    assert not [s for s in sandbox.documents.values() if s.working is not None]


async def test_a_document_that_a_person_has_checked_out_waits_and_is_left_alone(
    far: tuple[Dms, World],
) -> None:
    sandbox, world = far
    raised, update, _, _ = story()
    await world.deliver(raised)
    form = {"cmisaction": "checkOut", "objectId": report(sandbox).id}
    async with httpx.AsyncClient(auth=OTHER, trust_env=False) as clerk:
        done = await clerk.post(f"{world.far.url}/browser/main/root", data=form)
    assert done.status_code == 201
    [held] = await world.deliver(update)
    assert isinstance(held, Retryable)
    assert (held.code, held.scope) == ("dms.checked_out", Scope.ITEM)
    assert report(sandbox).by == OTHER[0]
    assert len(report(sandbox).versions) == 1


@pytest.mark.parametrize("step", ["checkOut", "checkIn"])
async def test_a_version_that_was_taken_and_then_the_connection_lost_comes_once(
    far: tuple[Dms, World], step: str
) -> None:
    sandbox, world = far
    raised, update, _, _ = story()
    await world.run([raised])
    world.far.faults({"method": "POST", "body": step, "mode": "drop_after", "times": 1})
    await world.run([update])
    assert len(report(sandbox).versions) == 2


async def test_a_snapshot_that_was_deleted_is_made_anew_by_the_next_change(
    far: tuple[Dms, World],
) -> None:
    sandbox, world = far
    raised, update, _, _ = story()
    await world.deliver(raised)
    path = next(p for p in sandbox.documents if "snapshot" in p)
    del sandbox.documents[path]
    [made] = await world.deliver(update)
    assert isinstance(made, Delivered)
    assert path in sandbox.documents


@pytest.mark.parametrize(("action", "final"), [(Action.UPDATE, False), (Action.CLEAR, True)])
async def test_a_change_without_a_report_is_refused_and_a_clear_for_good(
    far: tuple[Dms, World], action: Action, *, final: bool
) -> None:
    _, world = far
    [told] = await world.deliver(event("x", action=action, entity_id="never", snapshot=()))
    assert isinstance(told, Rejected)
    assert (told.code, told.final) == ("dms.no_record", final)


# -- repositories


async def test_it_is_found_by_query_too(far: tuple[Dms, World]) -> None:
    _, world = far
    await world.deliver(event())
    where = f"WHERE fieldline:key = '{event().id}'"
    asked = {"cmisselector": "query", "q": f"SELECT * FROM fieldline:serviceReport {where}"}  # noqa: S608 - CMIS's own language, to a sandbox
    async with httpx.AsyncClient(auth=(USERNAME, PASSWORD), trust_env=False) as clerk:
        found = (await clerk.get(f"{world.far.url}/browser/main", params=asked)).json()
    assert found["numItems"] == 1
    assert found["results"][0]["succinctProperties"]["fieldline:customer"] == "C-1"


async def test_a_repository_that_renames_instead_of_refusing_is_found_out(
    far: tuple[Dms, World],
) -> None:
    _, world = far
    answer = {"succinctProperties": {"cmis:name": "x (1).json", "cmis:versionSeriesId": "s1"}}
    world.far.faults(world.case.on_write(status=201, body_text=json.dumps(answer), times=None))
    [told] = await world.deliver(event())
    assert isinstance(told, Rejected)
    assert told.code == "dms.renamed"


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"a": {}, "b": {}},
        {
            "main": {
                "repositoryUrl": "http://127.0.0.1:9/x",
                "rootFolderUrl": "http://127.0.0.1:9/x",
            }
        },
        {"main": {"repositoryUrl": 1, "rootFolderUrl": None}},
        {"main": "x"},
        {"main": {"repositoryUrl": "http://[", "rootFolderUrl": "http://["}},
    ],
)
async def test_a_service_document_without_our_repository_or_that_leads_elsewhere_stops_all(
    far: tuple[Dms, World], told: dict[str, Any]
) -> None:
    _, world = far
    body = json.dumps(told)
    world.far.faults(
        {"method": "GET", "path": "/browser$", "body_text": body, "status": 200, "times": None}
    )
    [outcome] = await world.deliver(event())
    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.scope) == ("dms.repository", Scope.SYSTEM)
    assert not world.writes()


async def test_a_user_and_password_are_good_too_and_wrong_ones_reject_nothing(
    far: tuple[Dms, World],
) -> None:
    sandbox, world = far
    basic: dict[str, Any] = {
        "token_url": "",
        "client_id": "",
        "username": USERNAME,
        "password": PASSWORD,
    }
    [made] = await world.deliver(event(), connector=world.connector(**basic))
    assert isinstance(made, Delivered)
    basic["password"] = "no"
    wrong = world.connector(**basic)
    [told] = await world.deliver(event("b"), connector=wrong)
    assert isinstance(told, Retryable)
    assert (told.code, told.scope) == ("dms.unauthorized", Scope.SYSTEM)
    sandbox.expire()
    bad = world.connector(client_secret="no")
    [token] = await world.deliver(event("c"), connector=bad)
    assert isinstance(token, Retryable)
    assert token.code == "dms.credentials"


async def test_a_check_names_the_type_that_is_missing(far: tuple[Dms, World]) -> None:
    _, world = far
    other = world.connector(report_type="acme:report")
    exchange = await world.hold(other.check())
    lines = {one.what: one.ok for one in exchange.result or ()}
    assert lines["type acme:report"] is False
    assert lines["type fieldline:telemetrySnapshot"] is True
    assert lines["writing"] is None


@pytest.mark.parametrize(
    "values",
    [
        {"url": "http://dms.example"},
        {"folder": "relative"},
        {"folder": "/a/../b"},
        {"format": "docx"},
        {"binding": "atompub"},
        {"token_url": "https://x.example/token"},
        {"report_type": "report' OR 1"},
        {"retention_days": -1},
    ],
)
def test_settings_that_cannot_be_used_are_told_in_a_sentence(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"^Correct "):
        settings(**values)
