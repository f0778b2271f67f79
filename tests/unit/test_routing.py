from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.events import Action, Disposition, Severity
from pipeline.core.routing import Route, sinks_for, sinks_of
from pipeline.settings import SettingsError
from pipeline.state.routes_file import load_routes
from tests.unit.examples import event

ROUTES = (
    Route(sinks=("lake",)),
    Route(sinks=("erp", "lake"), severities=(Severity.CRITICAL,)),
    Route(sinks=("crm",), types=("fieldline.limit.*",), tenants=("acme", "b*")),
)


@pytest.mark.parametrize(
    ("changes", "sinks"),
    [
        ({}, ("lake", "erp", "crm")),
        ({"severity": Severity.INFO}, ("lake", "crm")),
        ({"type": "fieldline.anomaly.detected"}, ("lake", "erp")),
        ({"tenant": "other", "severity": Severity.WARNING}, ("lake",)),
        ({"tenant": "bravo", "severity": Severity.WARNING}, ("lake", "crm")),
    ],
)
def test_all_routes_that_match_apply_and_each_sink_is_named_once(
    changes: dict[str, object], sinks: tuple[str, ...]
) -> None:
    assert sinks_for(event(**changes), ROUTES) == sinks


def test_the_sinks_of_a_table_are_in_its_order() -> None:
    assert sinks_of(ROUTES) == ("lake", "erp", "crm")


def test_the_shipped_table_sends_alarms_to_four_systems_and_everything_to_the_lake() -> None:
    routes = load_routes(Path("infra/config/routes.yaml"))
    assert sinks_for(event(severity=Severity.INFO), routes) == ("lake",)
    systems = ("tryton", "salesforce", "sap", "netsuite")
    assert sinks_for(event(severity=Severity.WARNING), routes) == ("lake", *systems)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("routes: [", "is not YAML"),
        ("version: 1", "no list 'routes'"),
        ("routes: []", "no list 'routes'"),
        ("routes: [{sinks: [lake], when: {colour: red}}]", "'when' takes only"),
        ("routes: [{when: {tenant: a}}]", "names no sink"),
        ("routes: [{sinks: [lake]}, {sinks: [Tryton]}]", "Route 2 .*lower-case"),
        ("routes: [{sinks: [lake], when: {severity: [fatal]}}]", "none of info, warning, critical"),
        ("routes: [{sinks: [lake], when: {tenant: [1]}}]", "'tenant' must be a text"),
        ("routes: [{sinks: [lake], priority: 3}]", "may only have"),
        ("routes: [nothing]", "may only have"),
    ],
)
def test_a_bad_table_is_told_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=says):
        load_routes(path)


def test_a_missing_table_is_told_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="FIELDLINE_ROUTES_FILE"):
        load_routes(tmp_path / "none.yaml")


def test_what_is_for_review_or_held_back_goes_only_where_it_is_asked_for() -> None:
    asked = Route(sinks=("lake",), dispositions=tuple(Disposition))
    plain = Route(sinks=("tryton",))
    for disposition in Disposition:
        found = sinks_for(event(disposition=disposition), (asked, plain))
        assert found == (("lake", "tryton") if disposition is Disposition.DELIVER else ("lake",))


@pytest.mark.parametrize("severity", list(Severity))
@pytest.mark.parametrize("disposition", list(Disposition))
def test_a_clear_goes_where_what_it_clears_went(
    severity: Severity, disposition: Disposition
) -> None:
    routes = (*ROUTES, Route(sinks=("rest",), dispositions=(Disposition.SUPPRESSED,)))
    raised = event(severity=severity, disposition=disposition)
    clear = event(
        severity=severity, disposition=disposition, action=Action.CLEAR, entity_id=raised.id
    )
    assert sinks_for(clear, routes) == sinks_for(raised, routes)


def test_an_update_goes_where_the_warning_that_it_makes_graver_went() -> None:
    warnings = Route(sinks=("plan",), severities=(Severity.WARNING,))
    criticals = Route(sinks=("now",), severities=(Severity.CRITICAL,))
    early = Route(sinks=("early",), severities=(Severity.INFO,))
    routes = (warnings, criticals, early)
    update = event(severity=Severity.CRITICAL, action=Action.UPDATE, entity_id="e" * 24)
    assert sinks_for(update, routes) == ("plan", "now")
    assert sinks_for(event(severity=Severity.CRITICAL), routes) == ("now",)
