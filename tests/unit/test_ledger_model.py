"""The core's ledger in the world of ledger_world: nothing doubled, nothing lost, no stale write."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings

from pipeline.core.ledger import Mode
from tests.unit.ledger_book import ENDS
from tests.unit.ledger_world import SETTLE, Deliveries

TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)


def live(world: Deliveries, *, seed: int, steps: int) -> None:
    """At random, without hypothesis's liking for the simple: finds what needs many steps."""
    chance = Random(seed)  # noqa: S311 - a life that can be lived again, no secret
    for _ in range(steps):
        worker, place = chance.choice([0, 0, 0, 0, 1, 1, 1, 2]), chance.choice([0, 0, 1, 2])
        answer, lost = chance.choice(sorted(ENDS)), chance.random() < 1 / 3
        operator = chance.choice([None, None, None, None, Mode.REPLAY, Mode.EDITED])
        match chance.randrange(40):
            case 0 if chance.random() < 1 / 4:
                world.calm(worker)
            case 0 | 1 | 2:
                what = chance.choice(["die", "empty", "expire", "expire", "forget"])
                world.disturb(what, worker, place)
            case 3 | 4 | 5:
                world.wait(chance.choice([1, SETTLE - 1, 2 * SETTLE]))
            case 6:
                world.hold(worker, chance.randrange(2), lost=lost)
            case 7:
                world.produce()
            case 8 | 9 | 10 | 11:
                world.go_on_with_some(worker, {0, place}, answer, lost=lost)
            case 12 | 13 | 14:
                world.go_far(worker, place, [answer] * chance.randrange(2, 7), operator)
            case _:
                world.go_on_with_one(worker, place, answer, operator, lost=lost)
        world.nothing_has_two_effects_and_what_succeeded_is_there()


@pytest.mark.parametrize("seed", range(8))
def test_in_a_long_life_nothing_is_doubled_or_lost(seed: int) -> None:
    live(Deliveries(), seed=seed, steps=15_000)
