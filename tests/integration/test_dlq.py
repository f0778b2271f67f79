"""The DLQ as a person works with it: typed commands on a real Kafka, Redis and Tryton."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from connectors.settings import make
from connectors.tryton import TrytonSettings
from pipeline.core.events import BusinessEvent
from pipeline.ops import audit
from pipeline.topology import dlq_topic, sink_topic
from pipeline.wire.avro import Codec
from tests.integration.dlq_world import PATIENCE_S, SINK, World, raised, refused

pytestmark = [pytest.mark.parts, pytest.mark.timeout(300)]

EDITED, PLAIN, THROWN = refused("b", 1), refused("c", 2), refused("d", 3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with raised(tmp_path_factory.mktemp("dlq")) as world:
        yield world


@pytest.fixture(scope="module")
def dead(world: World) -> tuple[BusinessEvent, ...]:
    """Three refused events of one device."""
    events = (EDITED, PLAIN, THROWN)
    world.send(*events)
    world.dead(*(one.id for one in events))
    return events


def test_a_refused_event_is_listed_with_its_cause_history_and_headers(
    world: World, dead: tuple[BusinessEvent, ...]
) -> None:
    row = world.listed()[dead[0].id]
    assert row["state"] == "open"
    assert "VAT" in row["message"]
    assert [note["state"] for note in row["history"]][:2] == ["in_flight", "retryable"]
    assert row["headers"]["ce_id"] == dead[0].id
    assert row["event"]["summary"] == dead[0].summary


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal(
    world: World, dead: tuple[BusinessEvent, ...], columns: int
) -> None:
    table = world.said("list", "--key", dead[0].device_id, columns=columns)
    summary = world.said("list", "--by-cause", columns=columns)
    shown = world.said("show", dead[0].id[:5], columns=columns)
    assert (
        max(len(line) for text in (table, summary, shown) for line in text.splitlines()) <= columns
    )
    for wanted in (dead[0].id[:8], "VAT", "open dead letters"):
        assert wanted in table
    assert "tryton.user_error" in summary
    for wanted in ("FI1234567", "given up", "in flight", "ce_type", dead[0].summary, "dlq replay"):
        assert wanted in shown, wanted


def test_filters_leave_out_what_is_not_meant(world: World, dead: tuple[BusinessEvent, ...]) -> None:
    fits = ("--cause", "rejected", "--since", "1h", "--tenant", "acme", "--key", "acme/*")
    assert {one.id for one in dead} <= world.listed(*fits).keys()
    for misfit in (("--key", "other/*"), ("--until", "2020-01-01"), ("--cause", "exhausted")):
        assert not world.listed(*misfit)
    assert len(world.listed("--limit", "1")) == 1
    assert "is no time" in world.refusal("list", "--since", "yesterday")


@pytest.mark.usefixtures("dead")
def test_from_edit_to_one_order(world: World) -> None:
    said = world.said(
        *("edit", "bbbb", "--set", "summary=Blade rub", "--set", "severity=critical"),
        *("--why", "the inspector was there"),
    )
    assert "Blade rub" in said
    assert "tenant cannot be changed" in world.refusal(
        "edit", "bbbb", "--set", "tenant=other", "--why", "x"
    )
    assert "the inspector was there" in world.said("show", "bbbb")
    assert world.listed()[EDITED.id]["edited"] is True

    said = world.said("replay", "bbbb", "--dry-run")
    assert "party.party.create" in said, "the customer is the first thing that would be made"
    assert "POST http://127.0.0.1" in said
    assert "Authorization: [removed]" in said
    assert make(TrytonSettings).password.get_secret_value() not in said
    assert world.orders() == []

    world.said("discard", "dddd", "--why", "a test rig, nobody pays")
    assert THROWN.id not in world.listed()
    assert world.listed("--state", "discarded").keys() == {THROWN.id}
    assert "--even-discarded" in world.refusal("replay", "dddd")
    [*_, result] = world.results(THROWN.id)
    assert result["outcome"] == "discarded"
    assert "ana" in result["message"]

    world.mend("FI1234567,", "FI20774740,")
    for _ in range(2):
        said = world.said("replay", "bbbb", "--why", "VAT number mended")
        assert f"{EDITED.id} delivered" in " ".join(said.split())
    [(key, name)] = world.orders()
    assert key == EDITED.id
    assert "critical · Blade rub" in name
    assert world.listed("--state", "delivered").keys() == {EDITED.id}
    assert "The ledger says that it is delivered" in world.said("replay", "bbbb", "--dry-run")

    for _ in range(2):
        world.said("replay", "cccc", "--no-wait")
    said = world.said("replay", "--even-discarded", "dddd", "cccc")
    assert said.count("delivered") == 2
    assert [key for key, _ in world.orders()] == [EDITED.id, PLAIN.id, THROWN.id]
    assert THROWN.id in world.listed("--state", "delivered")

    acts = asyncio.run(audit.read(world.settings, Codec()))
    acts = [act for act in acts if act.event_id == EDITED.id]
    assert [act.action for act in acts] == ["edit", "replay", "replay"]
    assert {act.who for act in acts} == {"ana"}
    assert acts[0].changes["summary"].endswith("→ Blade rub")
    assert acts[0].before_hash != acts[0].after_hash
    replays = {result["replay"] for result in world.results(EDITED.id)} - {None}
    assert replays == {act.id for act in acts[1:]}


def test_what_cannot_be_read_is_shown_as_such_and_can_be_discarded(world: World) -> None:
    world.write(sink_topic(SINK), b"no event", b"acme/engine-001")
    world.write(dlq_topic(SINK), b"no dead letter at all", b"acme/engine-002")
    deadline = time.monotonic() + PATIENCE_S
    while len(rows := world.listed("--cause", "*unreadable")) < 2:
        assert time.monotonic() < deadline
    offsets = {row["code"]: str(row["dlq_offset"]) for row in rows.values()}
    assert offsets.keys() == {"unreadable", "dlq.unreadable"}
    assert "cannot be read" in world.said("list", columns=160)
    for offset in offsets.values():
        assert "bytes" in world.said("show", offset)
        assert "cannot be replayed" in world.refusal("replay", offset)
        world.said("discard", offset, "--why", "garbage")
    assert world.listed("--cause", "*unreadable") == {}


def test_a_dry_run_says_when_the_system_is_away_or_would_refuse(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = refused("e", 9, device="nobody/knows")
    world.send(lost)
    world.dead(lost.id)
    assert "not in the registry" in world.refusal("replay", "eeee", "--dry-run")
    monkeypatch.setenv("TRYTON_URL", "http://127.0.0.1:1/erp")
    said = world.refusal("replay", "eeee", "--dry-run")
    assert "cannot be reached" in said
    assert "Nothing was sent" in said


def test_many_at_once_need_a_yes(world: World) -> None:
    one = refused("f", 100)
    many = [
        replace(one, id=f"f{n:02d}" + "f" * 21, device_id=f"nobody/else-{n}") for n in range(21)
    ]
    world.send(*many)
    world.dead(*(event.id for event in many))
    wish = ("--key", "nobody/else-*", "--why", "never registered")
    assert "--yes" in world.refusal("discard", *wish)
    assert "21 discarded" in world.said("discard", *wish, "--yes")
