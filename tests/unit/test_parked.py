"""Parked devices over a table in memory: order per device, nothing lost, repetitions harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from pipeline.agents.parked import ParkedDevices
from pipeline.state.parking import NOT_LOOKING, Parked, Parking
from pipeline.state.table import Rows, RowTable
from pipeline.wire.avro import Codec


@dataclass
class Memory:
    """A table's rows without its changelog."""

    stored: dict[int, dict[str, bytes]] = field(default_factory=dict)

    def rows(self, partition: int) -> Iterator[tuple[str, bytes]]:
        return self.rows_from(partition, "")

    def rows_from(self, partition: int, key: str) -> Iterator[tuple[str, bytes]]:
        rows = self.stored.get(partition, {})
        return iter([(k, rows[k]) for k in sorted(rows) if k >= key])

    async def write(self, partition: int, rows: Rows, *, ours: Callable[[], bool]) -> None:
        place = self.stored.setdefault(partition, {})
        for key, row in rows.items():
            if row is None:
                place.pop(key, None)
            else:
                place[key] = row
        assert ours()


def parking(memory: Memory) -> Parking:
    return Parking(cast("RowTable", cast("Any", memory)), Codec())


def waits(device: str, offset: int, *, due_ms: int = 0, own: int = 0) -> Parked:
    return Parked(
        device=device,
        offset=offset,
        payload=b"p%d" % offset,
        headers={"ce_id": b"x"},
        due_ms=due_ms,
        parked_ms=0,
        sent_ms=0,
        looks=NOT_LOOKING,
        own=own,
        outages=0,
        waited_s=0.5,
        code="locked",
    )


def yes() -> bool:
    return True


async def test_the_first_event_of_a_device_goes_when_it_is_due_and_the_next_when_it_is_done() -> (
    None
):
    memory = Memory()
    parked = ParkedDevices(parking(memory))
    parked.open([0])
    await parked.store(0, put=[waits("t/a", 7, due_ms=50), waits("t/a", 9)], done=[], ours=yes)
    assert "t/a" in parked
    assert parked.take(49, 9) == []
    [(partition, first)] = parked.take(50, 9)
    assert (partition, first) == (0, waits("t/a", 7, due_ms=50))
    assert parked.take(99, 9) == [], "one of a device at a time"
    await parked.store(0, put=[], done=[("t/a", 7)], ours=yes)
    assert [p.offset for _, p in parked.take(99, 9)] == [9]
    await parked.store(0, put=[], done=[("t/a", 9)], ours=yes)
    assert "t/a" not in parked
    assert parked.count == 0
    assert memory.stored[0] == {}


async def test_an_event_that_waits_again_keeps_its_place_and_what_is_known_of_it() -> None:
    parked = ParkedDevices(parking(Memory()))
    parked.open([0])
    await parked.store(0, put=[waits("t/a", 7), waits("t/a", 8)], done=[], ours=yes)
    assert len(parked.take(0, 9)) == 1
    await parked.store(0, put=[waits("t/a", 7, due_ms=30, own=3)], done=[], ours=yes)
    assert parked.take(29, 9) == []
    [(_, again)] = parked.take(30, 9)
    assert (again.offset, again.own, parked.count) == (7, 3, 2)


async def test_a_repeated_message_of_a_parked_event_changes_nothing() -> None:
    parked = ParkedDevices(parking(Memory()))
    parked.open([0])
    await parked.store(0, put=[waits("t/a", 7, due_ms=90, own=3)], done=[], ours=yes)
    await parked.store(0, put=[waits("t/a", 7)], done=[], ours=yes)
    assert parked.take(89, 9) == []
    [(_, first)] = parked.take(90, 9)
    assert (first.own, parked.count) == (3, 1)


async def test_what_is_parked_is_found_again_by_the_next_owner() -> None:
    memory = Memory()
    parked = ParkedDevices(parking(memory))
    parked.open([0, 1])
    await parked.store(0, put=[waits("t/a", 7, due_ms=10)], done=[], ours=yes)
    await parked.store(1, put=[waits("t/b", 3, due_ms=20)], done=[], ours=yes)
    heir = ParkedDevices(parking(memory))
    heir.open([1])
    assert ("t/a" in heir, "t/b" in heir, heir.count) == (False, True, 1)
    assert heir.next_due_ms() == 20
    assert [(partition, p.device) for partition, p in heir.take(20, 9)] == [(1, "t/b")]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40), st.integers(1, 3))
async def test_each_device_comes_out_in_its_order_once_whatever_happens(
    script: list[tuple[str, bool]], room: int
) -> None:
    memory = Memory()
    parked = ParkedDevices(parking(memory))
    parked.open([0])
    came: dict[str, list[int]] = {}
    went: dict[str, list[int]] = {}
    now_ms = 0
    for offset, (name, again) in enumerate(script):
        device = f"t/{name}"
        came.setdefault(device, []).append(offset)
        await parked.store(0, put=[waits(device, offset)], done=[], ours=yes)
        now_ms += 1
        for _, row in parked.take(now_ms, room):
            if again:
                later = replace(row, due_ms=now_ms + 2)
                await parked.store(0, put=[later], done=[], ours=yes)
            else:
                went.setdefault(row.device, []).append(row.offset)
                await parked.store(0, put=[], done=[(row.device, row.offset)], ours=yes)
        if again:
            parked.open([0])  # a restart forgets what was out
    while parked.next_due_ms() is not None:
        for _, row in parked.take(now_ms + 10, room):
            went.setdefault(row.device, []).append(row.offset)
            await parked.store(0, put=[], done=[(row.device, row.offset)], ours=yes)
    assert went == came
    assert memory.stored.get(0, {}) == {}
