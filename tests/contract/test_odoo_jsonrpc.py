"""The legacy API through the contract suite's own tests: the same mapping behind another door."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest

from tests.contract import suite
from tests.contract.case import Case, Cause, Means, means
from tests.contract.cases.odoo import CASE, STATUSES, WHOLE, raised
from tests.contract.world import World, event
from tests.sandboxes.box import FarEnd
from tests.sandboxes.odoo import API_KEY, DATABASE, LOGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcCase(Case):
    """One address has all calls: the write is known by its body."""

    def on_write(self, **fault: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of knobs.Fault
        """A fault on the call that creates or changes requests."""
        return {
            "method": "POST",
            "path": "/jsonrpc",
            "body": '"maintenance.request","load"',
            **fault,
        }


def _values(far: FarEnd) -> dict[str, Any]:
    return {
        "url": far.url,
        "api": "jsonrpc",
        "database": DATABASE,
        "username": LOGIN,
        "api_key": API_KEY,
    }


def _told(name: str) -> str:
    error = {"code": 0, "message": "Odoo Server Error", "data": raised(name)}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "error": error})


CASE_RPC = RpcCase(
    **{name: getattr(CASE, name) for name in Case.__dataclass_fields__}
    | {
        "values": _values,
        "faults": (
            *(
                Cause(fault={"status": 200, "body_text": _told(name)}, means=means, code=code)
                for name, (_, means, code) in WHOLE.items()
            ),
            *(
                Cause(fault={"status": status}, means=means, code=code)
                for status, (means, code) in STATUSES.items()
            ),
            Cause(fault={"mode": "html"}, means=Means.UNKNOWN, code="odoo.unreadable"),
        ),
    }
)
GOLDEN = "test_the_keys_at_the_far_end_are_those_of_earlier_releases"
TESTS: dict[str, Callable[[World], Awaitable[None]]] = {
    name: test
    for module in iter_modules(suite.__path__, f"{suite.__name__}.")
    for name, test in vars(import_module(module.name)).items()
    if name.startswith("test_") and list(inspect.signature(test).parameters) == ["world"]
}
"""Every test of the suite that needs nothing but a world."""


@pytest.fixture
def world() -> Iterator[World]:
    """The sandbox, and a connector that speaks JSON-RPC."""
    with CASE_RPC.start() as far:
        yield World(CASE_RPC, far)


@pytest.mark.parametrize("name", sorted(TESTS.keys() - {GOLDEN}))
async def test_the_legacy_api_is_as_good(world: World, name: str) -> None:
    await TESTS[name](world)
    assert {call.request.url.path for call in world.calls} <= {"/jsonrpc"}


async def test_both_apis_make_records_with_the_same_keys(world: World) -> None:
    await TESTS[GOLDEN](world)


async def test_a_value_of_none_is_a_member_left_out(world: World) -> None:
    """Odoo says None so; it is no value of any method that is called here."""
    told = json.dumps({"jsonrpc": "2.0", "id": 1})
    world.far.faults(CASE_RPC.on_write(status=200, body_text=told, times=None))
    [outcome] = await world.deliver(event())
    assert means(outcome) is Means.UNKNOWN


async def test_a_user_that_is_not_there_rejects_no_event(world: World) -> None:
    [outcome] = await world.deliver(event(), connector=world.connector(username="nobody"))
    assert means(outcome) is Means.SYSTEM
    assert "odoo.credentials" in repr(outcome)
