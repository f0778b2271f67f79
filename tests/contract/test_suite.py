"""The contract suite: what every connector must do, asserted at the far end.

It runs over the registry (connectors/registry.py). A connector without a case, or whose case
leaves a code or a trait out without a reason, fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from connectors import registry
from connectors.answers import transport_rows
from connectors.base import Effect
from connectors.fields import Policy
from connectors.jobs import Final
from connectors.settings import make as make_settings
from connectors.sources import Care
from pipeline.core.events import Action
from pipeline.core.outcome import (
    Delivered,
    Found,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Scope,
    Undecidable,
    Unknown,
)
from tests.contract.case import Case, Means, Trait
from tests.contract.world import World, event, key, story

GOLDEN = Path(__file__).with_name("golden")
NOT_OURS = frozenset({"lake"})
"""Folders of connectors/ that take no business events."""
HOSTILE = (
    "x" * 10_000,
    "Überhitzung 過熱 🔥 \u202e\u200f\u05e8\u05ea\u05d9\u05d7\u05d4",
    "a\x00b\x1b[31mc\r\nd\te",
    "\ud800 lone",
    "'; DROP TABLE orders; --",
    '=HYPERLINK("http://evil","x")',
    "<script>alert(1)</script> & ]]> <![CDATA[ &lt;",
    "{{7*7}} ${jndi:ldap://x} %s %n \\u0000 \\",
    "--batch_boundary\r\nContent-Type: x",
    "",
)
SECRET_WORDS = ("authorization", "cookie")


def case_of(name: str) -> Case:
    """The case of a system; a missing one is a failure, not a skip."""
    try:
        found: Case = import_module(f"tests.contract.cases.{name}").CASE
    except ModuleNotFoundError:
        pytest.fail(f"{name} has no case: write tests/contract/cases/{name}.py (see case.py).")
    return found


def _param(name: str) -> Any:  # noqa: ANN401 - pytest's
    marks = [pytest.mark.parts] if case_of(name).parts else []
    return pytest.param(name, marks=marks)


@pytest.fixture(params=[_param(name) for name in registry.names()])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each system's far end, empty, and what is sent to it."""
    case = case_of(request.param)
    with case.start() as far:
        if case.prepare is not None:
            case.prepare(far)
        yield World(case, far)


def lacking(world: World, trait: Trait) -> bool:
    """Whether the case says that the system lacks it: then nothing is asked of it."""
    return bool(world.case.lacks.get(trait))


def means(outcome: Outcome) -> Means:
    """An outcome in the words of a case."""
    if isinstance(outcome, Delivered):
        return Means.DELIVERED
    if isinstance(outcome, Rejected):
        return Means.REJECTED
    if isinstance(outcome, Unknown):
        return Means.UNKNOWN
    return Means.ITEM if outcome.scope is Scope.ITEM else Means.SYSTEM


def truthful(outcome: Outcome, *, there: bool, keyed: bool) -> None:
    """An outcome never says more than is known: not delivered without, not refused with."""
    if isinstance(outcome, Delivered):
        assert there, f"said to be delivered, and it is not there: {outcome}"
    elif there:
        again = isinstance(outcome, Unknown) or (keyed and isinstance(outcome, Retryable))
        assert again, f"it is there, and would be sent again or given up: {outcome}"


# -- once


async def test_an_event_makes_one_record_whose_key_and_id_are_told(world: World) -> None:
    [outcome] = await world.deliver(event())
    assert isinstance(outcome, Delivered), outcome
    assert outcome.created
    [made] = world.creates()
    assert made["key"]
    assert outcome.target_id


async def test_sent_again_it_changes_nothing_and_is_told_as_there_before(world: World) -> None:
    [first] = await world.deliver(event())
    [again] = await world.deliver(event())
    assert isinstance(first, Delivered)
    assert isinstance(again, Delivered)
    assert not again.created
    assert again.target_id == first.target_id
    assert len(world.creates()) == 1


