"""The identity of a device through time, against a model that knows every instant by itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.identity import Entry, Kind, Period, at, during, identity_of, spliced
from pipeline.core.identity_commands import (
    AnyCommand,
    Book,
    Code,
    Decided,
    Describe,
    Move,
    Own,
    Provision,
    Refused,
    Retire,
    wanted,
)
from pipeline.core.identity_decide import decide
from pipeline.core.registry import DeviceRecord
from tests.unit.identity_world import NOW, World

LAST = 40
"""The model's instants are 0 to LAST."""

times = st.integers(0, LAST)
writes = st.tuples(
    st.sampled_from(["A", "B", None]), times, st.one_of(st.none(), st.integers(1, LAST + 1))
)


@given(st.lists(writes, max_size=12))
def test_periods_never_overlap_and_say_at_each_instant_what_was_said_last(
    told: list[tuple[str | None, int, int | None]],
) -> None:
    periods: tuple[Period, ...] = ()
    model: dict[int, str | None] = dict.fromkeys(range(LAST + 1))
    for of, first, end in told:
        if end is not None and end <= first:
            continue
        periods = spliced(periods, None if of is None else Period(of=of), first, end)
        model |= dict.fromkeys(range(first, LAST + 1 if end is None else min(end, LAST + 1)), of)
        for left, right in pairwise(periods):
            assert left.to_ms is not None
            assert left.from_ms < left.to_ms <= right.from_ms
            assert left.to_ms < right.from_ms or left.what != right.what
    for instant, of in model.items():
        found = during(periods, instant)
        assert (found.of if found else None) == of


devices = st.sampled_from(["t/d1", "t/d2", "t/d3"])
assets = st.sampled_from(["A", "B"])
customers = st.sampled_from(["C", "D"])
moments = st.one_of(st.none(), st.integers(0, 2 * NOW))
numbers = st.dictionaries(
    st.sampled_from(["sap.equipment", "sap.customer", "sap.functional_location"]),
    st.sampled_from(["1", "2", ""]),
    max_size=2,
)
commands: st.SearchStrategy[AnyCommand] = st.one_of(
    st.builds(
        Provision,
        device_id=devices,
        asset_id=st.one_of(st.none(), assets),
        customer_id=st.one_of(st.none(), customers),
        active=st.sampled_from([None, True, False]),
        site=st.sampled_from([None, "here", "there"]),
        ids=numbers,
        at_ms=moments,
        past=st.booleans(),
    ),
    st.builds(
        Move,
        device_id=devices,
        asset_id=st.one_of(assets, st.just("")),
        at_ms=moments,
        past=st.booleans(),
    ),
    st.builds(
        Own,
        asset_id=assets,
        customer_id=st.one_of(customers, st.just("")),
        at_ms=moments,
        past=st.booleans(),
    ),
    st.builds(Describe, kind=st.just(Kind.ASSET), entry_id=assets, ids=numbers),
    st.builds(Retire, kind=st.just(Kind.ASSET), entry_id=assets, back=st.booleans()),
    st.builds(Retire, kind=st.just(Kind.DEVICE), entry_id=devices, back=st.booleans()),
)


@given(st.lists(commands, max_size=12), st.integers(0, 2 * NOW))
def test_whatever_is_commanded_an_asset_has_one_device_at_a_time_and_an_id_one_owner(
    told: list[AnyCommand], instant: int
) -> None:
    world = World()
    for number, command in enumerate(told):
        world.tell(replace(command, id=f"c{number}"))
        entries = list(world.entries.values())
        mounted = [
            period.of
            for entry in entries
            if entry.kind is Kind.DEVICE and (period := during(entry.periods, instant))
        ]
        assert len(mounted) == len(set(mounted))
        held = [name for entry in entries for name in entry.holds]
        assert len(held) == len(set(held))


@given(st.lists(commands, min_size=1, max_size=8), st.data())
def test_a_command_that_comes_again_changes_nothing(
    told: list[AnyCommand], data: st.DataObject
) -> None:
    world = World()
    done = []
    for number, command in enumerate(told):
        marked = replace(command, id=f"c{number}")
        if isinstance(world.tell(marked), Decided):
            done.append(marked)
    before = dict(world.entries)
    for again in done and [data.draw(st.sampled_from(done)) for _ in range(3)]:
        outcome = world.tell(replace(again, who="another", why="a retry"))
        assert isinstance(outcome, Decided)
        assert outcome.again
        assert not outcome.entries
    assert world.entries == before


