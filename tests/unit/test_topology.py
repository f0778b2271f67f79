from __future__ import annotations

from pathlib import Path

import pytest

from connectors import registry
from infra.local.parts import SANDBOXES
from pipeline.agents.app import TopologyError, Worker
from pipeline.core.routing import sinks_of
from pipeline.ops.books import control_topics, worker_groups
from pipeline.ops.draw import kept, mermaid
from pipeline.settings import Settings, SettingsError
from pipeline.state.routes_file import load_routes
from pipeline.topology import (
    AUDIT,
    BALANCE,
    DETECT_STATE,
    EVENTS,
    FEEDBACK,
    IDENTITY,
    LAKE,
    READINGS,
    REVIEW,
    RULES,
    parked_topic,
    topics,
)
from pipeline.wire.avro import SCHEMAS
from pipeline.workers import make_worker, roles
from tests.sandboxes.__main__ import make

OUTSIDE_FAUST = {"bridge", "operator", "reconciler"}
SINKS = sinks_of(load_routes(Path("infra/config/routes.yaml")))
CHANGELOGS = {DETECT_STATE, *(parked_topic(s) for s in SINKS if s != LAKE)}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in SANDBOXES:
        box = make(name)
        box.base = "http://127.0.0.1:1"
        for setting, value in box.values().items():
            monkeypatch.setenv(f"{name}_{setting}".upper(), str(value))
    monkeypatch.setenv("TRYTON_URL", "http://127.0.0.1:1/erp")
    monkeypatch.setenv("TRYTON_PASSWORD", "secret")
    return Settings(data_dir=tmp_path)


def test_every_worker_consumes_and_produces_what_the_map_says_and_nothing_else(
    settings: Settings,
) -> None:
    table = topics(SINKS)
    for role in roles(settings):
        worker = make_worker(settings, role=role, instance=0)
        consumes = {t.name for t in table if role in t.consumers}
        produces = {t.name for t in table if role in t.producers}
        # A table's changelog is Faust's own: read and written below the agent. Two are followed.
        assert worker.consumed == consumes - {*CHANGELOGS, RULES, IDENTITY}, role
        assert worker.produced == produces - CHANGELOGS, role


def test_every_name_on_the_map_is_a_worker_or_stands_outside(settings: Settings) -> None:
    names = {n for t in topics(SINKS) for n in (*t.producers, *t.consumers)}
    assert names == {*roles(settings), *OUTSIDE_FAUST}


def test_a_topic_that_is_not_a_workers_own_cannot_be_opened(settings: Settings) -> None:
    worker = Worker(settings, role="fanout", instance=0, sinks=SINKS)
    with pytest.raises(TopologyError, match="may not consume"):
        worker.source(READINGS)
    with pytest.raises(TopologyError, match="may not write"):
        worker.target(EVENTS)
    with pytest.raises(TopologyError):
        worker.target("no.such.topic")


@pytest.mark.parametrize(
    ("role", "changelog"),
    [("detect", DETECT_STATE), ("deliver-tryton", parked_topic("tryton"))],
)
def test_the_changelog_on_the_map_is_the_one_that_faust_uses(
    settings: Settings, role: str, changelog: str
) -> None:
    app = make_worker(settings, role=role, instance=0).app
    assert [t.changelog_topic_name for t in app.tables.values()] == [changelog]


def test_an_unknown_role_is_refused_with_the_ones_there_are(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="detect, fanout, archive, deliver-tryton"):
        make_worker(settings, role="detector", instance=0)


def test_every_routed_sink_has_a_connector_or_is_the_lake() -> None:
    assert set(SINKS) - {LAKE} <= set(registry.names())


def test_every_schema_of_the_map_is_bundled_and_every_bundled_one_is_used() -> None:
    used = {t.schema for t in topics(SINKS) if t.name not in {DETECT_STATE, RULES, FEEDBACK}}
    # Still read, no longer written.
    older = {"business_event.v1", "delivery_result.v1", "dead_letter.v1"}
    assert used | older == set(SCHEMAS)


def test_the_books_read_every_topic_of_the_map_but_state_and_dead_letters() -> None:
    routes = load_routes(Path("infra/config/routes.yaml"))
    names = {t.name for t in topics(SINKS)}
    read = set(control_topics(routes))
    people = {RULES, FEEDBACK, AUDIT, REVIEW, BALANCE, IDENTITY, *(f"sink.{s}.dlq" for s in SINKS)}
    assert names - read == {DETECT_STATE, *people}
    consumers = {c for t in topics(SINKS) for c in t.consumers} - OUTSIDE_FAUST
    assert set(worker_groups(routes)) == {f"fieldline-{c}" for c in consumers}


def test_the_picture_in_the_readme_is_the_one_drawn_from_the_map() -> None:
    assert mermaid(topics(SINKS)) in Path("README.md").read_text(encoding="utf-8"), (
        "run `fieldline topology --mermaid` and put what it prints into the README"
    )


def test_retention_is_told_in_words() -> None:
    told = {t.name: kept(t) for t in topics(SINKS)}
    assert told[READINGS] == "7 days"
    assert told[DETECT_STATE] == "compacted"
    assert told["sink.tryton.dlq"] == "for ever"
