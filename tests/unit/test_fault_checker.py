"""The fault suite's checker: it must be able to fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tests.faults import checker
from tests.faults.checker import Evidence, Flaw, Order, Sent, Struck, Told
from tests.faults.plan import Kind

DEVICE = "faults/device-01"


def sent(number: int, device: str = DEVICE) -> Sent:
    return Sent(number=number, event_id=f"e{number}", device=device, at_ms=number * 1000)


def order(key: str, place: int) -> Order:
    return Order(key=key, place=place, target_id=str(place))


def delivered(place: int, at_ms: int = 0) -> Told:
    return Told(outcome="delivered", at_ms=at_ms, target_id=str(place))


def evidence(
    *places: tuple[int, int],
    told: Mapping[str, Sequence[Told]] | None = None,
    dead: dict[str, list[bytes]] | None = None,
    struck: Sequence[Struck] = (),
) -> Evidence:
    """Four events of one device, and orders given as (event, place)."""
    results: Mapping[str, Sequence[Told]] = {
        f"e{n}": [delivered(place, n * 1000 + 100)] for n, place in places
    }
    return Evidence(
        sent=[sent(n) for n in range(4)],
        orders=[order(f"e{n}", place) for n, place in places],
        told={**results, **(told or {})},
        dead=dead or {},
        struck=struck,
    )


WELL = ((0, 10), (1, 11), (2, 15), (3, 16))


def flaws(given: Evidence) -> list[tuple[Flaw, str]]:
    return [(finding.flaw, finding.event_id) for finding in checker.check(given)]


def test_what_went_well_has_no_flaw() -> None:
    assert not flaws(evidence(*WELL))


def test_an_event_that_is_nowhere_is_lost() -> None:
    assert flaws(evidence(*WELL[:3])) == [(Flaw.LOST, "e3")]


def test_an_event_told_delivered_and_not_there_is_lost() -> None:
    assert flaws(evidence(*WELL[:3], told={"e3": [delivered(16)]})) == [(Flaw.LOST, "e3")]


@pytest.mark.parametrize("outcome", ["rejected", "superseded", "discarded"])
def test_an_event_that_the_target_need_not_have_is_not_lost(outcome: str) -> None:
    assert not flaws(evidence(*WELL[:3], told={"e3": [Told(outcome=outcome, at_ms=1)]}))


def test_a_dead_letter_counts_when_it_is_in_the_dlq() -> None:
    told = {"e3": [Told(outcome="dead_lettered", at_ms=1, cause_class="rejected")]}
    assert not flaws(evidence(*WELL[:3], told=told, dead={"e3": [b"e3"]}))
    assert flaws(evidence(*WELL[:3], told=told)) == [(Flaw.LOST, "e3")]


def test_a_dead_letter_for_a_trouble_of_the_system_is_needless() -> None:
    for cause, wrong in (("rejected", []), ("exhausted", [(Flaw.NEEDLESS, "e3")])):
        dead = Told(outcome="dead_lettered", at_ms=1, cause_class=cause)
        given = evidence(*WELL, told={"e3": [dead, delivered(16)]}, dead={"e3": [b"e3"]})
        assert flaws(given) == wrong


def test_two_orders_with_one_key_are_doubled() -> None:
    assert flaws(evidence(*WELL, (1, 17))) == [(Flaw.DOUBLED, "e1")]


def test_an_order_that_nobody_sent_is_a_flaw() -> None:
    given = evidence(*WELL)
    more = [*given.orders, order("stranger", 20)]
    strange = Evidence(
        sent=given.sent, orders=more, told=given.told, dead=given.dead, struck=given.struck
    )
    assert flaws(strange) == [(Flaw.DOUBLED, "stranger")]


def test_two_orders_of_a_device_the_wrong_way_round_are_out_of_order() -> None:
    assert flaws(evidence((0, 10), (1, 15), (2, 11), (3, 16))) == [(Flaw.OUT_OF_ORDER, "e2")]


def test_devices_are_independent_of_each_other() -> None:
    given = Evidence(
        sent=[sent(0), sent(1, "faults/device-02")],
        orders=[order("e0", 11), order("e1", 10)],
        told={"e0": [delivered(11)], "e1": [delivered(10)]},
        dead={},
        struck=(),
    )
    assert not flaws(given)


def test_a_replayed_dead_letter_may_come_late_and_its_successors_may_not() -> None:
    late = ((0, 10), (1, 30), (2, 15), (3, 16))
    dead = Told(outcome="dead_lettered", at_ms=1, cause_class="rejected")
    told = {"e1": [dead, delivered(30)]}
    assert not flaws(evidence(*late, told=told, dead={"e1": [b"e1"]}))
    swapped = ((0, 10), (1, 30), (2, 16), (3, 15))
    found = flaws(evidence(*swapped, told=told, dead={"e1": [b"e1"]}))
    assert found == [(Flaw.OUT_OF_ORDER, "e3")]


def test_a_result_that_says_something_else_than_the_target_holds_is_wrong() -> None:
    dead = Told(outcome="dead_lettered", at_ms=1, cause_class="rejected")
    for told in ([], [dead], [delivered(99)]):
        assert flaws(evidence(*WELL, told={"e3": told})) == [(Flaw.WRONG_RESULT, "e3")]
    assert not flaws(evidence(*WELL, told={"e3": [dead, delivered(16)]}))


def test_bytes_that_are_no_event_must_be_in_the_dlq() -> None:
    poison = Sent(number=9, event_id="", device=DEVICE, at_ms=1, payload=b"x")
    for dead, wrong in (({}, [(Flaw.LOST, "")]), ({"": [b"x"]}, [])):
        given = Evidence(sent=[poison], orders=[], told={}, dead=dead, struck=())
        assert flaws(given) == wrong


def test_a_flaw_is_put_down_to_the_fault_that_hit_its_request_else_to_the_one_at_the_time() -> None:
    struck = [
        Struck(kind=Kind.KILL, begun_ms=0, ended_ms=100),
        Struck(kind=Kind.HTML, begun_ms=900, ended_ms=950, keys={"e3"}),
        Struck(kind=Kind.DNS, begun_ms=2_500, ended_ms=9_000),
    ]
    found = checker.check(evidence((0, 10), struck=struck))
    assert [(f.event_id, f.kind) for f in found] == [
        ("e1", Kind.HTML),
        ("e2", Kind.HTML),
        ("e3", Kind.HTML),
    ]
    found = checker.check(evidence((0, 10), (1, 11), (2, 12), (3, 5), struck=struck[::2]))
    assert [(f.event_id, f.kind) for f in found] == [("e3", Kind.DNS)]
    before = checker.check(evidence((0, 10), struck=struck[2:]))
    assert [f.kind for f in before] == [None, None, Kind.DNS]


def test_delays_catch_up_and_p99_are_counted_from_the_journal() -> None:
    many = [sent(n, f"d{n}") for n in range(100)]
    told = {s.event_id: [delivered(n, max(s.at_ms + 50, 61_000))] for n, s in enumerate(many)}
    outage = [Struck(kind=Kind.ERP_OUTAGE, begun_ms=20_000, ended_ms=60_000)]
    given = Evidence(sent=many, orders=[], told=told, dead={}, struck=outage)
    assert max(checker.delays_s(given)[Kind.ERP_OUTAGE]) == pytest.approx(61.0)
    assert checker.catch_up_per_s(given, 60_000) == pytest.approx(61.0, abs=1.0)
    assert checker.catch_up_per_s(given, 2_000_000) is None
    assert checker.p99_ms(given, 70_000, 80_000) == (50.0, 10)
    assert checker.p99_ms(given, 200_000, 300_000) == (None, 0)