@given(st.lists(commands, max_size=10), devices, st.integers(0, 2 * NOW))
def test_without_meaning_the_past_no_event_of_the_past_changes_its_owner(
    told: list[AnyCommand], device: str, now_ms: int
) -> None:
    """What was answered for an instant before now (and the grace) stays the answer."""
    world = World()
    for command in told:
        world.tell(replace(command, past=False))
    world.now_ms = max(NOW, now_ms)
    instant = NOW // 2
    answer = world.at(device, instant)
    if answer is None:
        return
    for command in told:
        one = replace(command, past=False)
        if isinstance(one, (Own, Move)):
            world.tell(one)
    later = world.at(device, instant)
    assert later is not None
    assert (later.asset_id, later.customer_id) == (answer.asset_id, answer.customer_id)


FULL = Provision(
    device_id="acme/e-1",
    asset_id="ESN-1",
    asset_name="Engine 1",
    customer_id="C-1",
    customer_name="Nordlicht",
    customer_tax_id="DE1",
    active=True,
    device_class="turbofan",
    site="HAM",
    region="eu",
    ids={"sap.equipment": "10001", "salesforce.account": "001A", "iot.device": "dev-7"},
)
RECORD = DeviceRecord(
    device_id="acme/e-1",
    asset_id="ESN-1",
    asset_name="Engine 1",
    customer_id="C-1",
    customer_name="Nordlicht",
    customer_tax_id="DE1",
    active=True,
    device_class="turbofan",
    site="HAM",
    region="eu",
    ids={"sap.equipment": "10001", "salesforce.account": "001A", "iot.device": "dev-7"},
)


def test_a_new_device_is_known_for_all_time_and_every_id_is_where_it_belongs() -> None:
    world = World()
    world.tell(FULL)
    assert world.at("acme/e-1", 0) == world.at("acme/e-1", 2 * NOW) == RECORD
    assert world.at("acme/e-1", -5) == RECORD, "a device without a clock says 1970 or before"
    assert world.entries["asset/ESN-1"].ids == {"sap.equipment": "10001"}
    assert world.entries["customer/C-1"].ids == {"salesforce.account": "001A"}
    assert world.entries["device/acme/e-1"].ids == {"iot.device": "dev-7"}
    assert world.at("acme/e-2", 0) is None


def test_a_late_event_goes_to_the_owner_of_its_time() -> None:
    world = World()
    world.tell(FULL)
    world.tell(Describe(kind=Kind.CUSTOMER, entry_id="C-2", name="Aire"))
    sold = NOW + 1_000
    world.now_ms = sold
    assert isinstance(world.tell(Own(asset_id="ESN-1", customer_id="C-2")), Decided)
    before, after = world.at("acme/e-1", sold - 1), world.at("acme/e-1", sold)
    assert before is not None
    assert after is not None
    assert (before.customer_name, before.site, before.region) == ("Nordlicht", "HAM", "eu")
    assert (after.customer_name, after.site, after.region) == ("Aire", "", "")


def test_an_asset_keeps_its_owners_when_its_device_is_replaced() -> None:
    world = World()
    world.tell(FULL)
    taken = world.tell(Provision(device_id="acme/e-9", asset_id="ESN-1"))
    assert isinstance(taken, Refused)
    assert taken.code is Code.TAKEN
    assert "acme/e-1 since ever" in taken.message
    world.tell(Retire(kind=Kind.DEVICE, entry_id="acme/e-1"))
    assert isinstance(world.tell(Provision(device_id="acme/e-9", asset_id="ESN-1")), Decided)
    assert world.at("acme/e-1", NOW) is None
    assert world.at("acme/e-9", NOW - 1) is None
    later = world.at("acme/e-9", NOW)
    assert later is not None
    assert later.customer_id == "C-1"
    old = world.at("acme/e-1", NOW - 1)
    assert old is not None
    assert old.asset_id == "ESN-1"


def test_a_mended_name_or_tax_number_holds_for_old_events_too() -> None:
    world = World()
    world.tell(FULL)
    world.tell(Describe(kind=Kind.CUSTOMER, entry_id="C-1", tax_id="DE2"))
    assert world.at("acme/e-1", 0) == replace(RECORD, customer_tax_id="DE2")


def test_a_retired_asset_is_inactive_from_then_on_and_may_come_back() -> None:
    world = World()
    world.tell(FULL)
    world.tell(Retire(kind=Kind.ASSET, entry_id="ESN-1"))
    assert world.at("acme/e-1", NOW - 1) == RECORD
    assert world.at("acme/e-1", NOW) == replace(RECORD, active=False)
    refused = world.tell(Own(asset_id="ESN-1", customer_id="C-1", site="MUC"))
    assert isinstance(refused, Refused)
    assert refused.code is Code.RETIRED
    world.tell(replace(FULL, active=True))
    assert world.at("acme/e-1", NOW) == RECORD


def test_a_device_that_is_registered_as_retired_was_so_all_along() -> None:
    world = World()
    world.tell(replace(FULL, active=False))
    assert world.at("acme/e-1", 0) == replace(RECORD, active=False)


