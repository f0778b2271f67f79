"""fieldline connectors and mapping, as a person or a script meets them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors import registry
from tests.sandboxes.box import Box, boxed
from tests.sandboxes.erpnext import make
from tests.unit.cli_world import SECRET, bare, called, config_in, json_lines, refused


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    bare(monkeypatch)


@pytest.fixture
def far() -> Iterator[Box]:
    with boxed(make()) as box:
        yield box


@pytest.fixture
def config(tmp_path: Path) -> str:
    return config_in(tmp_path)


def test_the_list_has_every_connector_and_whether_it_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = called("connectors", "list")
    assert ended.exit_code == 0
    for name in registry.names():
        assert re.search(rf"(?m)^{name} ", ended.stdout)
    assert re.search(r"(?m)^erpnext +ERPNext +Issue, Comment +no *$", ended.stdout)
    assert max(len(text.rstrip()) for text in ended.stdout.splitlines()) <= 100
    monkeypatch.setenv("ERPNEXT_URL", "https://erp.example.com")
    assert re.search(r"(?m)^erpnext .* yes *$", called("connectors", "list").stdout)


def test_the_list_as_json_has_settings_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERPNEXT_URL", "https://erp.example.com")
    monkeypatch.setenv("ERPNEXT_API_SECRET", SECRET)
    ended = called("connectors", "list", "--json")
    assert SECRET not in ended.stdout
    found = {one["name"]: one for one in json_lines(ended.stdout)}
    assert list(found) == list(registry.names())
    for one in found.values():
        assert list(one) == ["name", "title", "objects", "configured", "settings"]
    erpnext = found["erpnext"]
    assert erpnext["configured"] is True
    assert erpnext["objects"] == ["Comment", "Issue", "Issue (change)"]
    settings = {one["name"]: one for one in erpnext["settings"]}
    assert settings["api_secret"] == {
        "name": "api_secret",
        "variable": "ERPNEXT_API_SECRET",
        "secret": True,
        "default": None,
        "doc": "The secret that goes with it.",
        "set": True,
    }
    assert (settings["doctype"]["default"], settings["doctype"]["set"]) == ("Issue", False)
    assert settings["timeout_s"]["default"] == 20.0
    assert settings["url"]["set"] is True


@pytest.mark.parametrize("name", registry.names())
def test_one_connectors_settings_are_shown_with_what_they_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERPNEXT_API_SECRET", SECRET)
    ended = called("connectors", "show", name)
    assert ended.exit_code == 0, ended.output
    prefix = name.upper()
    assert f"{prefix}_URL" in ended.stdout
    assert SECRET not in ended.stdout
    told = json_lines(called("connectors", "show", name, "--json").stdout)
    fields = registry.system(name).settings.model_fields
    assert [one["name"] for one in told] == list(fields)
    assert all(one["doc"] for one in told)
    assert all(one["default"] is None for one in told if one["secret"])


def test_what_is_wrong_with_the_settings_is_shown_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "Set ERPNEXT_URL" in called("connectors", "show", "erpnext").stdout
    monkeypatch.setenv("ERPNEXT_URL", f"https://me:{SECRET}@h")
    ended = called("connectors", "show", "erpnext")
    assert "Correct setting url (ERPNEXT_URL)" in ended.stdout
    assert SECRET not in ended.stdout
    assert re.search(r"(?m)^ERPNEXT_URL +yes", ended.stdout)


def test_a_check_says_what_is_well_and_ends_with_0(far: Box, config: str) -> None:
    given = ("connectors", "check", "erpnext", "--url", far.url, "--config", config)
    ended = called(*given)
    assert ended.exit_code == 0
    assert "credentials" in ended.stdout
    told = json_lines(called(*given, "--json").stdout)
    assert [list(one) for one in told] == [["what", "ok", "detail"]] * 3
    assert [one["ok"] for one in told] == [True, True, None]
    assert not far.journal()


def test_a_check_that_fails_ends_with_1_and_says_why(far: Box) -> None:
    ended = called("connectors", "check", "erpnext", "--url", far.url, "--json")
    assert ended.exit_code == 1
    [told] = json_lines(ended.stdout)
    assert told["ok"] is False
    assert "ERPNEXT_API_KEY" in told["detail"]
    assert "not well" in called("connectors", "check", "erpnext", "--url", far.url).stdout


def test_the_contract_is_markdown_for_one_or_for_all() -> None:
    whole, one = called("connectors", "contract"), called("connectors", "contract", "erpnext")
    assert whole.exit_code == one.exit_code == 0
    assert whole.stdout.startswith("# The idempotency contract\n")
    assert one.stdout.count("\n## ") == 1
    assert whole.stdout.count("\n## ") == len(registry.names())


@pytest.mark.parametrize(
    "arguments",
    [
        ("connectors", "check", "nothing"),
        ("connectors", "show", "nothing"),
        ("connectors", "contract", "nothing"),
        ("mapping", "show", "nothing"),
    ],
)
def test_an_unknown_connector_is_one_sentence(arguments: tuple[str, ...]) -> None:
    assert "choose among" in refused(*arguments)


# -- mapping


@pytest.mark.parametrize("name", registry.names())
def test_a_mapping_is_shown_whole_and_as_json(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = registry.system(name).objects
    narrow, told = called("mapping", "show", name), called("mapping", "show", name, "--json")
    monkeypatch.setenv("COLUMNS", "500")
    ended = called("mapping", "show", name)
    assert ended.exit_code == told.exit_code == 0, ended.output
    assert ended.stdout.count("…") == narrow.stdout.count("…"), "something is cut short"
    for spec in objects.values():
        for field in spec.fields:
            assert re.search(rf"(?m)^{re.escape(field.target)} +{field.source} ", ended.stdout)
    found = json_lines(told.stdout)
    wanted = [(n, f.target, f.source) for n, spec in objects.items() for f in spec.fields]
    assert [(one["object"], one["field"], one["source"]) for one in found] == wanted
    for one in found:
        assert list(one) == [
            *("object", "canonical", "field", "source", "rules", "unit", "care", "note"),
        ]
    for spec in objects.values():
        assert spec.owner.split()[0] in ended.stdout
    if not objects:
        assert "there is no mapping" in ended.stdout


def test_rules_are_told_in_words() -> None:
    found = json_lines(called("mapping", "show", "erpnext", "--json").stdout)
    by_field = {(one["object"], one["field"]): one for one in found}
    assert by_field["Issue", "subject"]["rules"] == ["required", "at most 140 characters, else cut"]
    assert by_field["Issue", "name"]["rules"] == [
        "required",
        "at most 140 characters, else rejected",
    ]
    assert by_field["Issue (change)", "priority"]["rules"] == [
        "critical → High, warning → Medium, info → Low",
        "only on update",
    ]
    assert by_field["Issue", "fieldline_customer_name"]["care"] == "personal"
    shown = called("mapping", "show", "erpnext").stdout
    assert "personal data" in shown