async def test_it_is_created_once_though_the_system_is_down_for_a_while(world: World) -> None:
    world.far.faults(world.case.on_write(status=503, times=3))
    [end] = await world.run([event()])
    assert end.final is Final.DELIVERED
    assert len(world.creates()) == 1


async def test_taken_and_then_the_connection_lost_leaves_one_record(world: World) -> None:
    world.far.faults(world.case.on_write(mode="drop_after", times=2))
    [end] = await world.run([event()])
    assert end.final is Final.DELIVERED
    assert len(world.creates()) == 1


async def test_a_connection_lost_before_anything_was_taken_leaves_one_record(world: World) -> None:
    world.far.faults(world.case.on_write(mode="drop_before", times=2))
    [end] = await world.run([event()])
    assert end.final is Final.DELIVERED
    assert len(world.creates()) == 1


async def test_an_answer_that_never_comes_leaves_one_record(world: World) -> None:
    world.far.faults(world.case.on_write(mode="hang", times=1))
    [end] = await world.run([event()])
    assert end.final is Final.DELIVERED
    assert len(world.creates()) == 1


async def test_two_workers_with_one_event_leave_one_record(world: World) -> None:
    ends = await world.run([event("a"), event("b", device_id="acme/truck-2")], workers=2)
    assert {end.final for end in ends} == {Final.DELIVERED}
    assert len(world.creates()) == 2


async def test_two_workers_without_a_common_ledger_leave_one_record_where_it_is_keyed(
    world: World,
) -> None:
    if not world.connector().keyed:
        return  # its own ledger is what keeps it to once: the test before
    ends = await world.run([event("a")], workers=2, own_ledgers=True)
    assert {end.final for end in ends} == {Final.DELIVERED}
    assert len(world.creates()) == 1


async def test_an_event_that_stands_twice_in_a_batch_is_created_once(world: World) -> None:
    outcomes = await world.deliver(event(), event())
    assert [means(one) for one in outcomes] == [Means.DELIVERED] * 2
    assert len(world.creates()) == 1


# -- order


async def test_raised_changed_closed_and_reopened_come_in_order_on_one_record(
    world: World,
) -> None:
    lacks = world.case.lacks
    told = story(reopened=Trait.REOPEN not in lacks)
    wanted = ["create", "update", "close", "reopen"][: len(told)]
    if Trait.UPDATE in lacks or Trait.CLOSE in lacks:
        return
    ends = await world.run(told)
    assert [end.final for end in ends] == [Final.DELIVERED] * len(told)
    ops = [e["op"] for e in world.ops()]
    first = [op for place, op in enumerate(ops) if op not in ops[:place]]
    assert first == wanted, ops
    assert len({e["id"] for e in world.ops()}) == 1


async def test_changes_in_one_batch_come_in_order_too(world: World) -> None:
    if Trait.UPDATE in world.case.lacks or Trait.CLOSE in world.case.lacks:
        return
    told = story(reopened=False)
    outcomes = await world.deliver(*told)
    if [means(one) for one in outcomes] != [Means.DELIVERED] * 3:
        # A batch may put off what needs an earlier one of its record, but not refuse it.
        assert not [one for one in outcomes if isinstance(one, Rejected | Unknown)], outcomes
        outcomes = await world.deliver(*told)
    ops = [e["op"] for e in world.ops()]
    assert ops.index("create") < ops.index("update") < ops.index("close")


async def test_a_change_sent_again_is_made_once(world: World) -> None:
    if Trait.UPDATE in world.case.lacks:
        return
    told = story()[:2]
    await world.run(told)
    before = world.ops()
    [again] = await world.deliver(told[1])
    assert isinstance(again, Delivered)
    texts = [json.dumps(e["fields"]) for e in world.ops()[len(before) :]]
    assert not [text for text in texts if text not in {json.dumps(e["fields"]) for e in before}]


