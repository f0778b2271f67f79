from __future__ import annotations

import itertools

import pytest

from pipeline.core.dlq import DISCARD, EDIT, REPLAY, Facts, State, state_of
from pipeline.core.ledger import State as Row

UNDER_WAY = (Row.IN_FLIGHT, Row.UNKNOWN, Row.RETRYABLE)


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (Facts(), State.OPEN),
        (Facts(outcome="dead_lettered"), State.OPEN),
        (Facts(outcome="dead_lettered", row=Row.DEAD_LETTERED), State.OPEN),
        (Facts(outcome="dead_lettered", row=Row.DEAD_LETTERED, action=EDIT), State.OPEN),
        # A discard that was written to the audit, and then not done.
        (Facts(outcome="dead_lettered", action=DISCARD), State.OPEN),
        # A replay that came back.
        (Facts(outcome="dead_lettered", row=Row.DEAD_LETTERED, action=REPLAY), State.OPEN),
        (Facts(outcome="dead_lettered", action=REPLAY, pending=True), State.REPLAYING),
        (Facts(outcome="discarded", action=REPLAY, pending=True), State.REPLAYING),
        (Facts(outcome="dead_lettered", row=Row.IN_FLIGHT), State.REPLAYING),
        (Facts(outcome="dead_lettered", row=Row.UNKNOWN), State.REPLAYING),
        (Facts(outcome="dead_lettered", row=Row.RETRYABLE), State.REPLAYING),
        # The ledger knows it before the result is in Kafka.
        (Facts(outcome="dead_lettered", row=Row.SUCCEEDED, pending=True), State.DELIVERED),
        (Facts(outcome="delivered"), State.DELIVERED),
        (Facts(outcome="delivered", action=REPLAY, pending=True), State.DELIVERED),
        (Facts(outcome="superseded", row=Row.SUPERSEDED), State.SUPERSEDED),
        (Facts(outcome="rejected", row=Row.REJECTED), State.REJECTED),
        (Facts(outcome="discarded", row=Row.DEAD_LETTERED, action=DISCARD), State.DISCARDED),
        # Results are kept for 90 days, and what is no event has none.
        (Facts(row=Row.SUCCEEDED), State.DELIVERED),
        (Facts(row=Row.SUPERSEDED), State.SUPERSEDED),
        (Facts(row=Row.REJECTED), State.REJECTED),
        (Facts(row=Row.DEAD_LETTERED), State.OPEN),
        (Facts(action=DISCARD), State.DISCARDED),
        (Facts(row=Row.DEAD_LETTERED, action=DISCARD), State.DISCARDED),
        (Facts(action=EDIT), State.OPEN),
    ],
)
def test_the_state_of_an_entry_by_what_is_known(facts: Facts, state: State) -> None:
    assert state_of(facts) is state


def test_every_combination_has_a_state_and_only_a_delivery_makes_it_delivered() -> None:
    outcomes = ("", "delivered", "rejected", "superseded", "dead_lettered", "discarded")
    actions = ("", REPLAY, EDIT, DISCARD)
    for outcome, row, action, pending in itertools.product(
        outcomes, (None, *Row), actions, (False, True)
    ):
        state = state_of(Facts(outcome=outcome, row=row, action=action, pending=pending))
        taken = outcome == "delivered" or row is Row.SUCCEEDED
        assert (state is State.DELIVERED) is taken
        if not taken and (pending or row in UNDER_WAY):
            assert state is State.REPLAYING
