"""Documents by WebDAV, driven over a real socket: once, in order, with properties, and refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dms.answers import DAV_STATUSES, STATUSES
from connectors.dms.webdav import _patched, _propstats
from connectors.jobs import Final
from pipeline.core.outcome import Delivered, Found, NotFound, Rejected, Retryable, Scope, Unknown
from tests.contract.case import Means, means
from tests.contract.cases.dms import CASE
from tests.contract.world import World, event, story
from tests.sandboxes.box import Box
from tests.sandboxes.serve import running
from tests.sandboxes.webdav import PASSWORD, ROOT, SPACE, USERNAME, Webdav, make


class DavWorld(World):
    """The suite's world, with the other binding's settings."""

    def values(self) -> dict[str, Any]:
        """The connector's settings."""
        return {
            "binding": "webdav",
            "url": f"{self.far.url}{ROOT}",
            "username": USERNAME,
            "password": PASSWORD,
        }


@pytest.fixture
def far() -> Iterator[tuple[Webdav, DavWorld]]:
    sandbox = make()
    with running(sandbox) as url, httpx.Client(trust_env=False) as client:
        yield sandbox, DavWorld(CASE, Box(url, client))


def names(sandbox: Webdav) -> list[str]:
    """Files, by name alone."""
    return sorted(p.rpartition("/")[2] for p, r in sandbox.resources.items() if r.content)


def property_of(sandbox: Webdav, name: str, tag: str) -> str | None:
    [found] = [r for p, r in sandbox.resources.items() if p.endswith(name)]
    return found.dead.get(f"{{{SPACE}}}{tag}")


def put(**fault: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of knobs.Fault
    return {"method": "PUT", "times": None, **fault}


async def test_an_event_makes_folders_two_resources_and_their_properties(
    far: tuple[Webdav, DavWorld],
) -> None:
    sandbox, world = far
    told = event()
    [made] = await world.deliver(told)
    own = f"{told.id}-report.json"
    assert made == Delivered(target_id=f"fieldline/acme/{own}", created=True)
    assert names(sandbox) == [own, f"{told.id}-snapshot.json"]
    assert property_of(sandbox, own, "fieldline-retentionClass") == "service-10y"
    assert property_of(sandbox, own, "fieldline-occurredAt") == "2026-11-21T10:30:00.250Z"
    [again] = await world.deliver(told)
    assert again == Delivered(target_id=f"fieldline/acme/{own}", created=False)
    assert len([e for e in sandbox.journal.effects if e.kind == "resource"]) == 2


async def test_changes_are_resources_of_their_own_and_the_raised_one_shows_the_state(
    far: tuple[Webdav, DavWorld],
) -> None:
    sandbox, world = far
    told = story()
    ends = await world.run(told)
    assert [end.final for end in ends] == [Final.DELIVERED] * 4
    head = f"{told[0].id}-report.json"
    assert property_of(sandbox, head, "fieldline-state") == "open"
    assert property_of(sandbox, head, "fieldline-version") == told[3].version
    assert len([n for n in names(sandbox) if "-report" in n]) == 4
    ops = [e.op for e in sandbox.journal.effects if e.kind == "properties" and e.key.endswith(head)]
    assert ops == ["update", "update", "close", "reopen"]
    [late] = await world.deliver(told[1])
    assert isinstance(late, Delivered)
    assert not late.created


@pytest.mark.parametrize("method", ["MKCOL", "PUT", "PROPPATCH"])
@pytest.mark.parametrize("mode", ["drop_before", "drop_after", "hang"])
async def test_a_lost_connection_leaves_each_resource_once_and_whole(
    far: tuple[Webdav, DavWorld], method: str, mode: str
) -> None:
    sandbox, world = far
    world.far.faults({"method": method, "mode": mode, "times": 2 if mode != "hang" else 1})
    [end] = await world.run([event()])
    assert end.final is Final.DELIVERED
    assert len([e for e in sandbox.journal.effects if e.kind == "resource"]) == 2
    assert property_of(sandbox, f"{event().id}-report.json", "fieldline-key") == event().id


async def test_two_workers_without_a_common_ledger_leave_one_of_each(
    far: tuple[Webdav, DavWorld],
) -> None:
    sandbox, world = far
    await world.run([event()], workers=2, own_ledgers=True)
    made = [e for e in sandbox.journal.effects if e.kind == "resource"]
    assert [e.op for e in made] == ["create", "create"]


async def test_it_is_looked_up_by_path(far: tuple[Webdav, DavWorld]) -> None:
    _, world = far
    raised, update, _, _ = story()
    [sent] = await world.deliver(raised)
    assert isinstance(sent, Delivered)
    found = await world.look_up(raised, event("not there"), update)
    assert found == [Found(target_id=sent.target_id), NotFound(), NotFound()]
    await world.deliver(update)
    assert await world.look_up(update) == [Found(target_id=sent.target_id)]


async def test_a_change_without_a_report_is_refused(far: tuple[Webdav, DavWorld]) -> None:
    _, world = far
    [told] = await world.deliver(story()[1])
    assert isinstance(told, Rejected)
    assert told.code == "dms.no_record"


MEANS = {
    400: Means.REJECTED,
    401: Means.SYSTEM,
    403: Means.SYSTEM,
    404: Means.REJECTED,
    405: Means.SYSTEM,
    409: Means.ITEM,
    412: Means.ITEM,
    413: Means.REJECTED,
    415: Means.REJECTED,
    418: Means.UNKNOWN,
    423: Means.ITEM,
    424: Means.ITEM,
    429: Means.SYSTEM,
    500: Means.SYSTEM,
    502: Means.SYSTEM,
    503: Means.SYSTEM,
    504: Means.SYSTEM,
    507: Means.SYSTEM,
    299: Means.UNKNOWN,
}


@pytest.mark.parametrize(("status", "wanted"), MEANS.items())
async def test_every_status_of_a_put_means_what_the_table_says(
    far: tuple[Webdav, DavWorld], status: int, wanted: Means
) -> None:
    _, world = far
    world.far.faults(put(status=status))
    [told] = await world.deliver(event())
    assert means(told) is wanted, told
    known = {row.when: row.code for row in DAV_STATUSES}
    assert not isinstance(told, Delivered)
    assert told.code == known.get(str(status), "dms.unexpected_answer")


def test_every_row_of_the_table_is_caused_here() -> None:
    assert {int(row.when) for row in DAV_STATUSES} <= set(MEANS)
    assert set(STATUSES) <= set(DAV_STATUSES)


@pytest.mark.parametrize(("status", "wanted"), [(507, Means.SYSTEM), (423, Means.ITEM)])
async def test_a_207_that_refuses_one_property_refuses_the_document_for_that_reason(
    far: tuple[Webdav, DavWorld], status: int, wanted: Means
) -> None:
    sandbox, world = far
    sandbox.refused_properties = {"fieldline-asset": status}
    [told] = await world.deliver(event())
    assert means(told) is wanted, told
    sandbox.refused_properties = {}
    [made] = await world.deliver(event())
    assert isinstance(made, Delivered)
    assert len([e for e in sandbox.journal.effects if e.kind == "resource"]) == 2


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_no_secret_is_told_of_an_answer_that_repeats_the_request(
    far: tuple[Webdav, DavWorld], status: int
) -> None:
    _, world = far
    world.far.faults(put(mode="echo", status=status))
    [told] = await world.deliver(event())
    sent = world.calls[-1].request.headers["authorization"]
    assert sent.partition(" ")[2] not in repr(told)
    assert PASSWORD not in repr(told)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaa">]>'
    '<D:multistatus xmlns:D="DAV:"><D:response>&a;</D:response></D:multistatus>'
)


