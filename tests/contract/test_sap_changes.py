"""SAP: updates, clears and reopening beside what people do in the system."""

from __future__ import annotations

from typing import Any

import httpx

from connectors.sap.mapping import LONG_TEXT_MAX, marks, reference, units
from pipeline.core.events import Severity
from pipeline.core.outcome import (
    Delivered,
    Found,
    NotFound,
    Rejected,
    Retryable,
    Scope,
    Unknown,
)
from tests.contract import sap_examples
from tests.contract.conversation import steps
from tests.contract.sap_examples import (
    KIND,
    body,
    connector,
    created,
    delivery,
    error,
    found,
    one,
    talk,
    token,
)
from tests.contract.world import World, event, story
from tests.sandboxes.sap import MISSING, Sap

RAISED, UPDATE, CLEAR, AGAIN = story()


sandbox, world = sap_examples.sandbox, sap_examples.world


def shown(sandbox: Sap) -> dict[str, Any]:
    """The only notification there is."""
    [row] = sandbox.store.rows[KIND].values()
    return row.values


def number(sandbox: Sap) -> str:
    return str(shown(sandbox)[KIND])


async def raised(world: World) -> str:
    [outcome] = await world.deliver(RAISED)
    assert isinstance(outcome, Delivered)
    return outcome.target_id


# -- what a notification holds


async def test_a_raise_fills_the_notification(world: World, sandbox: Sap) -> None:
    await raised(world)
    row = shown(sandbox)
    assert row["MaintNotifExtReferenceNumber"] == reference(RAISED.id)
    assert row["NotificationText"] == "Coolant at 112 °C, limit 105 °C"
    assert (row["NotificationType"], row["MaintPriority"]) == ("M2", "1")
    assert (row["TechnicalObject"], row["TechObjIsEquipOrFuncnlLoc"]) == ("10000005", "EAMS_EQUI")
    day, second = divmod(RAISED.occurred_at_ms // 1000, 86_400)
    assert (row["MalfunctionStartDate"], row["MalfunctionStartTime"]) == (day * 86_400_000, second)
    assert "Metric: coolant_c" in row["MaintNotificationLongText"]
    assert row["NotifProcessingPhase"] == "1"


async def test_an_object_that_sap_does_not_have_is_refused_with_saps_code(world: World) -> None:
    made = delivery(RAISED, **{"sap.equipment": MISSING})
    [outcome] = await world.deliver(RAISED, record=made.record)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "sap.refused"
    assert f"IW/805: Equipment {MISSING} does not exist" in outcome.message


# -- updates


async def test_an_update_adds_a_line_and_raises_the_priority(world: World, sandbox: Sap) -> None:
    low = event("low", severity=Severity.INFO, offset=1)
    [made] = await world.deliver(low)
    assert isinstance(made, Delivered)
    changes = [
        event(
            f"u{n}",
            action=UPDATE.action,
            entity_id=low.id,
            offset=2 + n,
            severity=severity,
            summary=f"Coolant at {n} °C",
        )
        for n, severity in enumerate((Severity.CRITICAL, Severity.WARNING))
    ]
    outcomes = await world.deliver(*changes)
    assert outcomes == [Delivered(target_id=made.target_id, created=True)] * 2
    row = shown(sandbox)
    assert row["MaintPriority"] == "1", "it only ever becomes more urgent"
    text = row["MaintNotificationLongText"]
    assert marks(text) == [reference(change.id) for change in changes]
    assert "Now critical: Coolant at 0 °C [FL-" in text
    assert text.startswith(low.summary)


async def test_what_people_wrote_stays(world: World, sandbox: Sap) -> None:
    no = await raised(world)
    theirs = {"NotificationText": "Pump, not engine", "MaintNotificationLongText": "Call Jo.\nNow."}
    sandbox.store.by_hand(no, **theirs, MaintPriority="1", MainWorkCenter="MECH")
    await world.deliver(UPDATE)
    row = shown(sandbox)
    assert row["NotificationText"] == theirs["NotificationText"]
    assert row["MaintNotificationLongText"].startswith("Call Jo.\nNow.\nNow ")
    assert row["MainWorkCenter"] == "MECH"


async def test_a_person_who_is_faster_is_read_again_and_not_overwritten(
    world: World, sandbox: Sap
) -> None:
    no = await raised(world)
    made = world.connector()
    conversation = made.deliver([world.delivery(UPDATE)])
    patches = 0

    def between() -> None:
        nonlocal patches
        patches += 1
        sandbox.store.by_hand(no, MaintNotificationLongText=f"Written by hand {patches}.")

    [outcome] = await _held(world, conversation, between, times=1)
    assert isinstance(outcome, Delivered)
    assert patches == 1
    assert shown(sandbox)["MaintNotificationLongText"].startswith("Written by hand 1.\nNow ")
    sandbox.store.by_hand(no, MaintNotificationLongText="")
    [outcome] = await _held(world, made.deliver([world.delivery(UPDATE)]), between, times=9)
    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.scope) == ("sap.changed", Scope.ITEM)
    assert marks(shown(sandbox)["MaintNotificationLongText"]) == []


