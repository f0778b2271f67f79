"""A sink's two policies from one file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connectors.fields import OPEN, Policy
from connectors.sources import KEYS, SOURCES, Care
from pipeline.core.sinks import SinkPolicy
from pipeline.ops import sink_policies
from pipeline.settings import Settings, SettingsError


def settings(folder: Path, text: str) -> Settings:
    path = folder / "sinks.yaml"
    path.write_text(text, encoding="utf-8")
    return Settings(sinks_file=path, _env_file=None)


def test_the_shipped_file_lets_every_sink_have_everything() -> None:
    for sink in ("tryton", "erpnext", "not-named"):
        how, what = sink_policies.of(Settings(_env_file=None), sink)
        assert isinstance(how, SinkPolicy)
        assert what == OPEN


def test_both_policies_come_from_one_line_each(tmp_path: Path) -> None:
    text = (
        "version: 1\nsinks:\n  crm: {lanes: 3, masked: [customer.name, ids.sap.equipment], "
        "withheld: [personal], regions: [eu]}\n"
    )
    how, what = sink_policies.of(settings(tmp_path, text), "crm")
    assert how.lanes == 3
    assert what == Policy(
        masked=frozenset({"customer.name", "ids.sap.equipment"}),
        withheld=frozenset({"personal"}),
        regions=frozenset({"eu"}),
    )


def test_every_source_but_the_keys_and_every_care_can_be_named(tmp_path: Path) -> None:
    names = [*sorted(set(SOURCES) - KEYS), *(care.value for care in Care)]
    for where in ("masked", "withheld"):
        text = f"version: 1\nsinks: {{crm: {{{where}: [{', '.join(names)}]}}}}\n"
        _, what = sink_policies.of(settings(tmp_path, text), "crm")
        assert getattr(what, where) == set(names)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("customer.nam", "there is no source 'customer.nam' to mask or withhold"),
        ("secret", "there is no source 'secret'"),
        ('""', "there is no source ''"),
        *((key, f"{key} cannot be masked or withheld") for key in sorted(KEYS)),
    ],
)
@pytest.mark.parametrize("where", ["masked", "withheld"])
def test_a_name_that_means_nothing_or_a_key_is_refused_in_one_sentence(
    tmp_path: Path, where: str, name: str, says: str
) -> None:
    text = f"version: 1\nsinks: {{crm: {{{where}: [{name}]}}}}\n"
    with pytest.raises(SettingsError, match=re.escape(says)) as caught:
        sink_policies.of(settings(tmp_path, text), "crm")
    assert re.fullmatch(r"[^\n]+sinks\.yaml, sink crm: [^\n]+\.", str(caught.value))
    _, other = sink_policies.of(settings(tmp_path, text), "erp")
    assert other == OPEN
