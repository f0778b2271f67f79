"""A real Tryton for the connector's tests, and ways to look into it past the connector."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from connectors.settings import make
from connectors.tryton import OrderSeen, TrytonConnector, TrytonSettings
from infra.local.tryton import Tryton
from pipeline.core.outcome import Delivered, Retryable
from pipeline.core.registry import DeviceRecord
from tests.contract.conversation import converse_over
from tests.contract.tryton_examples import RECORD, delivery
from tests.tryton_server import DEADLINE_S, running


async def past_connector(
    client: httpx.AsyncClient,
    part: Tryton,
    method: str,
    *params: object,
    auth: tuple[str, str] | None = None,
) -> Any:  # noqa: ANN401 - JSON
    """A call by a login of its own: `auth`, else the connector's user."""
    settings = part.settings()
    auth = auth or (settings["TRYTON_USER"], settings["TRYTON_PASSWORD"])
    call = {"id": 1, "method": method, "params": [*params, {}]}
    url = settings["TRYTON_URL"] + "/rpc/"
    reply = (await client.post(url, json=call, auth=auth, timeout=DEADLINE_S)).json()
    assert "error" not in reply, reply
    return reply["result"]


async def may_write_orders(client: httpx.AsyncClient, part: Tryton, *, may: bool) -> None:
    """Give or take the right to write orders, as Tryton's administrator would."""
    password = Path(part.command().argv[2]).with_name("admin.password").read_text().strip()
    access, admin = "model.ir.model.access", ("admin", password)
    ours = [["model", "=", "project.work"], ["group.name", "=", "Fieldline connector"]]
    search = (f"{access}.search", ours, 0, None, None)
    rows = await past_connector(client, part, *search, auth=admin)
    await past_connector(client, part, f"{access}.write", rows, {"perm_write": may}, auth=admin)


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tryton]:
    with running(tmp_path_factory.mktemp("tryton")) as made:
        yield made


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as made:
        yield made


def config_of(part: Tryton, **changes: Any) -> TrytonSettings:  # noqa: ANN401 - settings
    """The connector's settings for that server."""
    settings = part.settings()
    given = {
        "url": settings["TRYTON_URL"],
        "user": settings["TRYTON_USER"],
        "password": SecretStr(settings["TRYTON_PASSWORD"]),
    }
    return make(TrytonSettings, given | changes)


def customer(name: str, *, tax_id: str = "") -> DeviceRecord:
    """A registry row of a device, asset and customer that no other test has."""
    return replace(
        RECORD,
        device_id=f"acme/{name}",
        asset_id=f"{name}_%",
        customer_id=f"C-{name}",
        customer_name=f"Customer {name}",
        customer_tax_id=tax_id,
    )


async def orders_of(
    client: httpx.AsyncClient, part: Tryton, record: DeviceRecord
) -> list[OrderSeen]:
    seen, _ = await converse_over(client, TrytonConnector(config_of(part)).find_orders())
    assert not isinstance(seen, Retryable)
    return [order for order in seen if order.party == record.customer_name]


async def parties_with_code(client: httpx.AsyncClient, part: Tryton, code: str) -> int:
    domain = [["code", "=", code], ["active", "in", [True, False]]]
    count = "model.party.party.search_count"
    return int(await past_connector(client, part, count, domain, 0, 10))


async def deliver_until_taken(
    client: httpx.AsyncClient, to: TrytonConnector, name: str, record: DeviceRecord
) -> str:
    """The order's id. Retryable is tried again at once; any other failure fails the test."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            sent = [delivery(name, record=record)]
            [outcome], _ = await converse_over(client, to.deliver(sent))
            if isinstance(outcome, Delivered):
                return outcome.target_id
            assert isinstance(outcome, Retryable), outcome


@contextlib.asynccontextmanager
async def dropping_proxy(target: int, *, after: bytes) -> AsyncIterator[int]:
    """A port that passes requests to the target, and answers back, but one: where `after` is
    in the request, the target's whole answer is awaited and thrown away, then the line is cut.
    Tryton speaks HTTP/1.0: it closes when its answer is over.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        request = head + await reader.readexactly(length)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", target)
        up_writer.write(request)
        answer = await up_reader.read()
        if after not in request:
            writer.write(answer)
            await writer.drain()
        for stream in (writer, up_writer):
            stream.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
