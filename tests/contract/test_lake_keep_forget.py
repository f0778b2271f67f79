"""A forgetting that dies anywhere is finished by the next run, whose proof tells all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.lake import base, forget, intents
from connectors.lake.compact import Clock, Token
from connectors.lake.live import Live, Progress
from connectors.lake.verify import verify
from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_forget import Whose
from pipeline.core.lake_keep import DAY_MS
from pipeline.ops import lake_keep as ops
from pipeline.settings import Settings
from pipeline.state.registry import COLUMNS
from tests.contract.lake_keep_world import DATE, READINGS, World, expired, merged, now, wrongs

PUMP = Whose(devices=frozenset({"acme/pump-003"}))
CUSTOMER = "C-9"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.in_folder(tmp_path)


class DiedError(Exception):
    """The process ended here."""


async def died(world: World, live: Live) -> None:
    with pytest.raises(DiedError):
        await forget.forget(live, PUMP, clock=world.clock, token=world.token)


def dying_after(act: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    """`act` is done, and then the process ends where `when` says of its arguments that it does."""

    async def call(*arguments: object) -> object:
        answer = await act(*arguments)
        if when(*arguments):
            raise DiedError
        return answer

    return call


AFTER_NOTE = "/forgetting/"
CASES = {
    "the note": ("put", lambda key, _: key.endswith(".json") and AFTER_NOTE in key, 0),
    "the commit": ("swap", lambda *_: True, 1),
    "the commit was confirmed": ("put", lambda key, _: key.endswith(".made"), 1),
    "old versions were forgotten": ("named", lambda *_: True, 1),
    "leavings were deleted": ("delete", lambda *_: True, 1),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_a_run_took_out_before_it_died_is_told_by_the_next(
    world: World, case: str
) -> None:
    name, when, earlier = CASES[case]
    await world.telemetry(4)
    rows = 12 * READINGS
    live = world.live()
    setattr(live, name, dying_after(getattr(live, name), when))
    await died(world, live)
    assert (await verify(world.live())).unproven == 1
    done = await forget.forget(world.live(), PUMP, clock=world.clock, token=world.token)
    assert (done.rows, done.left, done.unsure) == (rows // 5, 0, 0)
    assert done.earlier == earlier * rows // 5
    taken = done.dates[DATE]
    assert (taken.before.rows, taken.after.rows) == (rows, rows * 4 // 5)
    assert taken.after.plus(taken.removed) == taken.before
    assert len(taken.files) == 4
    assert world.rows() == rows * 4 // 5
    # What the first run wrote and nobody shows is swept a day later: none of their rows is in it.
    files = [path for path in world.folder.rglob("*") if path.is_file()]
    assert [path for path in files if b"pump-003" in path.read_bytes()] == []
    await intents.remove(world.live(), done.notes)
    report = await verify(world.live(), rows=True)
    assert (report.account.findings, report.unproven) == ((), 0)
    assert list((world.folder / "telemetry/_kept/forgetting").iterdir()) == []


async def test_a_note_about_somebody_else_stays_for_their_run(world: World) -> None:
    await world.telemetry(4)
    live = world.live()
    live.swap = dying_after(live.swap, lambda *_: True)  # type: ignore[method-assign]
    await died(world, live)
    other = Whose(devices=frozenset({"acme/pump-001"}))
    done = await forget.forget(world.live(), other, clock=world.clock, token=world.token)
    assert (done.earlier, done.unsure, len(done.notes)) == (0, 0, 1)
    # That run has forgotten the version of the table that would have told, and says so.
    again = await forget.forget(world.live(), PUMP, clock=world.clock, token=world.token)
    assert (again.rows, again.earlier, again.unsure) == (0, 0, 12 * READINGS // 5)
    assert await wrongs(world) == []


async def test_a_commit_is_known_to_have_been_made_after_its_files_were_merged(
    world: World,
) -> None:
    await world.telemetry(4)
    live = world.live()
    live.swap = dying_after(live.swap, lambda *_: True)  # type: ignore[method-assign]
    await died(world, live)
    now(world, later_ms=0)
    await merged(world)
    done = await forget.forget(world.live(), PUMP, clock=world.clock, token=world.token)
    assert (done.rows, done.earlier) == (12 * READINGS // 5, 12 * READINGS // 5)
    now(world, later_ms=3 * DAY_MS)
    await expired(world)
    assert await wrongs(world) == []


def settings_of(world: World, devices: Path) -> Settings:
    devices.write_text(f"{','.join(COLUMNS)}\n", encoding="utf-8")
    return Settings(
        lake_url=world.config.url,
        lake_catalog=world.config.catalog,
        devices_file=devices,
        operator="tester",
    )


async def test_a_proof_after_a_crash_tells_of_both_runs_and_finds_the_deliveries_too(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(world, tmp_path / "devices.csv")
    theirs = world.events(3, 2, device_id="acme/x", customer_id=CUSTOMER)
    await world.write([world.events(0, 3), theirs], dataset=Dataset.EVENTS)
    # Delivered, and about no device: only their event tells whose they are.
    await world.write(
        [world.deliveries([f"{n:024d}" for n in range(5)])], dataset=Dataset.DELIVERIES
    )
    whose = ops.whose_customer(settings, CUSTOMER, ())
    forgotten = forget.forget

    async def dies(
        live: Live, whose: Whose, *, clock: Clock, token: Token, progress: Progress
    ) -> forget.Forgotten:
        if live.dataset is Dataset.DELIVERIES:
            raise DiedError
        return await forgotten(live, whose, clock=clock, token=token, progress=progress)

    with monkeypatch.context() as patch:
        patch.setattr(forget, "forget", dies)
        with pytest.raises(DiedError):
            await ops.forget_all(settings, whose)
    assert world.rows(Dataset.EVENTS) == 3

    proof = await ops.forget_all(settings, whose)
    told = proof.record["datasets"]
    assert proof.complete
    assert (told["events"]["rows_removed"], told["events"]["dates"][DATE]["removed"]["rows"]) == (
        2,
        2,
    )
    assert told["events"]["rows_removed_by_runs_without_proof"] == 2
    assert (told["deliveries"]["rows_removed"], world.rows(Dataset.DELIVERIES)) == (2, 3)
    name = f"{proof.salt}{CUSTOMER}".encode()
    assert proof.record["id_sha256"] == hashlib.sha256(name).hexdigest()
    store = world.live().store
    kept = await store.get(proof.key)
    assert isinstance(kept, base.Content)
    assert json.loads(kept.data) == proof.record

    # What is proved is told once.
    again = (await ops.forget_all(settings, whose)).record["datasets"]
    assert [one["rows_removed"] for one in again.values()] == [0, 0, 0, 0]
