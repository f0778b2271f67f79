"""What is special to Odoo, against its sandbox: rows of one load, people's changes, settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.odoo.config import OdooSettings
from connectors.odoo.mapping import as_html, equipment_id
from connectors.odoo.protocol import OdooConnector
from connectors.settings import make
from connectors.system import OPEN
from pipeline.core.events import Action, Severity
from pipeline.core.outcome import Delivered, Rejected, Retryable, Scope
from pipeline.core.registry import DeviceRecord
from pipeline.settings import SettingsError
from tests.contract.cases.odoo import CASE
from tests.contract.world import World, event, many, story
from tests.sandboxes.box import boxed
from tests.sandboxes.odoo import API_KEY, DATABASE, READER_KEY, Odoo

REQUESTS, EQUIPMENTS = "maintenance.request", "maintenance.equipment"


@pytest.fixture
def sandbox() -> Odoo:
    """The far end itself, to look into and to change as its people do."""
    return Odoo()


@pytest.fixture
def world(sandbox: Odoo) -> Iterator[World]:
    """The sandbox served."""
    with boxed(sandbox) as far:
        yield World(CASE, far)


def called(equipment: str) -> DeviceRecord:
    """The registry's row where the identity map has a name for the equipment."""
    return replace(CASE.record, ids={"odoo.equipment": equipment})


def rows(sandbox: Odoo, model: str) -> list[dict[str, Any]]:
    return list(sandbox.db.rows[model].values())


def by_person(sandbox: Odoo, **values: Any) -> None:  # noqa: ANN401 - any field
    """A person changes the only request there is."""
    [row] = rows(sandbox, REQUESTS)
    row.update(values)


# -- rows of one load


async def test_thirty_rows_with_a_dozen_bad_ones_deliver_all_the_others(world: World) -> None:
    """After ten errors Odoo tells of no more, and it blames row 0 for the first of all."""
    told = many(30)
    bad = {n for n in range(30) if n % 5 in {1, 2}}
    world.far.errors(
        *(
            {"code": "odoo.exceptions.ValidationError", "key": told[n].id, "times": None}
            for n in bad
        )
    )
    outcomes = await world.deliver(*told)
    assert {n for n, one in enumerate(outcomes) if isinstance(one, Rejected)} == bad
    assert sum(isinstance(one, Delivered) for one in outcomes) == 30 - len(bad)
    assert len(world.creates()) == 30 - len(bad)


async def test_where_the_system_fails_midway_the_rest_was_not_sent(world: World) -> None:
    told = many(4)
    world.far.errors({"code": "odoo.exceptions.ValidationError", "key": told[1].id, "times": None})
    world.far.faults(CASE.on_write(status=503, skip=2, times=None))
    outcomes = await world.deliver(*told)
    assert isinstance(outcomes[2], Delivered), "what no message blamed went together"
    assert isinstance(outcomes[0], Retryable), "row 0 was blamed, and was to be tried alone"
    assert isinstance(outcomes[1], Retryable)
    assert len(world.creates()) == 2


async def test_a_refusal_says_odoos_words_and_no_traceback(world: World) -> None:
    told = event(severity=Severity.INFO)
    world.far.errors({"code": "psycopg2.errors.NotNullViolation", "key": told.id, "times": None})
    [outcome] = await world.deliver(told)
    assert isinstance(outcome, Rejected)
    assert outcome.message == "Odoo: Missing required value for the field 'Subjects' (name)."
    assert "Traceback" not in repr(outcome)


async def test_for_want_of_rights_the_sink_halts_and_nothing_is_rejected(world: World) -> None:
    connector = world.connector(api_key=READER_KEY)
    [outcome] = await world.deliver(event(), connector=connector)
    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.scope) == ("odoo.no_rights", Scope.SYSTEM)
    exchange = await world.hold(connector.check())
    told = {one.what: one.ok for one in exchange.result or ()}
    assert told["credentials"] is True
    assert told[f"create {REQUESTS}"] is False
    assert told["read ir.model.data"] is True


# -- equipment


async def test_equipment_is_made_once_with_its_serial_number_and_site(
    world: World, sandbox: Odoo
) -> None:
    await world.deliver(event("a"))
    await world.deliver(event("b"))
    [equipment] = rows(sandbox, EQUIPMENTS)
    assert (equipment["serial_no"], equipment["name"]) == ("TRK-1", "Reefer truck 1")
    assert (equipment["location"], equipment["note"]) == ("Ghent", "<p>Acme Cold Chain</p>")
    assert [row["equipment_id"] for row in rows(sandbox, REQUESTS)] == [1, 1]


async def test_equipment_that_people_registered_is_used_also_when_archived(
    world: World, sandbox: Odoo
) -> None:
    own = sandbox.db.insert(EQUIPMENTS, {"name": "By hand", "serial_no": "TRK-1", "active": False})
    await world.deliver(event())
    assert [row["name"] for row in rows(sandbox, EQUIPMENTS)] == ["By hand"]
    assert [row["equipment_id"] for row in rows(sandbox, REQUESTS)] == [own]


@pytest.mark.parametrize("name", ["2", "acme.truck"])
async def test_the_identity_map_names_the_equipment(world: World, sandbox: Odoo, name: str) -> None:
    for n in (1, 2):
        sandbox.db.insert(EQUIPMENTS, {"name": f"No. {n}", "serial_no": f"S{n}"})
    sandbox.db.name("acme.truck", EQUIPMENTS, 2, noupdate=False)
    [outcome] = await world.deliver(event(), record=called(name))
    assert isinstance(outcome, Delivered)
    assert [row["equipment_id"] for row in rows(sandbox, REQUESTS)] == [2]
    assert len(rows(sandbox, EQUIPMENTS)) == 2


