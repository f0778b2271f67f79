"""The lake's keepers as a person or a nightly job runs them: processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.lake_columns import Dataset
from pipeline.state.registry import COLUMNS
from tests.contract.lake_keep_world import DATE, READINGS, World

FIELDLINE = str(Path(sys.executable).with_name("fieldline"))
WITHIN_S = 180
ROWS = 18 * READINGS


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A lake with small files of two datasets: two events are of customer C-9's device."""
    one = World.in_folder(tmp_path)

    async def write() -> None:
        await one.telemetry(6)
        theirs = one.events(3, 2, device_id="acme/x", customer_id="C-9")
        await one.write([one.events(0, 3), theirs], dataset=Dataset.EVENTS)

    asyncio.run(write())
    devices = one.folder / "devices.csv"
    row = {"device_id": "acme/pump-003", "customer_id": "C-9", "active": "true"}
    cells = (row.get(name, "some") for name in COLUMNS)
    devices.write_text(f"{','.join(COLUMNS)}\n{','.join(cells)}\n", encoding="utf-8")
    return one


def typed(world: World, *words: str, answer: str | None = None) -> subprocess.CompletedProcess[str]:
    """`fieldline lake WORDS`; with an answer, it is typed on a terminal."""
    assert world.config.catalog is not None
    environment = os.environ | {
        "LAKE_URL": world.config.url,
        "LAKE_CATALOG": world.config.catalog.get_secret_value(),
        "FIELDLINE_DEVICES_FILE": str(world.folder / "devices.csv"),
        "FIELDLINE_OPERATOR": "tester",
        "COLUMNS": "100",
    }
    ours, theirs = os.openpty()
    try:
        if answer is not None:
            os.write(ours, f"{answer}\n".encode())
        return subprocess.run(
            [FIELDLINE, "lake", *words],
            stdin=subprocess.DEVNULL if answer is None else theirs,
            capture_output=True,
            text=True,
            env=environment,
            timeout=WITHIN_S,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)


def test_the_nightly_job_merges_sweeps_and_verifies_and_says_so_line_by_line(world: World) -> None:
    night = typed(world, "nightly", "--json")
    assert (night.returncode, night.stderr) == (0, "")
    lines = [json.loads(line) for line in night.stdout.splitlines()]
    assert [list(line) for line in lines] == [["compact"], ["expire"], ["verify"]]
    merged = {one["dataset"]: one for one in lines[0]["compact"]}
    assert {name: one["files"] for name, one in merged.items()} == {"telemetry": 6, "events": 2}
    verified = {one["dataset"]: one for one in lines[2]["verify"]}
    assert (verified["telemetry"]["sums"], verified["telemetry"]["findings"]) == (ROWS, [])
    assert len(world.files()) == 1

    again = typed(world, "nightly")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("Nothing to merge.\nNothing to remove.\n")
    assert "telemetry: 6 files" in again.stdout

    (world.folder / "telemetry" / f"date={DATE}" / world.files()[0]).unlink()
    alarm = typed(world, "nightly", "--json")
    assert alarm.returncode == 1
    [sentence] = alarm.stderr.splitlines()
    assert "infra/docs/LAKE.md" in sentence
    found = json.loads(alarm.stdout.splitlines()[-1])["verify"][0]["findings"]
    assert [one["wrong"] for one in found] == ["lost", "missing"]


def test_a_customer_is_forgotten_once_a_person_has_said_yes(world: World) -> None:
    alone = typed(world, "forget-customer", "C-9")
    assert alone.returncode == 1
    [sentence] = alone.stderr.splitlines()
    assert "--yes" in sentence

    question = (
        f"Delete {ROWS // 5} rows of telemetry, 2 rows of events, what was delivered of these "
        "events: all of customer C-9 and of acme/pump-003, for good? [y/N]:"
    )
    no = typed(world, "forget-customer", "C-9", answer="n")
    assert (no.returncode, no.stdout.strip()) == (1, "")
    assert question in no.stderr
    assert "Nothing was deleted." in no.stderr
    assert (world.rows(), world.rows(Dataset.EVENTS)) == (ROWS, 5)

    yes = typed(world, "forget-customer", "C-9", answer="y")
    assert yes.returncode == 0, yes.stderr
    assert question in yes.stderr
    assert (world.rows(), world.rows(Dataset.EVENTS)) == (ROWS * 4 // 5, 3)
    [proof] = (world.folder / "_kept/forgotten").iterdir()
    assert f"Proof: _kept/forgotten/{proof.name}\n" in yes.stdout
    assert "Its salt, kept nowhere else: " in yes.stdout
    assert "events: the events were of 1 device.\n" in yes.stdout

    nobody = typed(world, "forget-device", "acme/pump-003", answer="n")
    assert "No table has a row of device acme/pump-003." in nobody.stderr
    assert typed(world, "verify", "--rows").returncode == 0
