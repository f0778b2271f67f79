"""Changes in trouble that is not theirs: of the target, or of their own raise."""

from __future__ import annotations

from typing import Any

from pipeline.core.outcome import Outcome
from tests.contract.world import World, story

OUTAGES: tuple[dict[str, Any], ...] = ({"status": 503}, {"mode": "drop_before"}, {"status": 500})
"""Faults that no event is to blame for."""


async def clear_during(world: World, **fault: Any) -> Outcome:  # noqa: ANN401 - fields of knobs.Fault
    """What a clear comes to whose raise went well, and which meets that fault."""
    raised, _, clear, _ = story()
    await world.deliver(raised)
    connector = world.connector()
    world.far.faults({"times": None, **fault})
    [outcome] = await world.deliver(clear, connector=connector)
    return outcome


async def with_refused_raise(world: World, code: str) -> list[Outcome]:
    """A raise that the system answers with that code of its own, and its update in one batch."""
    raised, update, _, _ = story()
    world.far.errors({"code": code, "key": raised.id, "times": None})
    return await world.deliver(raised, update)