@pytest.mark.parametrize("fault", [{"status": 503}, {"mode": "drop_before"}])
async def test_a_change_in_an_outage_is_never_the_events_trouble(
    world: World, fault: dict[str, Any]
) -> None:
    if Trait.UPDATE in world.case.lacks or Trait.CLOSE in world.case.lacks:
        return
    connector = world.connector()
    raised, update, clear, _ = story()
    await world.deliver(raised, connector=connector)
    world.far.faults({"path": "", "times": None, **fault})
    for told in (update, clear):
        [outcome] = await world.deliver(told, connector=connector)
        assert means(outcome) in {Means.SYSTEM, Means.UNKNOWN}, outcome
    world.far.faults()
    assert [e["op"] for e in world.ops()] == ["create"]


async def test_a_change_of_a_record_that_is_not_there_is_refused(world: World) -> None:
    if Trait.UPDATE in world.case.lacks:
        return
    [outcome] = await world.deliver(story()[1])
    assert isinstance(outcome, Rejected), outcome
    assert not world.ops()


# -- batches


async def test_one_bad_record_of_a_batch_is_refused_alone(world: World) -> None:
    refusals = [c for c, (m, _) in world.case.codes.items() if m is Means.REJECTED]
    if not refusals:
        pytest.fail("A case needs a code that refuses a record.")
    told = [event(f"e{n}", device_id=f"acme/truck-{n}") for n in range(3)]
    world.far.errors({"code": refusals[0], "key": world.case.far_key(told[1].id), "times": None})
    outcomes = await world.deliver(*told)
    if world.connector().batch_size == 1:
        # One record a request: the conversation goes through them one by one.
        assert len(outcomes) == 3
    assert [means(one) for one in outcomes] == [Means.DELIVERED, Means.REJECTED, Means.DELIVERED]
    assert {e["id"] for e in world.creates()} == {
        one.target_id for one in outcomes if isinstance(one, Delivered)
    } or len(world.creates()) == 2


async def test_a_full_batch_and_one_more_are_all_there(world: World) -> None:
    size = world.connector().batch_size
    told = [event(f"e{n}", device_id=f"acme/truck-{n}") for n in range(size + 1)]
    ends = await world.run(told)
    assert {end.final for end in ends} == {Final.DELIVERED}
    assert len(world.creates()) == size + 1


# -- answers


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


# -- drift


@pytest.mark.parametrize("mode", ["truncate", "html", "add_field"])
async def test_an_answer_that_is_not_as_it_was_is_never_read_as_more_than_it_says(
    world: World, mode: str
) -> None:
    world.far.faults(world.case.on_write(mode=mode, times=None))
    [outcome] = await world.deliver(event())
    truthful(outcome, there=bool(world.creates()), keyed=world.connector().keyed)
    if mode == "add_field":
        assert isinstance(outcome, Delivered), outcome


async def test_an_answer_without_what_it_must_say_is_unknown(world: World) -> None:
    for number, name in enumerate(world.case.drop_fields):
        told = event(f"drift {number}", device_id=f"acme/truck-{number}")
        world.far.faults(world.case.on_write(mode="drop_field", fields=[name], times=None))
        [outcome] = await world.deliver(told)
        there = bool(world.creates(world.case.far_key(told.id))) or bool(world.creates())
        truthful(outcome, there=there, keyed=world.connector().keyed)
        assert isinstance(outcome, Unknown | Delivered), (name, outcome)


async def test_what_drifted_is_delivered_once_when_the_far_end_is_well_again(world: World) -> None:
    world.far.faults(world.case.on_write(mode="truncate", times=1))
    [end] = await world.run([event()])
    assert end.final is Final.DELIVERED
    assert len(world.creates()) == 1


# -- sessions and limits


async def test_a_session_that_ends_is_renewed_and_nothing_is_lost(world: World) -> None:
    if lacking(world, Trait.EXPIRY):
        return
    connector = world.connector()
    [first] = await world.deliver(event("a"), connector=connector)
    world.far.expire()
    [second] = await world.deliver(event("b"), connector=connector)
    assert [means(first), means(second)] == [Means.DELIVERED] * 2
    world.far.faults(world.case.on_write(mode="expire", times=1))
    outcomes = await world.deliver(event("c"), event("d"), connector=connector)
    assert [means(one) for one in outcomes] == [Means.DELIVERED] * 2
    assert len(world.creates()) == 4


