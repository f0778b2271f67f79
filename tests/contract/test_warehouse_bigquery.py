"""BigQuery over a sandbox of its REST API: the chain of jobs, and every way to be cut off."""

# ruff: noqa: ANN401 - results are asserted to be what they are

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from connectors.warehouse.base import Halt, Loaded, Retry, TroubleError
from connectors.warehouse.bigquery import BigQueryLoad
from connectors.warehouse.bigquery_api import BigQueryApi, read_key
from connectors.warehouse.config import BigQuerySettings
from connectors.warehouse.files import LakeFiles
from pipeline.core.lake_columns import TEXT, Column, Dataset
from pipeline.settings import SettingsError
from pipeline.wire.lake import columns_of
from tests.contract.warehouse_world import FIRST_DATE, NEXT_DATE, Lake
from tests.sandboxes.bigquery import BUCKET, PROJECT, BigQuery
from tests.sandboxes.serve import running

TOKENS = count()


@dataclass
class World:
    """One project beside one lake."""

    lake: Lake
    box: BigQuery
    key: Path

    def settings(self, **changes: Any) -> BigQuerySettings:
        told: dict[str, Any] = {
            "url": self.box.base,
            "token_url": f"{self.box.base}/token",
            "project": PROJECT,
            "credentials_file": self.key,
            "lake_url": BUCKET,
            "timeout_s": 60.0,
        }
        given: dict[str, Any] = {"_env_file": None, **told, **changes}
        return BigQuerySettings(**given)

    def api(self, **changes: Any) -> BigQueryApi:
        settings = self.settings(**changes)
        return BigQueryApi(settings, read_key(settings), clock=time.time, sleep=lambda _s: None)

    def loader(self) -> BigQueryLoad:
        return BigQueryLoad(
            self.settings(),
            BUCKET,
            self.api,
            now=lambda: "2026-11-22 01:00:00",
            token=lambda: f"w{next(TOKENS):06d}",
        )

    def load(
        self, dataset: Dataset = Dataset.TELEMETRY, side: LakeFiles | None = None, **how: bool
    ) -> Any:
        side = side or self.lake.side(dataset)
        return self.loader().load(side, side.columns, **how)

    def rows(self) -> Counter[tuple[Any, ...]]:
        return Counter(
            self.box.db.execute(
                "SELECT device_id, sequence, value, source_offset FROM telemetry"
            ).fetchall()
        )

    def wanted(self) -> Counter[tuple[Any, ...]]:
        table = self.lake.table().scan().to_arrow()
        names = ("device_id", "sequence", "value", "source_offset")
        return Counter(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def make_world(lake: Lake, folder: Path) -> World:
    box = BigQuery(lake.root)
    key = folder / "key.json"
    key.write_text(box.key_file())
    return World(lake, box, key)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake that tests only read."""
    lake = Lake(tmp_path_factory.mktemp("lake") / "lake")
    lake.readings(4)
    lake.readings(3)
    lake.events(5)
    return lake


@pytest.fixture
def world(steady: Lake, tmp_path: Path) -> Iterator[World]:
    made = make_world(steady, tmp_path)
    with running(made.box):
        yield made


@pytest.fixture
def own(tmp_path: Path) -> Iterator[World]:
    """A lake that a test changes."""
    lake = Lake(tmp_path / "lake")
    lake.readings(4)
    lake.readings(3)
    made = make_world(lake, tmp_path)
    with running(made.box):
        yield made


def test_every_row_is_loaded_once_however_often_it_runs(world: World) -> None:
    first = world.load()
    assert isinstance(first, Loaded), first
    assert (first.files, first.rows, first.differences) == (4, 42, ())
    assert world.rows() == world.wanted()
    assert world.load().rows == 0
    assert world.rows() == world.wanted()


def test_tables_are_partitioned_by_day_and_clustered_and_described(world: World) -> None:
    world.load(Dataset.EVENTS)
    table = world.box.tables["events"]
    assert table["timePartitioning"] == {"type": "DAY", "field": "occurred_at"}
    assert table["clustering"]["fields"] == ["device_id", "metric", "id"]
    fields = {one["name"]: one for one in table["schema"]["fields"]}
    assert fields["snapshot"]["mode"] == "REPEATED"
    assert [one["name"] for one in fields["snapshot"]["fields"]][:2] == ["metric", "value"]
    assert fields["confidence"]["description"].startswith("0 to 1")
    assert world.box.db.execute(
        "SELECT count(*), any_value(snapshot[1].metric) FROM events"
    ).fetchone() == (
        5,
        world.lake.table(Dataset.EVENTS).scan().to_arrow().to_pylist()[0]["snapshot"][0]["metric"],
    )


def test_compacted_files_are_noted_and_half_loaded_dates_are_loaded_anew(own: World) -> None:
    own.load()
    own.lake.compact(FIRST_DATE)
    noted = own.load()
    assert (noted.rows, noted.noted) == (0, 2), "one file for each date"
    own.lake.readings(3)
    own.lake.compact(FIRST_DATE)
    done = own.load()
    assert isinstance(done, Loaded), done
    assert (done.anew, done.differences) == ((FIRST_DATE, NEXT_DATE), ())
    assert own.rows() == own.wanted()
    ledger = own.loader().ledger(own.lake.side())
    assert isinstance(ledger, tuple)
    assert {e.file for e in ledger} == {f.key for f in own.lake.side().files()}


@pytest.mark.parametrize("mode", ["drop_before", "drop_after"])
def test_cut_off_at_any_request_that_does_something_it_goes_on_and_doubles_nothing(
    world: World, mode: str
) -> None:
    side = world.lake.side()
    world.load(side=side)
    # Jobs and tables are made by POST; a GET that is lost changes nothing.
    posts = len(world.box.jobs) + len(world.box.tables) + world.box.issued
    wanted = world.wanted()
    assert posts > 8
    for at in range(posts):
        world.box.forget()
        world.box.knobs.set_faults([{"mode": mode, "method": "POST", "skip": at, "times": 1}])
        died = world.load(side=side)
        assert isinstance(died, Retry), (at, died)
        world.box.knobs.set_faults([])
        done = world.load(side=side)
        assert isinstance(done, Loaded), (at, done)
        assert done.differences == ()
        assert world.rows() == wanted, at


def test_two_loads_of_the_same_turn_run_one_job(world: World) -> None:
    side = world.lake.side()
    raced: list[Any] = []

    class Overtaken(BigQueryApi):
        """Just before our load job is begun somebody else loads all."""

        def begin(self, job_id: str, configuration: Any) -> bool:
            if "load" in configuration and not raced:
                raced.append(world.load(side=side))
            return super().begin(job_id, configuration)

    settings = world.settings()
    loader = BigQueryLoad(
        settings,
        BUCKET,
        lambda: Overtaken(settings, read_key(settings), clock=time.time, sleep=lambda _s: None),
        now=lambda: "2026-11-22 01:00:00",
        token=lambda: f"w{next(TOKENS):06d}",
    )
    ours = loader.load(side, side.columns)
    assert isinstance(raced[0], Loaded)
    assert isinstance(ours, Loaded), ours
    assert world.rows() == world.wanted()
    jobs = [job for job in world.box.jobs.values() if "load" in job["configuration"]]
    assert len(jobs) == 1


def test_a_column_that_was_renamed_is_read_from_old_files_too(own: World) -> None:
    own.lake.events(3)
    columns = columns_of(Dataset.EVENTS)
    renamed = tuple(
        Column(name="headline", type=TEXT, doc=c.doc, aliases=("summary",))
        if c.name == "summary"
        else c
        for c in columns
    )
    own.lake.evolve(Dataset.EVENTS, renamed)
    done = own.load(Dataset.EVENTS)
    assert isinstance(done, Loaded), done
    assert (done.rows, done.differences) == (3, ())
    told = own.box.db.execute("SELECT count(*), count(headline) FROM events").fetchone()
    assert told == (3, 3)


def test_a_column_that_comes_later_is_added(own: World) -> None:
    own.lake.events(3)
    own.load(Dataset.EVENTS)
    added = Column(name="firmware", type=TEXT, doc="Firmware of the device.")
    own.lake.evolve(Dataset.EVENTS, (*columns_of(Dataset.EVENTS), added))
    own.lake.events(2)
    assert own.load(Dataset.EVENTS).rows == 2
    assert own.box.tables["events"]["schema"]["fields"][-1]["name"] == "firmware"


def test_a_ledger_that_was_emptied_stops_the_load_instead_of_doubling(world: World) -> None:
    world.load()
    world.box.db.execute("DELETE FROM fieldline_loads")
    told = world.load()
    assert isinstance(told, Halt)
    assert "ledger knows nothing" in told.reason
    assert world.rows() == world.wanted()


def test_a_forgotten_device_is_gone(world: World) -> None:
    world.load()
    assert world.loader().forget(world.lake.side(), "acme/pump-001") is None
    assert not any(row[0] == "acme/pump-001" for row in world.rows())
    assert world.load().rows == 0


def test_a_token_that_ended_is_renewed_once(world: World) -> None:
    api = world.api()
    assert api.table("nowhere") is None
    world.box.expire()
    assert api.table("nowhere") is None
    assert world.box.issued == 2
    api.close()


def test_a_job_that_failed_is_a_sentence_and_the_next_turn_goes_on(world: World) -> None:
    world.box.lake = world.lake.root / "elsewhere"
    told = world.load()
    assert isinstance(told, Retry)
    assert "notFound" in told.reason
    world.box.lake = world.lake.root
    done = world.load()
    assert isinstance(done, Loaded), done
    assert world.rows() == world.wanted()


def test_no_request_goes_to_another_host(world: World) -> None:
    api = world.api()
    api._base = "https://elsewhere.example/bigquery/v2/projects/x"  # noqa: SLF001 - as if told so
    with pytest.raises(TroubleError, match="UnsupportedProtocol"):
        api.table("telemetry")
    api.close()


@pytest.mark.parametrize("text", ["", "{}", "[]", "no JSON"])
def test_a_key_that_is_none_is_one_sentence(world: World, text: str) -> None:
    world.key.write_text(text)
    with pytest.raises(SettingsError, match="service account's key"):
        read_key(world.settings())


def test_an_answer_that_repeats_the_token_is_cleaned_of_it(world: World) -> None:
    api = world.api()
    api.table("nowhere")
    [token] = world.box.tokens
    body = {"error": {"message": f"no right for {token}"}}
    world.box.knobs.set_faults([{"mode": "answer", "status": 403, "body_text": json.dumps(body)}])
    with pytest.raises(Exception, match="no right for") as caught:
        api.table("nowhere")
    assert token not in str(caught.value)
    api.close()
