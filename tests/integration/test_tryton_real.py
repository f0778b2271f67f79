"""The connector against a real Tryton: what canned replies cannot prove."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from connectors.base import Call
from connectors.tryton import TrytonConnector, TrytonSettings
from infra.local.part import StackError
from infra.local.tryton import Tryton
from pipeline.core.outcome import Delivered, Found, NotFound, Rejected, Retryable, Scope, Unknown
from tests.contract.conversation import converse_over, steps
from tests.contract.tryton_examples import delivery, key
from tests.integration.redis_server import free_port
from tests.integration.tryton_world import (
    client,
    config_of,
    customer,
    deliver_until_taken,
    dropping_proxy,
    orders_of,
    part,
    parties_with_code,
    past_connector,
)
from tests.tryton_server import DEADLINE_S

__all__ = ["client", "part"]
pytestmark = pytest.mark.parts


async def test_a_second_delivery_finds_the_first_ones_order(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    record = customer("twice", tax_id="BE0403019261")
    to = TrytonConnector(config_of(part))
    sent = [delivery("twice", record=record)]
    [first], calls = await converse_over(client, to.deliver(sent))
    assert isinstance(first, Delivered)
    assert first.created
    assert steps(calls)[-1] == "create_order"
    [again], calls = await converse_over(client, to.deliver(sent))
    assert again == Delivered(target_id=first.target_id, created=False)
    assert steps(calls) == ["look_up"]
    [order] = await orders_of(client, part, record)
    assert (order.key, str(order.id)) == (key("twice"), first.target_id)
    assert order.equipment == "twice_% · Reefer truck 1"


async def test_a_batch_is_two_calls_once_equipment_is_known(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    record = customer("batch")
    to = TrytonConnector(config_of(part))
    names = [f"batch-{i}" for i in range(to.batch_size)]
    await converse_over(client, to.deliver([delivery("batch", record=record)]))
    sent = [delivery(name, record=record) for name in names]
    outcomes, calls = await converse_over(client, to.deliver(sent))
    assert all(isinstance(o, Delivered) and o.created for o in outcomes)
    assert steps(calls) == ["look_up", "create_order"]
    seen = {str(order.id): order.key for order in await orders_of(client, part, record)}
    assert [seen[o.target_id] for o in outcomes if isinstance(o, Delivered)] == [
        key(name) for name in names
    ]


async def test_two_connectors_at_once_make_one_customer(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    """Both are held until both have seen that the customer is missing."""
    record = customer("race")
    barrier = asyncio.Barrier(2)

    async def together(call: Call) -> None:
        if call.step == "create_customer":
            async with asyncio.timeout(DEADLINE_S):
                await barrier.wait()

    async def one(name: str) -> None:
        to = TrytonConnector(config_of(part))
        sent = [delivery(name, record=record)]
        [outcome], calls = await converse_over(client, to.deliver(sent), before=together)
        assert "create_customer" in steps(calls)
        assert not isinstance(outcome, Rejected | Unknown)
        await deliver_until_taken(client, to, name, record)

    await asyncio.gather(one("race-1"), one("race-2"))
    assert await parties_with_code(client, part, record.customer_id) == 1
    assert len(await orders_of(client, part, record)) == 2
    assert len({order.equipment for order in await orders_of(client, part, record)}) == 1


async def test_many_workers_at_once_lose_nothing_and_reject_nothing(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    """Tryton on SQLite gives two creates at once the same number now and then."""
    record = customer("crowd")

    async def worker(number: int) -> None:
        to = TrytonConnector(config_of(part))
        for i in range(8):
            await deliver_until_taken(client, to, f"crowd-{number}-{i}", record)

    await asyncio.gather(*(worker(number) for number in range(4)))
    keys = [order.key for order in await orders_of(client, part, record)]
    assert sorted(keys) == sorted(key(f"crowd-{n}-{i}") for n in range(4) for i in range(8))


async def test_an_invalid_vat_number_is_refused_in_trytons_words_and_leaves_nothing(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    record, good = customer("vat", tax_id="BE0403019262"), customer("good")
    to = TrytonConnector(config_of(part))
    sent = [delivery("vat", record=record), delivery("g", record=good)]
    [bad, fine], _ = await converse_over(client, to.deliver(sent))
    assert isinstance(bad, Rejected)
    assert bad.code == "tryton.user_error"
    assert bad.answer is not None
    assert 'VAT Number "BE0403019262"' in bad.answer
    assert "is not valid" in bad.answer
    assert isinstance(fine, Delivered)
    assert await parties_with_code(client, part, record.customer_id) == 0
    assert await orders_of(client, part, record) == []


@pytest.mark.parametrize("step", ["look_up", "create_customer", "create_order"])
async def test_a_session_that_ends_midway_is_renewed(
    part: Tryton, client: httpx.AsyncClient, step: str
) -> None:
    record = customer(f"session-{step}")
    to = TrytonConnector(config_of(part))
    logouts = 0

    async def log_out(call: Call) -> None:
        nonlocal logouts
        if call.step == step and not logouts:
            logouts += 1
            gone = {"id": 1, "method": "common.db.logout", "params": []}
            headers = {"Authorization": call.request.headers["Authorization"]}
            reply = await client.post(call.request.url, json=gone, headers=headers)
            assert reply.status_code == 200

    sent = [delivery(step, record=record)]
    [outcome], calls = await converse_over(client, to.deliver(sent), before=log_out)
    assert isinstance(outcome, Delivered)
    assert outcome.created
    assert steps(calls).count("login") == 2
    assert len(await orders_of(client, part, record)) == 1


async def test_a_wrong_password_halts_and_rejects_nothing(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    config = config_of(part, user="nobody", password=SecretStr("wrong"))
    to = TrytonConnector(config)
    [outcome], _ = await converse_over(client, to.deliver([delivery("wrong")]))
    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.scope) == ("tryton.credentials", Scope.SYSTEM)


async def test_a_server_that_is_down_is_the_systems_trouble(client: httpx.AsyncClient) -> None:
    config = TrytonSettings(
        url=f"http://127.0.0.1:{free_port()}/erp", user="u", password=SecretStr("p")
    )
    [outcome], _ = await converse_over(client, TrytonConnector(config).deliver([delivery("down")]))
    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.scope) == ("tryton.unreachable", Scope.SYSTEM)


async def test_an_answer_lost_after_the_commit_is_unknown_and_then_found(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    record = customer("lost")
    direct = TrytonConnector(config_of(part))
    await converse_over(client, direct.deliver([delivery("before", record=record)]))
    sent = [delivery("lost", record=record)]
    assert (await converse_over(client, direct.look_up(sent)))[0] == [NotFound()]
    async with dropping_proxy(part.port, after=b"model.project.work.create") as port:
        config = config_of(part, url=f"http://127.0.0.1:{port}/erp")
        to = TrytonConnector(config)
        [outcome], calls = await converse_over(client, to.deliver(sent))
        assert isinstance(outcome, Unknown)
        assert steps(calls)[-1] == "create_order"
        [answer], _ = await converse_over(client, to.look_up(sent))
    assert isinstance(answer, Found)
    [redelivered], _ = await converse_over(client, direct.deliver(sent))
    assert redelivered == Delivered(target_id=answer.target_id, created=False)
    keys = [order.key for order in await orders_of(client, part, record)]
    assert sorted(keys) == sorted([key("before"), key("lost")])


async def test_a_long_answer_is_readable(part: Tryton, client: httpx.AsyncClient) -> None:
    """Beyond 1,400 bytes Tryton says gzip: the request must have asked for it."""
    record = customer("long")
    to = TrytonConnector(config_of(part))
    sent = [delivery(f"long-{i}", record=record) for i in range(20)]
    await converse_over(client, to.deliver(sent))
    found, _ = await converse_over(client, to.look_up(sent))
    assert all(isinstance(answer, Found) for answer in found)


async def test_preparing_again_keeps_everything_but_a_lost_password_which_is_made_anew(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    before = part.settings()
    part.prepare()
    assert part.settings() == before
    folder = Path(part.command().argv[2]).parent
    (folder / "fieldline.password").unlink()
    part.prepare()
    assert part.settings()["TRYTON_PASSWORD"] != before["TRYTON_PASSWORD"]
    to = TrytonConnector(config_of(part))
    found, _ = await converse_over(client, to.look_up([delivery("none")]))
    assert found == [NotFound()]
    assert [path.name for path in folder.glob("building-*")] == []


def test_a_half_made_database_never_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Tryton(port=free_port(), folder=tmp_path / "data", log_dir=tmp_path / "log")
    monkeypatch.setattr("infra.local.tryton.MODULES", ("no_such_module",))
    with pytest.raises(StackError, match=r"tryton-prepare\.log"):
        made.prepare()
    assert list((tmp_path / "data" / "db").iterdir()) == []
    assert not made.ready()


def test_passwords_and_configuration_are_for_the_owner_alone(part: Tryton) -> None:
    folder = Path(part.command().argv[2]).parent
    for path in folder.iterdir():
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path.name
    assert part.settings()["TRYTON_PASSWORD"] not in " ".join(part.command().argv)


async def test_the_connectors_user_can_change_orders_alone_and_delete_nothing(
    part: Tryton, client: httpx.AsyncClient
) -> None:
    models = ["project.work", "party.party", "party.identifier", "res.user", "sale.opportunity"]
    rights = await past_connector(client, part, "model.ir.model.access.get_access", models)
    for model in (*models[:3], "sale.opportunity"):
        writes = int(model == "project.work")
        assert rights[model] == {"read": 1, "create": 1, "write": writes, "delete": 0}
    assert not rights["res.user"]["create"]
    assert not rights["res.user"]["write"]