async def _held(world: World, conversation: Any, between: Any, *, times: int) -> Any:  # noqa: ANN401
    """Hold the conversation; `between` comes before each of the first PATCHes."""
    left = times

    def spied() -> Any:  # noqa: ANN401 - a conversation
        nonlocal left
        call = next(conversation)
        try:
            while True:
                if call.request.method == "PATCH" and left:
                    left -= 1
                    between()
                reply = yield call
                call = conversation.send(reply)
        except StopIteration as end:
            return end.value

    return (await world.hold(spied())).result


async def test_a_notification_that_somebody_has_open_is_this_events_trouble_alone(
    world: World, sandbox: Sap
) -> None:
    no = await raised(world)
    other = event("other", device_id="acme/truck-2")
    [made] = await world.deliver(other)
    sandbox.store.locks[no] = "SMITH"
    for_other = event("more", action=UPDATE.action, entity_id=other.id, device_id=other.device_id)
    held, through = await world.deliver(UPDATE, for_other)
    assert isinstance(held, Retryable)
    assert (held.code, held.scope) == ("sap.locked", Scope.ITEM)
    assert "locked by SMITH" in held.message
    assert isinstance(made, Delivered)
    assert through == Delivered(target_id=made.target_id, created=True)


async def test_a_deletion_flag_is_final(world: World, sandbox: Sap) -> None:
    no = await raised(world)
    sandbox.store.by_hand(no, phase="5")
    outcomes = await world.deliver(UPDATE, CLEAR)
    for outcome in outcomes:
        assert isinstance(outcome, Rejected)
        assert outcome.code == "sap.deletion_flag"
        assert outcome.final
    [again] = await world.deliver(RAISED)
    assert again == Delivered(target_id=no, created=False), "not raised again either"
    assert [e["op"] for e in world.ops()] == ["create"]


# -- clears and reopening


