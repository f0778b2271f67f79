"""Sites, assets, leads and reopening, against a real Tryton."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from connectors.base import Call, Delivery
from connectors.tryton import TrytonConnector
from infra.local.tryton import Tryton
from pipeline.core.events import Action, Severity
from pipeline.core.outcome import Delivered, Found, NotFound, Rejected, Retryable, Unknown
from pipeline.core.registry import DeviceRecord
from tests.contract.conversation import converse_over, steps
from tests.contract.tryton_examples import delivery, event, key
from tests.integration.tryton_world import (
    client,
    config_of,
    customer,
    dropping_proxy,
    may_write_orders,
    orders_of,
    part,
)
from tests.tryton_server import Administrator

__all__ = ["client", "part"]
pytestmark = pytest.mark.parts


@pytest.fixture(scope="module")
def people(part: Tryton) -> Iterator[Administrator]:
    made = Administrator(part)
    yield made
    made.close()


def changed(
    name: str, record: DeviceRecord, action: Action, raised: str, severity: Severity
) -> Delivery:
    made = event(
        name,
        device_id=record.device_id,
        action=action,
        entity_id=key(raised),
        severity=severity,
    )
    return Delivery(event=made, key=made.id, record=record)


def rows(people: Administrator, model: str, domain: list[Any], *names: str) -> list[dict[str, Any]]:
    found = people.call(model, "search_read", domain, 0, 100, None, list(names))
    return [{name: row.get(name) for name in names} for row in found]


def leads(people: Administrator, raised: str) -> list[dict[str, Any]]:
    """Opportunities of that trouble, as sales sees them."""
    names = ("state", "description", "party.", "lines", "number")
    domain = [["reference", "=", f"FL-{key(raised)}"]]
    asked = ["state", "description", "party.code", "lines", "number"]
    found = people.call("sale.opportunity", "search_read", domain, 0, 100, None, asked)
    return [{name: row.get(name) for name in names} for row in found]


# -- reopening


async def test_what_a_clear_closed_is_opened_again_by_an_update(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    record = customer("again")
    to = TrytonConnector(config_of(part))
    story = [
        delivery("again", record=record),
        changed("again-over", record, Action.CLEAR, "again", Severity.CRITICAL),
        changed("again-more", record, Action.UPDATE, "again", Severity.WARNING),
        changed("again-over-2", record, Action.CLEAR, "again", Severity.WARNING),
    ]
    seen = []
    for one in story:
        [outcome], _ = await converse_over(client, to.deliver([one]))
        assert isinstance(outcome, Delivered)
        assert outcome.created
        seen += [order.status for order in await orders_of(client, part, record)]
    assert seen == ["Open", "Done", "Open", "Done"]
    outcomes, calls = await converse_over(client, to.deliver(story))
    assert [isinstance(o, Delivered) and o.created for o in outcomes] == [False] * 4
    assert "change_order" not in steps(calls)


async def test_what_a_person_closed_stays_closed(
    part: Tryton, client: httpx.AsyncClient, people: Administrator
) -> None:
    record = customer("theirs")
    to = TrytonConnector(config_of(part))
    [made], _ = await converse_over(client, to.deliver([delivery("theirs", record=record)]))
    assert isinstance(made, Delivered)
    [done] = people.call("project.work.status", "search", [["progress", "=", 1.0]])
    people.call("project.work", "write", [int(made.target_id)], {"status": done, "progress": 1.0})
    update = changed("theirs-more", record, Action.UPDATE, "theirs", Severity.CRITICAL)
    [outcome], _ = await converse_over(client, to.deliver([update]))
    assert isinstance(outcome, Delivered)
    assert [order.status for order in await orders_of(client, part, record)] == ["Done"]


# -- sites


async def test_equipment_stands_at_its_site_and_a_site_is_made_once(
    part: Tryton, client: httpx.AsyncClient, people: Administrator
) -> None:
    first = replace(customer("site"), site="Ghent")
    second = replace(first, device_id="acme/site-2", asset_id="SITE-2")
    third = replace(first, device_id="acme/site-3", asset_id="SITE-3", site="Liège")
    to = TrytonConnector(config_of(part))
    for n, record in enumerate((first, second, third, third)):
        [outcome], _ = await converse_over(
            client, to.deliver([delivery(f"site-{n}", record=record)])
        )
        assert isinstance(outcome, Delivered), outcome
    domain = [["party.code", "=", first.customer_id]]
    addresses = rows(people, "party.address", domain, "building_name")
    assert sorted(row["building_name"] for row in addresses) == ["Ghent", "Liège"]
    names = ("name", "party_address.building_name")
    projects = people.call(
        *("project.work", "search_read"),
        [["type", "=", "project"], ["party.code", "=", first.customer_id]],
        *(0, 100, [["id", "ASC"]], list(names)),
    )
    told = [row["party_address."]["building_name"] for row in projects]
    assert told == ["Ghent", "Ghent", "Liège"]


# -- assets


async def test_an_asset_is_a_product_once_where_that_is_wanted(
    part: Tryton, client: httpx.AsyncClient, people: Administrator
) -> None:
    record = replace(customer("asset"), asset_id="ASSET-7")
    for n in range(2):
        to = TrytonConnector(config_of(part, assets=True))
        [outcome], calls = await converse_over(
            client, to.deliver([delivery(f"asset-{n}", record=record)])
        )
        assert isinstance(outcome, Delivered), outcome
        assert ("create_asset" in steps(calls)) is (n == 0)
    products = rows(people, "product.product", [["code", "=", "ASSET-7"]], "name", "type")
    assert products == [{"name": "Reefer truck 1", "type": "assets"}]


# -- leads


async def test_a_critical_trouble_makes_one_lead_of_its_customer(
    part: Tryton, client: httpx.AsyncClient, people: Administrator
) -> None:
    record = customer("lead")
    to = TrytonConnector(config_of(part, lead_severity="critical"))
    sent = [delivery("lead", record=record)]
    assert (await converse_over(client, to.look_up(sent)))[0] == [NotFound()]
    await converse_over(client, to.deliver(sent))
    [outcome], _ = await converse_over(client, to.deliver(sent))
    assert isinstance(outcome, Delivered)
    assert not outcome.created
    [lead] = leads(people, "lead")
    assert lead["state"] == "lead"
    assert lead["description"] == "Coolant at 112 °C, limit 105 °C"
    assert lead["party."]["code"] == record.customer_id
    assert lead["number"]
    found, _ = await converse_over(client, to.look_up(sent))
    assert found == [Found(target_id=outcome.target_id)]


async def test_a_trouble_that_grows_critical_makes_its_lead_then(
    part: Tryton, client: httpx.AsyncClient, people: Administrator
) -> None:
    record = customer("grows")
    to = TrytonConnector(config_of(part, lead_severity="critical"))
    raised = event("grows", device_id=record.device_id, severity=Severity.WARNING)
    sent = [
        Delivery(event=raised, key=raised.id, record=record),
        changed("grows-more", record, Action.UPDATE, "grows", Severity.CRITICAL),
        changed("grows-again", record, Action.UPDATE, "grows", Severity.CRITICAL),
    ]
    await converse_over(client, to.deliver(sent[:1]))
    assert leads(people, "grows") == []
    outcomes, _ = await converse_over(client, to.deliver(sent[1:]))
    assert [type(o) for o in outcomes] == [Delivered, Delivered]
    assert len(leads(people, "grows")) == 1


@pytest.mark.parametrize(
    "rule",
    [{}, {"lead_severity": "critical", "lead_types": "fieldline.other, fieldline.anomaly"}],
    ids=["off", "other types"],
)
async def test_no_lead_is_made_where_the_rule_does_not_say_so(
    part: Tryton, client: httpx.AsyncClient, people: Administrator, rule: dict[str, str]
) -> None:
    name = f"no-lead-{len(rule)}"
    to = TrytonConnector(config_of(part, **rule))
    sent = [delivery(name, record=customer(name))]
    [outcome], calls = await converse_over(client, to.deliver(sent))
    assert isinstance(outcome, Delivered)
    assert leads(people, name) == []
    assert not {"find_lead", "create_lead"} & set(steps(calls))


async def test_a_lead_names_what_replaces_the_asset_and_waits_for_a_product_that_is_not_there(
    part: Tryton, client: httpx.AsyncClient, people: Administrator
) -> None:
    record = replace(customer("replace"), ids={"tryton.product": "REEFER-9"})
    to = TrytonConnector(config_of(part, lead_severity="warning"))
    sent = [delivery("replace", record=record)]
    [outcome], _ = await converse_over(client, to.deliver(sent))
    assert isinstance(outcome, Rejected)
    assert outcome.code == "tryton.no_product"
    assert "order is there" in outcome.message
    assert len(await orders_of(client, part, record)) == 1
    [unit] = people.call("product.uom", "search", [["symbol", "=", "u"]])
    values = {
        "name": "Reefer unit 9",
        "code": "REEFER-9",
        "type": "goods",
        "default_uom": unit,
        "salable": True,
        "sale_uom": unit,
        "products": [["create", [{}]]],
    }
    people.call("product.template", "create", [values])
    [again], _ = await converse_over(client, to.deliver(sent))
    assert isinstance(again, Delivered), again
    [lead] = leads(people, "replace")
    [line] = lead["lines"]
    names = ["product.code", "quantity"]
    [told] = people.call("sale.opportunity.line", "read", [line], names)
    assert (told["product."]["code"], told["quantity"]) == ("REEFER-9", 1.0)
    assert len(await orders_of(client, part, record)) == 1


async def test_an_answer_about_a_lead_lost_after_the_commit_is_unknown_and_then_found(
    part: Tryton, client: httpx.AsyncClient, people: Administrator
) -> None:
    record = customer("lost-lead")
    sent = [delivery("lost-lead", record=record)]
    async with dropping_proxy(part.port, after=b"model.sale.opportunity.create") as port:
        config = config_of(part, url=f"http://127.0.0.1:{port}/erp", lead_severity="critical")
        to = TrytonConnector(config)
        [outcome], calls = await converse_over(client, to.deliver(sent))
        assert isinstance(outcome, Unknown)
        assert steps(calls)[-1] == "create_lead"
        [found], _ = await converse_over(client, to.look_up(sent))
        assert isinstance(found, Found)
        [again], _ = await converse_over(client, to.deliver(sent))
    assert again == Delivered(target_id=found.target_id, created=False)
    assert len(leads(people, "lost-lead")) == 1


async def test_a_request_for_a_lead_that_never_arrives_is_looked_up_and_made(
    part: Tryton, client: httpx.AsyncClient, people: Administrator
) -> None:
    record = customer("cut-lead")
    sent = [delivery("cut-lead", record=record)]
    config = config_of(part, lead_severity="critical")
    to = TrytonConnector(config)

    class Cut(httpx.AsyncBaseTransport):
        """Loses the first request for a lead before it is sent."""

        def __init__(self) -> None:
            self.inner = httpx.AsyncHTTPTransport()
            self.cut = False

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if b"model.sale.opportunity.create" in request.content and not self.cut:
                self.cut = True
                raise httpx.ReadError("cut", request=request)
            return await self.inner.handle_async_request(request)

        async def aclose(self) -> None:
            await self.inner.aclose()

    async with httpx.AsyncClient(transport=Cut()) as bad:
        [outcome], _ = await converse_over(bad, to.deliver(sent))
        assert isinstance(outcome, Unknown)
        assert (await converse_over(bad, to.look_up(sent)))[0] == [NotFound()]
        [again], _ = await converse_over(bad, to.deliver(sent))
    assert isinstance(again, Delivered)
    assert len(await orders_of(client, part, record)) == 1
    assert len(leads(people, "cut-lead")) == 1


# -- rights


async def test_a_check_tells_what_the_user_may_not(part: Tryton, client: httpx.AsyncClient) -> None:
    to = TrytonConnector(config_of(part, lead_severity="critical", assets=True))
    checks, calls = await converse_over(client, to.check())
    assert all(one.ok for one in checks), checks
    assert all(call.effect.value == "read" for call in calls)
    await may_write_orders(client, part, may=False)
    try:
        checks, _ = await converse_over(client, to.check())
    finally:
        await may_write_orders(client, part, may=True)
    assert [one.what for one in checks if not one.ok] == ["right to change orders"]


async def test_without_the_right_to_make_leads_nothing_is_sent_and_nothing_rejected(
    part: Tryton, client: httpx.AsyncClient, people: Administrator
) -> None:
    access, model = "ir.model.access", [["model", "=", "sale.opportunity"]]
    ours = people.call(access, "search", [*model, ["group.name", "=", "Fieldline connector"]])
    people.call(access, "write", ours, {"perm_create": False})
    record = customer("no-leads")
    writes: list[str] = []

    async def note(call: Call) -> None:
        writes.extend([call.step] if call.effect.value != "read" else [])

    try:
        to = TrytonConnector(config_of(part, lead_severity="info"))
        [outcome], _ = await converse_over(
            client, to.deliver([delivery("no-leads", record=record)]), before=note
        )
    finally:
        people.call(access, "write", ours, {"perm_create": True})
    assert isinstance(outcome, Retryable)
    assert outcome.code == "tryton.no_rights"
    assert "sale.opportunity" in outcome.message
    assert writes == []
