"""Where a connector's client may go, and what the registry knows."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from connectors import registry
from connectors.base import Effect
from connectors.client import make_client
from connectors.exchange import converse
from connectors.fields import Field, Policy
from connectors.settings import make as make_settings
from connectors.system import OPEN, System
from pipeline.settings import SettingsError
from tests.contract.cases.erpnext import CASE
from tests.sandboxes.box import Box, boxed
from tests.sandboxes.erpnext import API_KEY, API_SECRET, make

OURS = {"api_key": API_KEY, "api_secret": API_SECRET}


@pytest.fixture
def far() -> Iterator[Box]:
    with boxed(make()) as box:
        yield box


def values(url: str) -> dict[str, str]:
    return {"url": url, **OURS}


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """A server that takes what comes and never answers; nothing may come."""
    heard: list[bytes] = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def take() -> None:
            try:
                while True:
                    peer, _ = server.accept()
                    with peer:
                        heard.append(peer.recv(9))
            except OSError:
                return

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.2:{server.getsockname()[1]}", heard
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://127.0.0.2:9/",
        "http://localhost:9/",
        "https://evil.example.com/",
        "https://erp.example.com.evil.example.com/",
        "https://user@evil.example.com/",
        "https://evil.example.com/erp.example.com",
        "http://[::1]:9/",
        "https:///nowhere",
    ],
)
async def test_no_other_host_is_spoken_to(elsewhere: str) -> None:
    async with make_client("erpnext", values("https://erp.example.com")) as client:
        with pytest.raises(httpx.UnsupportedProtocol, match="not among the hosts of erpnext"):
            await client.get(elsewhere)


async def test_a_secret_does_not_go_to_its_own_host_in_clear() -> None:
    async with make_client("erpnext", values("https://erp.example.com")) as client:
        with pytest.raises(httpx.UnsupportedProtocol, match="https only"):
            await client.get("http://erp.example.com/api")


async def test_a_host_is_the_same_however_its_name_is_written() -> None:
    for url in ("https://bücher.example", "https://xn--bcher-kva.example"):
        async with make_client("erpnext", values(url)) as client:
            [goes] = client.event_hooks["request"]
            for same in ("https://BÜCHER.example/a", "https://xn--bcher-kva.example/a"):
                await goes(httpx.Request("GET", same))
            with pytest.raises(httpx.UnsupportedProtocol):
                await goes(httpx.Request("GET", "https://bucher.example/a"))


async def test_a_redirect_is_an_answer_and_is_not_followed(far: Box) -> None:
    with listening() as (elsewhere, heard):
        far.faults({"status": 307, "headers": {"location": elsewhere}, "times": None})
        async with make_client("erpnext", values(far.url)) as client:
            answer = await client.get(f"{far.url}/api/resource/Issue")
            assert (answer.status_code, answer.headers["location"]) == (307, elsewhere)
            with pytest.raises(httpx.UnsupportedProtocol):
                await client.get(elsewhere)
        assert not heard


async def test_its_own_host_is_spoken_to(far: Box) -> None:
    async with make_client("erpnext", values(far.url)) as client:
        answer = await client.get(f"{far.url}/api/method/frappe.auth.get_logged_user")
        assert answer.status_code == 401
        assert client.timeout == httpx.Timeout(20.0)


async def test_another_host_is_an_outcome_in_a_conversation_and_no_exception(far: Box) -> None:
    connector = registry.make_connector("erpnext", values=values(far.url))
    async with make_client("erpnext", values("https://erp.example.com")) as client:
        exchange = await converse(connector.check, client, request_s=5, late=lambda: False)
    assert exchange.result is not None
    assert exchange.result[0].ok is False
    assert "address" in exchange.result[0].detail
    assert far.stats()["requests"] == 0


def test_a_client_without_usable_settings_is_one_sentence() -> None:
    for sink, wrong in (("erpnext", {}), ("erpnext", {"url": "http://h"}), ("nothing", {})):
        with pytest.raises(SettingsError) as caught:
            make_client(sink, wrong)
        assert re.fullmatch(r"[^\n]+\.", str(caught.value))


# -- the registry


def test_a_folder_with_a_system_is_a_connector_and_nothing_else_is() -> None:
    names = registry.names()
    here = Path(registry.__file__).parent
    assert list(names) == sorted(names)
    assert set(names) == {one.parent.name for one in here.glob("*/system.py")}
    assert {"erpnext", "webhook"} <= set(names)
    assert not {"template", "lake"} & set(names)


@pytest.mark.parametrize(
    "name", ["nothing", "", "../erpnext", "erpnext.system", "template", "ERPNEXT", "x" * 500]
)
def test_an_unknown_name_is_told_with_those_that_there_are(name: str) -> None:
    for ask in (registry.system, registry.make_connector):
        with pytest.raises(SettingsError, match=r"choose among .*erpnext"):
            ask(name)


@pytest.fixture(params=registry.names())
def system(request: pytest.FixtureRequest) -> System:
    return registry.system(request.param)


def test_what_a_system_declares_is_whole(system: System) -> None:
    assert system.title
    steps = [call.step for call in system.calls]
    assert len(steps) == len(set(steps)), "a step stands twice"
    assert any(call.effect is not Effect.READ for call in system.calls)
    for call in system.calls:
        assert re.match(r"[A-Z]+ \S", call.request), call.request
        if call.effect is not Effect.READ:
            assert call.key, call.step
            assert call.once, call.step
            assert call.unknown, call.step
    for spec in system.objects.values():
        assert spec.fields
        assert spec.canonical
        assert spec.owner
        assert spec.conflict
        assert all(isinstance(one, Field) for one in spec.fields)


def test_every_row_of_a_system_has_a_code_of_its_own_and_a_source(system: System) -> None:
    kinds: dict[tuple[str, str], object] = {}
    for row in system.answers:
        assert re.fullmatch(rf"{system.name}\.[a-z0-9_]+", row.code), row.code
        assert row.when, row.code
        assert row.source, row.code
        assert kinds.setdefault((row.code, row.when), row.kind) is row.kind, row


def test_the_name_is_the_same_everywhere(system: System) -> None:
    folder = Path(registry.__file__).parent / system.name
    assert (folder / "system.py").is_file()
    assert system.settings.model_config.get("env_prefix") == f"{system.name.upper()}_"


def test_a_connector_is_made_with_policy_and_clock() -> None:
    with boxed(make()) as far:
        given = CASE.values(far)
        one = registry.make_connector("erpnext", values=given)
        other = registry.make_connector("erpnext", values=given, policy=Policy(), clock=lambda: 0.0)
    assert (one.name, one.batch_size, one.keyed) == ("erpnext", 1, True)
    assert other is not one
    assert Policy() == OPEN
    settings = make_settings(registry.system("erpnext").settings, given)
    assert API_SECRET not in repr(settings) + repr(one)
