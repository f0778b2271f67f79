"""What the system says, and what follows: every code and fault of the case."""

from __future__ import annotations

import pytest

from connectors import registry
from connectors.answers import transport_rows
from pipeline.core.outcome import Delivered, Retryable, Unknown
from tests.contract.case import means
from tests.contract.suite.helpers import case_of, truthful
from tests.contract.world import World, event


async def test_every_code_of_the_system_means_what_the_case_says(world: World) -> None:
    connector = world.connector()
    wrong = []
    for number, (code, (wanted, ours)) in enumerate(world.case.codes.items()):
        told = event(f"code {number}", device_id=f"acme/truck-{number}")
        world.far.errors({"code": code, "key": world.case.far_key(told.id), "times": None})
        [outcome] = await world.deliver(told, connector=connector)
        truthful(
            outcome, there=bool(world.creates(world.case.far_key(told.id))), keyed=connector.keyed
        )
        got = "" if isinstance(outcome, Delivered) else outcome.code
        if means(outcome) is not wanted or (ours and got != ours):
            wrong.append((code, wanted, ours, outcome))
    assert not wrong


async def test_every_fault_means_what_the_case_says(world: World) -> None:
    wrong = []
    for number, cause in enumerate(world.case.faults):
        told = event(f"fault {number}", device_id=f"acme/truck-{number}")
        world.far.faults(world.case.on_write(**{"times": None, **cause.fault}))
        [outcome] = await world.deliver(told)
        got = "" if isinstance(outcome, Delivered) else outcome.code
        if means(outcome) is not cause.means or (cause.code and got != cause.code):
            wrong.append((cause, outcome))
    assert not wrong


def test_every_code_in_the_tables_is_caused_somewhere() -> None:
    for name in registry.names():
        case, system = case_of(name), registry.system(name)
        caused = {ours for _, ours in case.codes.values()} | {c.code for c in case.faults}
        free = caused | set(case.unseen) | {row.code for row in transport_rows(name)}
        left = sorted({row.code for row in system.answers} - free)
        assert not left, f"{name}: nothing causes {left}: add to codes, faults or unseen"
        assert all(reason for reason in (*case.unseen.values(), *case.lacks.values()))


@pytest.mark.parametrize("status", [418, 299, 599])
async def test_a_status_that_nobody_knows_is_unknown(world: World, status: int) -> None:
    world.far.faults(world.case.on_write(status=status, body_text="{}", times=None))
    [outcome] = await world.deliver(event())
    keyed_5xx = status >= 500 and world.connector().keyed
    assert isinstance(outcome, Unknown) or (keyed_5xx and isinstance(outcome, Retryable)), outcome


async def test_a_redirect_is_not_followed(world: World) -> None:
    there = {"location": "http://127.0.0.1:9/elsewhere"}
    for status in (301, 302, 307, 308):
        world.far.faults(world.case.on_write(status=status, headers=there, times=None))
        [outcome] = await world.deliver(event())
        assert not isinstance(outcome, Delivered)
    assert not world.ops()