@pytest.mark.parametrize("name", ["acme.gone", "no-name-of-odoo", "maintenance.stage_0"])
async def test_equipment_that_the_identity_map_names_and_odoo_lacks_is_for_a_person(
    world: World, name: str
) -> None:
    [outcome] = await world.deliver(event(), record=called(name))
    assert isinstance(outcome, Rejected)
    assert outcome.code == "odoo.no_equipment"
    assert not world.ops()


async def test_a_number_that_is_no_equipment_is_refused_by_odoo(world: World) -> None:
    [outcome] = await world.deliver(event(), record=called("77"))
    assert isinstance(outcome, Rejected)
    assert "database id '77'" in outcome.message


# -- people


async def test_who_comes_second_leaves_what_people_wrote_meanwhile(
    world: World, sandbox: Odoo
) -> None:
    """Both have looked and found nothing; the other is faster, and a person renames the request."""
    slow = world.connector().deliver([world.delivery(event())])
    call = next(slow)
    async with httpx.AsyncClient(trust_env=False) as client:
        while call.step != "create_request":
            call = slow.send(await client.send(call.request))
        await world.deliver(event())
        by_person(sandbox, name="Ann goes there", stage_id=2)
        reply = await client.send(call.request)
    with pytest.raises(StopIteration) as end:
        slow.send(reply)
    assert isinstance(end.value.value[0], Delivered)
    [row] = rows(sandbox, REQUESTS)
    assert (row["name"], row["stage_id"]) == ("Ann goes there", 2)


async def test_a_request_that_somebody_has_taken_on_is_told_and_stays_open(
    world: World, sandbox: Odoo
) -> None:
    raised, _, clear, _ = story()
    await world.deliver(raised)
    by_person(sandbox, stage_id=2)
    [outcome] = await world.deliver(clear)
    assert isinstance(outcome, Delivered)
    assert [row["stage_id"] for row in rows(sandbox, REQUESTS)] == [2]
    [note] = rows(sandbox, "mail.message")
    assert (note["model"], note["subject"]) == (REQUESTS, "The trouble is over")
    assert "Coolant at 90 °C" in note["body"]


async def test_an_update_opens_what_is_closed_but_nothing_that_was_put_away(
    world: World, sandbox: Odoo
) -> None:
    raised, update, _, again = story()
    await world.deliver(raised)
    by_person(sandbox, stage_id=3)
    await world.deliver(update)
    assert [row["stage_id"] for row in rows(sandbox, REQUESTS)] == [1]
    by_person(sandbox, stage_id=3, archive=True)
    await world.deliver(again)
    assert [(row["stage_id"], row["archive"]) for row in rows(sandbox, REQUESTS)] == [(3, True)]
    assert len(rows(sandbox, "mail.message")) == 2


async def test_a_graver_trouble_is_a_higher_priority(world: World, sandbox: Odoo) -> None:
    raised = event(severity=Severity.WARNING)
    await world.deliver(raised)
    assert [row["priority"] for row in rows(sandbox, REQUESTS)] == ["2"]
    await world.deliver(event("worse", action=Action.UPDATE, entity_id=raised.id))
    assert [row["priority"] for row in rows(sandbox, REQUESTS)] == ["3"]


async def test_requests_are_closed_by_putting_them_away_where_that_is_wanted(
    world: World, sandbox: Odoo
) -> None:
    connector = world.connector(close_by="archive")
    raised, _, clear, again = story()
    seen = []
    for one in (raised, clear, again):
        await world.deliver(one, connector=connector)
        seen += [(row["stage_id"], row["archive"]) for row in rows(sandbox, REQUESTS)]
    assert seen == [(1, False), (1, True), (1, False)]


# -- settings


async def test_a_stage_that_is_not_there_halts_and_says_which_setting(world: World) -> None:
    connector = world.connector(done_stage="maintenance.no_such")
    for one in (await world.deliver(event(), connector=connector))[:1]:
        assert isinstance(one, Retryable)
        assert (one.code, one.scope) == ("odoo.no_stage", Scope.SYSTEM)
        assert "ODOO_DONE_STAGE" in one.message
    exchange = await world.hold(connector.check())
    assert [one.what for one in exchange.result or () if one.ok is False] == ["stages"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"url": "https://h", "api": "jsonrpc"}, "database"),
        ({"url": "https://h", "open_stage": "New Request"}, "open_stage"),
        ({"url": "http://odoo.example"}, "url"),
        ({"url": "https://h/odoo"}, "url"),
    ],
)
def test_unusable_settings_are_refused_with_the_mend(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        make(OdooSettings, values)


def test_no_secret_is_in_a_repr() -> None:
    settings = make(OdooSettings, {"url": "https://h", "api_key": API_KEY, "database": DATABASE})
    connector = OdooConnector(settings, OPEN, lambda: 0.0)
    for thing in (settings, connector, vars(connector)):
        assert API_KEY not in repr(thing)


@given(st.text(), st.text())
def test_external_ids_are_safe_and_never_shared(one: str, other: str) -> None:
    names = [equipment_id(text) for text in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    for name in names:
        module, dot, rest = name.partition(".")
        assert (module, dot) == ("__fieldline__", ".")
        assert rest.isascii()
        assert rest.replace("_", "").replace("-", "").isalnum()


@given(st.text())
def test_html_fields_show_texts_as_they_are(text: str) -> None:
    shown = str(as_html(text))
    assert shown.startswith("<p>")
    inner = shown.removeprefix("<p>").removesuffix("</p>").replace("<br/>", "")
    assert "<" not in inner
    assert ">" not in inner
