"""A body of one's own: what the placeholders become, and what is refused at the start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Delivery
from connectors.fields import MASK, OPEN, Policy
from connectors.registry import make_connector
from connectors.webhook.mapping import OF_DATA, to_request
from connectors.webhook.template import Template, load, parse
from pipeline.core.events import Action
from pipeline.core.outcome import Delivered, Rejected
from pipeline.settings import SettingsError
from tests.contract.case import RECORD
from tests.contract.conversation import converse, converse_over
from tests.contract.webhook_examples import answer
from tests.contract.world import event
from tests.sandboxes.box import Box, boxed
from tests.sandboxes.webhook import API_KEY, SECRET, make

URL = "https://hooks.example/tickets/{event.entity}"


def way(record: Any = RECORD, **changes: Any) -> Delivery:  # noqa: ANN401 - any field
    made = event(**changes)
    return Delivery(event=made, key=made.id, record=record)


def body(told: Any, *, policy: Policy = OPEN, one: Delivery | None = None) -> Any:  # noqa: ANN401 - JSON
    made = parse(told, URL).fill(one or way(), policy)
    return made if isinstance(made, Rejected) else made[1]


@pytest.mark.parametrize(
    ("told", "becomes"),
    [
        ("{event.severity}", "critical"),
        ("{event.confidence}", 0.97),
        ("{event.open}", True),
        ("{ids.crm.account}", None),
        ("is {event.open}, {ids.crm.account}", "is true, "),
        ("Asset {asset.id}: {event.metric}", "Asset TRK-1: coolant_c"),
        ("{event.confidence:percent} %", "97.0 %"),
        ("{event.occurred_at}", 1_795_257_000_250),
        ("{event.occurred_at:seconds}", 1_795_257_000.25),
        ("{event.occurred_at:date}", "2026-11-21"),
        ("{{not a place}} {{{event.metric}}}", "{not a place} {coolant_c}"),
        ("", ""),
        (7, 7),
        (None, None),
        ([{"a.b": ["{event.metric}"]}], [{"a.b": ["coolant_c"]}]),
        ({"$from": "event.severity", "map": {"critical": 1, "warning": 2}}, 1),
        ({"$from": "event.severity", "map": {"warning": 2}, "else": 3}, 3),
        ({"$from": "ids.crm.account", "else": "nobody"}, "nobody"),
        ({"$from": "event.detector", "limit": 4, "cut": True}, "lim…"),
    ],
    ids=repr,
)
def test_a_placeholder_becomes_its_value(told: Any, becomes: Any) -> None:  # noqa: ANN401 - JSON
    assert body(told) == becomes


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"$from": "event.severity", "map": {"warning": 2}}, "mapping.unmapped"),
        ({"$from": "event.detector", "limit": 4}, "mapping.too_long"),
        ({"$from": "ids.crm.account", "required": True}, "mapping.missing"),
        ({"$from": "event.summary:iso"}, "mapping.wrong_unit"),
    ],
    ids=repr,
)
def test_a_value_that_does_not_fit_refuses_the_event_and_names_the_place(
    told: Any,  # noqa: ANN401 - JSON
    code: str,
) -> None:
    refused = body({"ticket": [told]})
    assert isinstance(refused, Rejected)
    assert refused.code == code
    assert "/ticket/0" in refused.message


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"a": "{event.sumary}"}, "at /a: there is no source 'event.sumary'"),
        ({"a": ["x", "{event.summary"]}, "at /a/1: there is a { alone"),
        ({"a": "}"}, "at /a: there is a } alone"),
        ({"a": "{}"}, "at /a: there is no source ''"),
        ({"a": "{event.occurred_at:years}"}, "at /a: there is no unit 'years'"),
        ({"a": {"$map": "event.severity"}}, r"at /a: there is no '\$map'"),
        ({"a": {"$from": "event.severity", "maps": {}}}, "at /a: 'maps' is no option"),
        ({"a": {"$from": "event.severity", "map": []}}, "at /a: map is no object"),
        ({"a": {"$from": "event.severity", "map": {"a": None}}}, "at /a: map is no object"),
        ({"a": {"$from": "event.summary", "limit": 0}}, "at /a: limit is no whole number"),
        ({"a": {"$from": "event.summary", "limit": True}}, "at /a: limit is no whole number"),
        ({"a": {"$from": "event.summary", "cut": 1}}, "at /a: cut is neither"),
        ({"a": {"$from": 3}}, r"at /a: \$from names no source"),
        ([json.loads("[" * 60 + "]" * 60)], "nested more than"),
    ],
    ids=repr,
)
def test_a_template_that_cannot_be_used_is_refused_with_its_place(
    tmp_path: Path,
    told: Any,  # noqa: ANN401 - JSON
    says: str,
) -> None:
    path = tmp_path / "ticket.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(SettingsError, match=rf"ticket\.json: .*{says}.*\.$"):
        load(path, URL)


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe\x00", b"[" * 60_000, b" " * 70_000], ids=len)
def test_a_file_that_is_no_template_is_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "ticket.json"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=r"ticket\.json"):
        load(path, URL)
    with pytest.raises(SettingsError, match="WEBHOOK_TEMPLATE cannot be read"):
        load(tmp_path / "other.json", URL)
    path.write_bytes(b"{}")
    with pytest.raises(SettingsError, match=r"WEBHOOK_URL: there is no source 'event\.kee'"):
        load(path, "https://h/{event.kee}")


@given(text=st.text())
def test_a_text_is_a_template_or_refused_and_fills_to_json(text: str) -> None:
    try:
        made = parse({"a": text}, URL)
    except ValueError:
        return
    filled = made.fill(way(), OPEN)
    assert isinstance(filled, Rejected) or isinstance(filled[1]["a"], str | int | float | None)


def test_the_address_takes_values_that_cannot_leave_their_place() -> None:
    made = parse({}, "https://h/{asset.id}/x?of={event.metric}")
    for asset, metric, url in (
        ("TRK-1", "a b", "https://h/TRK-1/x?of=a%20b"),
        ("../x?y#z", "&c=1", "https://h/..%2Fx%3Fy%23z/x?of=%26c%3D1"),
    ):
        record = replace(RECORD, asset_id=asset)
        filled = made.fill(way(record, asset_id=None, metric=metric), OPEN)
        assert not isinstance(filled, Rejected)
        assert filled[0] == url
    for asset in ("", ".", ".."):
        filled = made.fill(way(replace(RECORD, asset_id=asset), asset_id=None), OPEN)
        assert isinstance(filled, Rejected)


def test_the_registry_is_asked_only_where_the_template_needs_it() -> None:
    of_event, of_asset = {"a": "{event.summary}"}, {"a": "{asset.name}"}
    assert body(of_event, one=way(None)) == {"a": event().summary}
    refused = body(of_asset, one=way(None))
    assert isinstance(refused, Rejected)
    assert refused.code == "mapping.unregistered_device"
    refused = body(of_asset, one=way(replace(RECORD, active=False)))
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.final) == ("mapping.retired_asset", True)
    changed = way(replace(RECORD, active=False), action=Action.CLEAR, entity_id="e")
    assert body(of_asset, one=changed) == {"a": RECORD.asset_name}


def test_what_the_policy_keeps_here_does_not_leave() -> None:
    told = {"who": "{customer.name}", "what": "{event.summary}", "of": "{customer.id}"}
    withheld = body(told, policy=Policy(withheld=frozenset({"personal", "event.summary"})))
    assert withheld == {"who": None, "what": None, "of": "C-1"}
    assert body(told, policy=Policy(masked=frozenset({"business"})))["of"] == MASK
    refused = body({}, policy=Policy(regions=frozenset({"us"})))
    assert isinstance(refused, Rejected)
    assert refused.code == "mapping.region"


@pytest.mark.parametrize("name", sorted(OF_DATA))
def test_a_cloudevent_too_keeps_what_the_policy_withholds(name: str) -> None:
    url = httpx.URL("https://h/")
    held = Policy(withheld=frozenset({OF_DATA[name]}))
    made = to_request(way(), url, None, held)
    assert not isinstance(made, Rejected)
    assert json.loads(made[1])["data"][name] is None
    masked = to_request(way(), url, None, Policy(masked=frozenset({OF_DATA[name]})))
    assert not isinstance(masked, Rejected)
    assert json.loads(masked[1])["data"][name] == MASK


def test_a_cloudevent_of_another_region_is_not_sent() -> None:
    regions = Policy(regions=frozenset({"us"}))
    url = httpx.URL("https://h/")
    refused = to_request(way(), url, None, regions)
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.final) == ("mapping.region", True)
    unknown = to_request(way(None), url, None, regions)
    assert isinstance(unknown, Rejected)
    assert unknown.code == "mapping.unregistered_device"


def test_a_lone_surrogate_and_a_number_that_is_none_still_make_json() -> None:
    one = way(summary="x\ud800y", confidence=float("nan"))
    template: Template = parse({"a": "{event.summary}", "b": "{event.confidence}"}, URL)
    made = to_request(one, httpx.URL("https://h/"), template)
    assert not isinstance(made, Rejected)
    assert json.loads(made[1]) == {"a": "x y", "b": None}


# -- over the wire

TICKET = {
    "ticket": {
        "title": "{event.summary}",
        "asset": "{asset.id} ({asset.name})",
        "state": {"$from": "event.action", "map": {"raise": "new", "update": "new", "clear": "ok"}},
    }
}


@pytest.fixture
def far() -> Iterator[Box]:
    with boxed(make()) as box:
        yield box


async def test_one_ticket_follows_its_trouble_by_put(far: Box, tmp_path: Path) -> None:
    path = tmp_path / "ticket.json"
    path.write_text(json.dumps(TICKET), encoding="utf-8")
    to = make_connector(
        "webhook",
        values={
            "url": f"{far.url}/tickets/{{event.entity}}",
            "template": str(path),
            "method": "PUT",
            "secret": SECRET,
            "headers": {"X-Api-Key": API_KEY},
        },
    )
    raised = way()
    cleared = way(None, name="over", action=Action.CLEAR, entity_id=raised.key)
    cleared = replace(cleared, record=RECORD)
    async with httpx.AsyncClient(trust_env=False) as client:
        for one, created in ((raised, True), (raised, False), (cleared, True)):
            [outcome], [call] = await converse_over(client, to.deliver([one]))
            assert outcome == Delivered(target_id=raised.key, created=created)
            assert call.request.headers["idempotency-key"] == f'"{one.key}"'
        checks, _ = await converse_over(client, to.check())
    assert [one.ok for one in checks] == [True, None]
    told = [(e["op"], e["id"], e["fields"]["ticket"]["state"]) for e in far.journal()]
    assert told == [("create", raised.key, "new"), ("update", raised.key, "ok")]


def test_the_content_type_of_a_template_is_json_unless_a_header_says_otherwise(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ticket.json"
    path.write_text('{"a": "{event.key}"}', encoding="utf-8")
    values = {"url": "https://hooks.example/in", "template": str(path)}
    for headers, wanted in (
        ({}, "application/json; charset=utf-8"),
        ({"Content-Type": "application/vnd.api+json"}, "application/vnd.api+json"),
    ):
        to = make_connector("webhook", values={**values, "headers": headers})
        _, [call] = converse(to.deliver([way()]), [answer(201)])
        assert call.request.headers["content-type"] == wanted