def test_an_id_of_another_is_refused_until_it_is_taken_away_there() -> None:
    world = World()
    world.tell(FULL)
    second = Provision(
        device_id="acme/e-2", asset_id="ESN-2", customer_id="C-1", ids={"sap.equipment": "10001"}
    )
    refused = world.tell(second)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.field) == (Code.ID_TAKEN, "sap.equipment")
    assert "asset ESN-1" in refused.message
    world.tell(Describe(kind=Kind.ASSET, entry_id="ESN-1", ids={"sap.equipment": ""}))
    assert isinstance(world.tell(second), Decided)
    shared = {"sap.functional_location": "HANGAR-1"}
    for device in ("acme/e-1", "acme/e-2"):
        assert isinstance(world.tell(Provision(device_id=device, ids=shared)), Decided)


def test_the_past_is_changed_only_by_who_says_so_and_only_for_the_time_named() -> None:
    world = World()
    world.tell(FULL)
    world.tell(Describe(kind=Kind.CUSTOMER, entry_id="C-2", name="Aire"))
    world.now_ms = 10 * NOW
    was = Own(asset_id="ESN-1", customer_id="C-2", at_ms=NOW, until_ms=2 * NOW)
    refused = world.tell(was)
    assert isinstance(refused, Refused)
    assert refused.code is Code.PAST
    assert isinstance(world.tell(replace(was, past=True)), Decided)
    owners = [world.at("acme/e-1", t) for t in (NOW - 1, NOW, 2 * NOW - 1, 2 * NOW)]
    assert [o.customer_id for o in owners if o] == ["C-1", "C-2", "C-2", "C-1"]


def test_what_is_planned_stays_planned_when_the_same_is_said_again() -> None:
    world = World()
    world.tell(FULL)
    world.tell(Describe(kind=Kind.CUSTOMER, entry_id="C-2", name="Aire"))
    world.tell(Own(asset_id="ESN-1", customer_id="C-2", at_ms=5 * NOW))
    assert world.tell(FULL) == Decided()
    later = world.at("acme/e-1", 5 * NOW)
    assert later is not None
    assert later.customer_id == "C-2"


def test_a_command_id_that_is_used_for_something_else_is_refused() -> None:
    world = World()
    world.tell(replace(FULL, id="k"))
    for other in (replace(FULL, id="k", site="MUC"), replace(FULL, id="k", device_id="acme/e-2")):
        refused = world.tell(other)
        assert isinstance(refused, Refused)
        assert refused.code is Code.REUSED


def test_what_is_unusable_is_refused_by_the_name_of_its_field() -> None:
    cases: dict[str, AnyCommand] = {
        "device_id": replace(FULL, device_id="nobody"),
        "asset_id": Own(asset_id="none", customer_id="C-1"),
        "customer_id": Provision(device_id="t/d", asset_id="A"),
        "asset_name": replace(FULL, asset_name="a\nb"),
        "Sap.Equipment": replace(FULL, ids={"Sap.Equipment": "1"}),
        "until_ms": Move(device_id="acme/e-1", asset_id="", at_ms=5, until_ms=5),
        "at_ms": Move(device_id="acme/e-1", asset_id="", at_ms=-1),
    }
    for field, command in cases.items():
        world = World()
        world.tell(FULL)
        before = dict(world.entries)
        refused = world.tell(command)
        assert isinstance(refused, Refused), field
        assert refused.field == field
        assert refused.message.endswith((".", "_.", "characters"))
        assert world.entries == before


def test_a_book_is_asked_for_all_that_the_decision_needs() -> None:
    world = World()
    world.tell(FULL)
    book = Book()
    keys, fields = wanted(Provision(device_id="acme/e-9", asset_id="ESN-1", id="x"), book)
    assert keys == {"device/acme/e-9", "asset/ESN-1"}
    assert fields == {"cmd/x"}
    book.entries |= {key: world.entries.get(key) for key in keys}
    book.owners |= dict.fromkeys(fields)
    keys, fields = wanted(Provision(device_id="acme/e-9", asset_id="ESN-1", id="x"), book)
    assert keys == {"device/acme/e-1", "customer/C-1"}
    assert not fields
    assert isinstance(decide(FULL, world.book, NOW), Decided)


def test_an_identity_leaves_out_what_its_device_never_met() -> None:
    world = World()
    world.tell(FULL)
    world.tell(Provision(device_id="t/other", asset_id="Z", customer_id="Q"))
    identity = identity_of(world.entries["device/acme/e-1"], world.entries)
    assert set(identity.assets) == {"ESN-1"}
    assert set(identity.customers) == {"C-1"}
    assert at(identity_of(Entry(kind=Kind.DEVICE, id="t/x"), {}), NOW) is None
