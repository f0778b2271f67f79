"""What a connector says of itself: its check, its credentials, its calls, its keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors import registry
from connectors.base import Effect
from tests.contract.case import Means, Trait, means
from tests.contract.suite.helpers import lacking
from tests.contract.world import World, event, key, story

GOLDEN = Path(__file__).parents[1] / "golden"


async def test_a_check_reads_only_and_says_what_is_well(world: World) -> None:
    exchange = await world.hold(world.connector().check())
    assert exchange.result
    assert all(one.ok is not False for one in exchange.result), exchange.result
    assert all(call.effect is Effect.READ for call in world.calls)
    assert not world.far.journal()


async def test_a_check_with_wrong_credentials_says_so_in_a_sentence(world: World) -> None:
    if lacking(world, Trait.LOGIN):
        return
    bad = dict(world.case.bad_values(world.far))
    exchange = await world.hold(world.connector(**bad).check(), bad)
    assert exchange.result
    bad_ones = [one for one in exchange.result if one.ok is False]
    assert bad_ones
    assert all(one.detail.endswith(".") for one in bad_ones)


async def test_wrong_credentials_reject_no_event(world: World) -> None:
    if lacking(world, Trait.LOGIN):
        return
    bad = dict(world.case.bad_values(world.far))
    sent = world.connector(**bad).deliver([world.delivery(event())])
    exchange = await world.hold(sent, bad)
    assert exchange.result is not None, exchange.bug
    [outcome] = exchange.result
    assert means(outcome) is Means.SYSTEM, outcome


async def test_every_request_it_makes_is_told_of_with_its_effect(world: World) -> None:
    told = story()[:1] if lacking(world, Trait.UPDATE, Trait.CLOSE) else story()
    await world.deliver(event("other"))
    await world.run(told)
    await world.look_up(told[0])
    await world.hold(world.connector().check())
    system = registry.system(world.case.name)
    effects = {spec.step: spec.effect for spec in system.calls}
    for call in world.calls:
        assert effects.get(call.step) is call.effect, (call.step, call.effect)
    if world.connector().keyed:
        assert Effect.WRITE not in {call.effect for call in world.calls}
    for spec in system.calls:
        if spec.effect is not Effect.READ:
            assert spec.key, spec.step
            assert spec.once, spec.step
            assert spec.unknown, spec.step


async def test_the_keys_at_the_far_end_are_those_of_earlier_releases(world: World) -> None:
    """A golden file: with other keys, what was sent before an upgrade would be sent again."""
    await world.deliver(event("golden"))
    [made] = world.creates()
    said = {
        "event": key("golden"),
        "key": made["key"],
        "write": sorted({f"{c.step} {c.request.method}" for c in world.writes()}),
    }
    path = GOLDEN / f"{world.case.name}.json"
    if not path.exists():
        path.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        pytest.fail(f"{path.name} was not there: look at what was written, and keep it.")
    assert json.loads(path.read_text(encoding="utf-8")) == said
