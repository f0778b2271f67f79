from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.feedback import (
    Outcome,
    Span,
    Told,
    Verdict,
    counted,
    learn,
    movable,
    standing,
)
from pipeline.core.rules import FeedbackRule
from pipeline.state import feedback_topic
from pipeline.state.feedback_topic import UnusableOutcomeError
from tests.unit.rules_world import changed, parsed

RULE = FeedbackRule(step=0.1, least=0.5, most=2.0)
PAIR = ("level", "oil")


def outcome(event_id: str = "a", verdict: Verdict = Verdict.FALSE_ALARM) -> Outcome:
    return Outcome(
        event_id=event_id,
        detector="level",
        metric="oil",
        tenant="acme",
        outcome=verdict,
        who="anna",
        why="seen",
        at_ms=5,
    )


outcomes = st.lists(
    st.builds(
        Outcome,
        event_id=st.sampled_from("abcdef"),
        detector=st.sampled_from(("level", "edge")),
        metric=st.sampled_from(("oil", "fuel")),
        tenant=st.just("acme"),
        outcome=st.sampled_from(Verdict),
        who=st.just("anna"),
        why=st.just(""),
        at_ms=st.just(0),
    )
)
rules = st.builds(
    FeedbackRule,
    step=st.floats(0.001, 1.0),
    least=st.floats(0.01, 1.0),
    most=st.floats(1.0, 100.0),
)


def test_a_false_alarm_raises_the_threshold_and_a_confirmed_one_lowers_it() -> None:
    assert learn({}, [outcome()], RULE)[0] == {PAIR: 1.1}
    assert learn({}, [outcome(verdict=Verdict.CONFIRMED)], RULE)[0] == {PAIR: 1.1**-1}
    both = [outcome("a"), outcome("b", Verdict.CONFIRMED)]
    assert learn({}, both, RULE)[0] == {}


def test_changes_say_what_moved_from_what_to_what() -> None:
    _, [change] = learn({PAIR: 1.1, ("edge", "x"): 1.0}, [outcome("a"), outcome("b")], RULE)
    assert (change.detector, change.metric) == PAIR
    assert (change.before, change.after) == (1.1, 1.1**2)
    assert (change.false_alarms, change.confirmed) == (2, 0)


def test_many_alike_stop_at_the_bounds() -> None:
    false = [outcome(str(n)) for n in range(5_000)]
    assert learn({}, false, RULE)[0] == {PAIR: 2.0}
    confirmed = [replace(one, outcome=Verdict.CONFIRMED) for one in false]
    assert learn({}, confirmed, RULE)[0] == {PAIR: 0.5}


@given(outcomes, rules)
def test_factors_stay_in_their_bounds(told: list[Outcome], rule: FeedbackRule) -> None:
    assert all(rule.least <= factor <= rule.most for factor in learn({}, told, rule)[0].values())


@given(outcomes, outcomes, rules)
def test_taking_outcomes_back_gives_the_factors_of_before(
    before: list[Outcome], more: list[Outcome], rule: FeedbackRule
) -> None:
    more = [replace(one, event_id="later " + one.event_id) for one in more]
    back = [replace(one, outcome=Verdict.WITHDRAWN) for one in more]
    first, _ = learn({}, before, rule)
    then, _ = learn(first, [*before, *more], rule)
    again, _ = learn(then, [*before, *more, *back], rule)
    assert again == first


@given(outcomes, rules)
def test_telling_again_what_stands_changes_nothing(told: list[Outcome], rule: FeedbackRule) -> None:
    factors, _ = learn({}, told, rule)
    again = [*told, *standing(told).values()]
    assert learn(factors, again, rule) == (factors, ())


@given(outcomes.flatmap(lambda told: st.tuples(st.just(told), st.permutations(told))), rules)
def test_the_order_in_which_events_are_told_does_not_matter(
    both: tuple[list[Outcome], list[Outcome]], rule: FeedbackRule
) -> None:
    told, shuffled = both
    last = standing(told)
    again = [last[one.event_id] for one in shuffled if one.event_id in last]
    assert learn({}, told, rule)[0] == learn({}, again, rule)[0]


def test_a_later_outcome_of_an_event_replaces_the_earlier_one() -> None:
    told = [outcome("a"), outcome("a", Verdict.CONFIRMED)]
    assert learn({}, told, RULE)[0] == {PAIR: 1.1**-1}
    assert standing([*told, outcome("a", Verdict.WITHDRAWN)]) == {}


def test_without_a_rule_nothing_is_learnt_and_what_was_is_forgotten() -> None:
    factors, [change] = learn({PAIR: 1.5}, [outcome()], None)
    assert factors == {}
    assert (change.before, change.after) == (1.5, 1.0)


def test_what_was_set_aside_does_not_count() -> None:
    log = [Told(offset=n, outcome=outcome(str(n))) for n in (5, 3, 4, 9)]
    assert [o.event_id for o in counted(log, (Span(4, 6),))] == ["3", "9"]
    assert [o.event_id for o in counted(log)] == ["3", "4", "5", "9"]


def test_only_thresholds_that_a_factor_can_move_are_movable() -> None:
    rules = parsed()
    assert movable(rules, "level", "oil")
    assert not movable(rules, "edge", "oil")
    assert not movable(rules, "silent", "")
    assert not movable(rules, "own", "fuel")
    text = changed("set: {level: {memory: 10}}", "set: {own: {info: {}}}")
    assert movable(parsed(text), "own", "fuel")


def test_an_outcome_is_the_same_after_the_topic() -> None:
    key, value = feedback_topic.encode(outcome())
    assert key == b"a"
    assert feedback_topic.decode(value) == outcome()


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"a"', b'""', "event_id is empty"),
        (b'"a"', b"5", "event_id is no text"),
        (b'"seen"', b'"' + b"x" * 501 + b'"', "why is no text of at most"),
        (b'"false_alarm"', b'"perhaps"', "outcome is none of"),
        (b'"at_ms":5', b'"at_ms":"now"', "at_ms is no time"),
        (b'"at_ms":5', b'"at_ms":true', "at_ms is no time"),
        (b"{", b"[", "not JSON"),
    ],
)
def test_a_record_that_is_no_outcome_says_why(old: bytes, new: bytes, why: str) -> None:
    _, value = feedback_topic.encode(outcome())
    assert old in value
    with pytest.raises(UnusableOutcomeError, match=why):
        feedback_topic.decode(value.replace(old, new, 1))


@pytest.mark.parametrize("value", [None, b"", b"[]", b"{" * 20_000])
def test_what_is_no_record_at_all_is_refused(value: bytes | None) -> None:
    with pytest.raises(UnusableOutcomeError):
        feedback_topic.decode(value)
