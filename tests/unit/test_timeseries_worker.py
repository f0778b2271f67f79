"""The timeseries role: there where it is wanted, and as the map says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.agents import app
from pipeline.settings import Settings, SettingsError
from pipeline.topology import TIMESERIES, topics
from pipeline.workers import make_worker, roles

STORE = {
    "TIMESERIES_URL": "postgresql://127.0.0.1:5432/dashboards",
    "TIMESERIES_USERNAME": "fieldline",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def test_the_role_is_there_only_where_a_store_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMESERIES_URL", "")
    assert TIMESERIES not in roles(settings)
    with pytest.raises(SettingsError, match="no worker role 'timeseries'"):
        make_worker(settings, role=TIMESERIES, instance=0)
    for name, value in STORE.items():
        monkeypatch.setenv(name, value)
    assert TIMESERIES in roles(settings)


def test_the_worker_consumes_and_produces_what_the_map_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in STORE.items():
        monkeypatch.setenv(name, value)
    worker = make_worker(settings, role=TIMESERIES, instance=0)
    table = topics((), timeseries=True)
    assert worker.consumed == {t.name for t in table if TIMESERIES in t.consumers}
    assert worker.produced == {t.name for t in table if TIMESERIES in t.producers}
    assert not [t for t in topics(()) if TIMESERIES in (*t.consumers, *t.producers)]


def test_a_store_that_is_away_is_no_stall() -> None:
    assert TIMESERIES.startswith(app.PATIENT)


def test_unusable_settings_of_the_store_are_told_in_a_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMESERIES_URL", "mysql://h/db")
    with pytest.raises(SettingsError, match=r"TIMESERIES_URL.*\.$"):
        roles(settings)