@pytest.mark.parametrize("text", ["", "<", BOMB, "<html/>", '<D:multistatus xmlns:D="DAV:"/>'])
async def test_a_207_that_cannot_be_read_is_no_success(
    far: tuple[Webdav, DavWorld], text: str
) -> None:
    _, world = far
    fault = {"method": "PROPPATCH", "status": 207, "body_text": text, "times": None}
    world.far.faults(fault)
    [told] = await world.deliver(event())
    assert isinstance(told, Unknown)
    world.far.faults(fault | {"method": "PROPFIND"})
    [looked] = await world.look_up(event())
    assert isinstance(looked, Retryable | NotFound)


@given(text=st.binary(max_size=200), status=st.integers(100, 599))
def test_no_answer_whatever_it_holds_raises(text: bytes, status: int) -> None:
    reply = httpx.Response(status, content=text)
    assert _propstats(reply) is None
    assert status in {200, 201, 204} or _patched(reply) is not None


async def test_a_locked_head_puts_a_change_off_and_its_version_comes_once(
    far: tuple[Webdav, DavWorld],
) -> None:
    sandbox, world = far
    raised, update, _, _ = story()
    await world.deliver(raised)
    [head] = [r for p, r in sandbox.resources.items() if p.endswith("-report.json")]
    head.lock = "urn:uuid:somebody"
    [held] = await world.deliver(update)
    assert isinstance(held, Retryable)
    assert (held.code, held.scope) == ("dms.locked", Scope.ITEM)
    head.lock = ""
    [made] = await world.deliver(update)
    assert isinstance(made, Delivered)
    assert made.created
    assert len([n for n in names(sandbox) if "-report." in n]) == 2


async def test_a_check_says_whether_it_speaks_webdav(far: tuple[Webdav, DavWorld]) -> None:
    sandbox, world = far
    good = await world.hold(world.connector().check())
    assert [one.ok for one in good.result or ()] == [True, True, True, None]
    bad = await world.hold(world.connector(password="no").check())
    assert [one.ok for one in bad.result or ()] == [False, None]
    world.far.faults({"method": "OPTIONS", "status": 200, "times": None})
    plain = await world.hold(world.connector().check())
    assert [one.ok for one in plain.result or ()] == [True, False, True, None]
    assert not sandbox.journal.effects