async def test_a_clear_completes_with_the_events_own_time(world: World, sandbox: Sap) -> None:
    await raised(world)
    await world.deliver(CLEAR)
    row = shown(sandbox)
    assert row["NotifProcessingPhase"] == "4"
    day, second = divmod(CLEAR.occurred_at_ms // 1000, 86_400)
    assert row["NotificationReferenceDate"] == day * 86_400_000
    assert row["NotificationReferenceTime"] == second
    assert "Cleared: Coolant at 90 °C" in row["MaintNotificationLongText"]


async def test_what_a_person_has_completed_is_left_until_the_trouble_goes_on(
    world: World, sandbox: Sap
) -> None:
    no = await raised(world)
    sandbox.store.by_hand(no, phase="4")
    [cleared] = await world.deliver(CLEAR)
    assert cleared == Delivered(target_id=no, created=False)
    assert [e["op"] for e in world.ops()] == ["create"]
    [again] = await world.deliver(AGAIN)
    assert again == Delivered(target_id=no, created=True)
    assert [e["op"] for e in world.ops()] == ["create", "reopen", "update"]
    assert shown(sandbox)["NotifProcessingPhase"] == "3"


async def test_where_clears_only_note_people_complete(world: World, sandbox: Sap) -> None:
    await raised(world)
    made = world.connector(complete_on_clear=False)
    [outcome] = await world.deliver(CLEAR, connector=made)
    assert isinstance(outcome, Delivered)
    assert shown(sandbox)["NotifProcessingPhase"] == "1"
    assert marks(shown(sandbox)["MaintNotificationLongText"]) == [reference(CLEAR.id)]
    assert await world.look_up(CLEAR, connector=made) == [Found(target_id=number(sandbox))]


async def test_a_clear_whose_completion_was_lost_is_completed_the_next_time(
    world: World,
) -> None:
    no = await raised(world)
    world.far.faults({"path": "CompleteMaintNotification", "mode": "drop_before"})
    [lost] = await world.deliver(CLEAR)
    assert isinstance(lost, Unknown)
    assert await world.look_up(CLEAR) == [NotFound()]
    [outcome] = await world.deliver(CLEAR)
    assert outcome == Delivered(target_id=no, created=True)
    assert [e["op"] for e in world.ops()] == ["create", "update", "close"]
    assert await world.look_up(CLEAR) == [Found(target_id=no)]


async def test_an_old_clear_that_comes_again_does_not_undo_what_came_later(
    world: World, sandbox: Sap
) -> None:
    for told in (RAISED, UPDATE, CLEAR, AGAIN):
        await world.deliver(told)
    before = world.ops()
    outcomes = await world.deliver(UPDATE, CLEAR, AGAIN)
    assert all(isinstance(one, Delivered) and not one.created for one in outcomes)
    assert world.ops() == before
    assert shown(sandbox)["NotifProcessingPhase"] == "3"


async def test_a_log_is_only_added_to(world: World, sandbox: Sap) -> None:
    made = world.connector(notification_type="M3", long_text_log=True)
    for told in (RAISED, UPDATE, CLEAR, AGAIN):
        [outcome] = await world.deliver(told, connector=made)
        assert isinstance(outcome, Delivered), outcome
    text = shown(sandbox)["MaintNotificationLongText"]
    assert marks(text) == [reference(told.id) for told in (UPDATE, CLEAR, AGAIN)]
    assert text.count("Metric: coolant_c") == 1


async def test_a_long_text_that_is_full_gives_up_our_oldest_lines_and_nobody_elses(
    world: World, sandbox: Sap
) -> None:
    no = await raised(world)
    changes = [
        event(f"u{n}", action=UPDATE.action, entity_id=RAISED.id, offset=2 + n) for n in range(20)
    ]
    outcomes = await world.deliver(*changes)
    assert all(isinstance(one, Delivered) for one in outcomes)
    text = shown(sandbox)["MaintNotificationLongText"]
    kept = marks(text)
    assert units(text) <= LONG_TEXT_MAX
    assert kept == [reference(change.id) for change in changes][-len(kept) :]
    assert 2 <= len(kept) < 20
    assert "Metric: coolant_c" in text
    theirs = "x" * LONG_TEXT_MAX
    sandbox.store.by_hand(no, MaintNotificationLongText=theirs)
    [outcome] = await world.deliver(CLEAR)
    assert isinstance(outcome, Delivered)
    assert shown(sandbox)["MaintNotificationLongText"] == theirs
    assert shown(sandbox)["NotifProcessingPhase"] == "4"


def test_older_releases_that_say_412_for_a_missing_etag_are_read_again_too() -> None:
    plain = one(__metadata={})
    replies = [found((RAISED.id, "10000001")), plain, token(), error(412, ""), one()]
    replies.append(httpx.Response(204))
    [outcome], calls = talk(connector().deliver([delivery(UPDATE)]), replies)
    assert isinstance(outcome, Delivered)
    assert steps(calls) == ["find", "read", "csrf", "update", "read", "update"]
    assert "if-match" not in calls[3].request.headers
    assert calls[5].request.headers["if-match"] == "W/\"'7'\""
    assert set(body(calls[5])) == {"d"}


def test_a_notification_that_was_archived_meanwhile_is_no_record() -> None:
    gone = error(404, "/IWBEP/CM_MGW_RT/020")
    replies = [found((RAISED.id, "10000001")), one(), token(), gone, gone]
    [outcome], _ = talk(connector().deliver([delivery(UPDATE)]), replies)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "sap.no_record"


def test_a_success_with_an_error_in_its_header_is_read_again() -> None:
    said = {"sap-message": '{"code":"IM/118","severity": "error","message":"not done"}'}
    doubtful = httpx.Response(204, headers=said)
    there = [found((RAISED.id, "10000001")), one(), token()]
    marked = one(MaintNotificationLongText=f"[FL-{reference(UPDATE.id)}]")
    [outcome], calls = talk(connector().deliver([delivery(UPDATE)]), [*there, doubtful, marked])
    assert isinstance(outcome, Delivered)
    again = [one(), doubtful] * 5
    [outcome], calls = talk(connector().deliver([delivery(UPDATE)]), [*there, doubtful, *again])
    assert isinstance(outcome, Retryable)
    assert outcome.code == "sap.changed"
    assert steps(calls).count("update") == 6
    warning = {"sap-message": '{"code":"IM/118","severity":"warning","message":"\\u00fc"}'}
    through = httpx.Response(204, headers=warning)
    [outcome], _ = talk(connector().deliver([delivery(UPDATE)]), [*there, through])
    assert isinstance(outcome, Delivered)


def test_a_change_whose_raise_is_not_through_waits_for_it() -> None:
    told = [delivery(RAISED), delivery(UPDATE)]
    outcomes, calls = talk(connector().deliver(told), [found(), token(), httpx.ReadTimeout("")])
    assert isinstance(outcomes[0], Unknown)
    assert isinstance(outcomes[1], Retryable)
    assert steps(calls) == ["find", "csrf", "create"]
    refused = error(400, "IM/118")
    outcomes, _ = talk(connector().deliver(told), [found(), token(), refused, found()])
    assert [one.code for one in outcomes if isinstance(one, Rejected)] == [
        "sap.refused",
        "sap.no_record",
    ]


def test_an_answer_about_another_record_is_not_taken_for_ours() -> None:
    [outcome], _ = talk(
        connector().deliver([delivery(RAISED)]), [found(), token(), created("another")]
    )
    assert isinstance(outcome, Unknown)


def test_of_several_with_one_reference_the_oldest_that_stands_counts() -> None:
    rows = found((RAISED.id, "10000009"), (RAISED.id, "10000007"))
    [outcome], _ = talk(connector().deliver([delivery(RAISED)]), [rows])
    assert outcome == Delivered(target_id="10000007", created=False)