async def test_a_session_that_never_lasts_is_the_systems_trouble(world: World) -> None:
    if lacking(world, Trait.EXPIRY):
        return
    world.far.faults(world.case.on_write(mode="expire", times=None))
    [outcome] = await world.deliver(event())
    assert means(outcome) is Means.SYSTEM, outcome


async def test_the_rate_stays_under_the_systems_limit(world: World) -> None:
    if lacking(world, Trait.LIMIT):
        return
    # A login, a token, a look-up: a window lets a few through besides the writes.
    world.far.limit(8, 1.0)
    told = [event(f"e{n}", device_id=f"acme/truck-{n}") for n in range(12)]
    ends = await world.run(told)
    assert {end.final for end in ends} == {Final.DELIVERED}
    assert len(world.creates()) == 12
    stats = world.far.stats()
    times = sorted(stats["times"])
    busiest = max(sum(at <= t < at + 0.95 for t in times) for at in times)
    assert busiest <= 16, "two windows' worth within one"
    assert stats["limited"] <= stats["requests"] / 2, stats


# -- what comes in


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_hostile_text_is_delivered_or_refused_by_the_mapping(
    world: World, text: str
) -> None:
    told = event(summary=text, detector=text[:80], rule=text[:80], metric=text[:80])
    record = replace(
        world.case.record, asset_name=text[:200] or "-", customer_name=text[:200] or "-"
    )
    [outcome] = await world.deliver(told, record=record)
    if isinstance(outcome, Rejected):
        assert outcome.code.startswith("mapping."), outcome
        assert not world.ops()
    else:
        assert isinstance(outcome, Delivered), outcome
        assert len(world.creates()) == 1
    assert not [e for e in world.ops() if e["op"] not in {"create", "update"}]


@pytest.mark.parametrize("text", ["", "a/b", "a'b", "a b", "ü" * 30, "x" * 300, "../..", "a,b;c"])
async def test_a_hostile_id_is_delivered_as_it_is_or_refused_by_the_mapping(
    world: World, text: str
) -> None:
    record = replace(world.case.record, asset_id=text, customer_id=text)
    told = event(asset_id=text or None, customer_id=text or None)
    [outcome] = await world.deliver(told, record=record)
    if isinstance(outcome, Rejected):
        assert not world.ops()
    else:
        assert isinstance(outcome, Delivered), outcome


async def test_numbers_and_times_at_the_edge_are_delivered_or_refused_by_the_mapping(
    world: World,
) -> None:
    for number, ms in enumerate((-1, 0, 253_402_300_800_000, 2**62)):
        told = event(f"t{number}", occurred_at_ms=ms, observed_at_ms=ms, confidence=float("nan"))
        [outcome] = await world.deliver(told)
        if isinstance(outcome, Rejected):
            assert outcome.code.startswith("mapping."), outcome
        else:
            assert isinstance(outcome, Delivered), outcome


async def test_an_event_of_an_unknown_device_is_refused_before_anything_is_sent(
    world: World,
) -> None:
    connector = world.connector()
    one = replace(world.delivery(event()), record=None)
    exchange = await world.hold(connector.deliver([one]))
    assert exchange.result is not None, exchange.bug
    [outcome] = exchange.result
    if isinstance(outcome, Delivered):
        assert not registry.system(world.case.name).objects, "its mapping needs the registry"
    else:
        assert isinstance(outcome, Rejected)
        assert outcome.code == "mapping.unregistered_device"
        assert not world.writes()


async def test_a_retired_asset_is_final(world: World) -> None:
    [outcome] = await world.deliver(event(), record=replace(world.case.record, active=False))
    if isinstance(outcome, Rejected):
        assert outcome.code == "mapping.retired_asset"
        assert outcome.final
    else:
        assert not registry.system(world.case.name).objects


# -- what goes out


async def test_personal_data_stays_here_where_the_policy_withholds_it(world: World) -> None:
    if not registry.system(world.case.name).objects:
        return
    policy = Policy(withheld=frozenset({Care.PERSONAL.value}))
    outcomes = await world.deliver(event(), connector=world.connector(policy))
    told = json.dumps(world.far.journal(), ensure_ascii=False)
    assert world.case.record.customer_name not in told
    assert world.case.record.customer_tax_id not in told
    assert means(outcomes[0]) in {Means.DELIVERED, Means.REJECTED}


async def test_an_asset_of_another_region_is_not_sent(world: World) -> None:
    if not registry.system(world.case.name).objects:
        return
    policy = Policy(regions=frozenset({"us"}))
    [outcome] = await world.deliver(event(), connector=world.connector(policy))
    assert isinstance(outcome, Rejected)
    assert outcome.code == "mapping.region"
    assert not world.writes()


async def test_no_secret_is_in_what_is_told_of_an_answer_that_repeats_the_request(
    world: World,
) -> None:
    settings = make_settings(registry.system(world.case.name).settings, world.values())
    places = (world.case.on_write(), {"path": ""})
    for place, status in product(places, (200, 400, 401, 403, 500)):
        world.far.faults({**place, "mode": "echo", "status": status, "times": None})
        [outcome] = await world.deliver(event())
        told = repr(outcome)
        sent = [
            value
            for call in world.calls
            for name, value in call.request.headers.items()
            if name.lower() in SECRET_WORDS
        ]
        for secret in (*settings.secrets(), *sent):
            assert secret not in told
    assert not [text for text in settings.secrets() if text in repr(settings)]


# -- looking up


async def test_what_is_there_is_found_and_what_is_not_is_not(world: World) -> None:
    if lacking(world, Trait.LOOK_UP):
        [answer] = await world.look_up(event())
        assert isinstance(answer, Undecidable)
        return
    [sent] = await world.deliver(event("there"))
    answers = await world.look_up(event("there"), event("not there"))
    assert isinstance(sent, Delivered)
    assert answers == [Found(target_id=sent.target_id), NotFound()]


@pytest.mark.parametrize("fault", [{"status": 500}, {"mode": "html"}, {"mode": "drop_before"}])
async def test_a_look_up_that_fails_says_neither_yes_nor_no(
    world: World, fault: dict[str, Any]
) -> None:
    if lacking(world, Trait.LOOK_UP):
        return
    await world.deliver(event())
    connector = world.connector()
    world.far.faults({"path": "", "times": None, **fault})
    [answer] = await world.look_up(event(), connector=connector)
    assert isinstance(answer, Retryable), answer


async def test_a_change_is_looked_up_by_itself(world: World) -> None:
    if lacking(world, Trait.LOOK_UP) or Trait.UPDATE in world.case.lacks:
        return
    raised, update, _, _ = story()
    await world.deliver(raised)
    [before] = await world.look_up(update)
    assert not isinstance(before, Found) or world.connector().keyed
    await world.deliver(update)
    [after] = await world.look_up(update)
    assert isinstance(after, Found)


async def test_what_was_made_is_found_by_one_who_knows_its_ids_only(world: World) -> None:
    """The reconciler has neither the device's row nor the event's words."""
    if lacking(world, Trait.LOOK_UP) or Trait.CLOSE in world.case.lacks:
        return
    raised, update, clear = story(reopened=False)
    await world.run([raised, update, clear])
    connector = world.connector()
    for one in (raised, clear):
        bare = replace(world.delivery(replace(one, summary="", snapshot=())), record=None)
        exchange = await world.hold(connector.look_up([bare]))
        assert exchange.result is not None, exchange.bug
        assert isinstance(exchange.result[0], Found), (one.action, exchange.result)


# -- what it says of itself


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
    told = story()
    await world.deliver(event("other"))
    await world.run(
        [one for one in told if one.action is Action.RAISE or not lacking_change(world)]
    )
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


def lacking_change(world: World) -> bool:
    """Whether updates or clears are not for this system."""
    return Trait.UPDATE in world.case.lacks or Trait.CLOSE in world.case.lacks


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
