from __future__ import annotations

from pathlib import Path

import pytest

from connectors import registry
from connectors.base import Delivery
from connectors.client import make_client
from connectors.exchange import converse
from pipeline.core.outcome import Rejected
from pipeline.ops import sink_policies
from pipeline.settings import Settings, SettingsError
from tests.contract.case import RECORD
from tests.contract.world import event

FILE = """
version: 1
sinks:
  erpnext-eu: {regions: [eu]}
  erpnext-us: {regions: [us]}
"""


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    for place in ("eu", "us"):
        monkeypatch.setenv(f"ERPNEXT_{place.upper()}_URL", f"https://{place}.example")
        monkeypatch.setenv(f"ERPNEXT_{place.upper()}_API_SECRET", f"secret of {place}")
    sinks = tmp_path / "sinks.yaml"
    sinks.write_text(FILE, encoding="utf-8")
    return Settings(sinks_file=sinks)


@pytest.mark.usefixtures("two")
def test_each_sink_of_a_system_has_settings_and_a_name_of_its_own() -> None:
    for place in ("eu", "us"):
        sink = f"erpnext-{place}"
        assert registry.has(sink)
        assert registry.system(sink).name == "erpnext"
        assert registry.settings_of(sink).hosts() == {f"{place}.example"}
        assert registry.make_connector(sink).name == sink


@pytest.mark.usefixtures("two")
def test_what_is_missing_is_named_as_that_sink_has_it() -> None:
    with pytest.raises(SettingsError, match="Set ERPNEXT_ASIA_URL"):
        registry.settings_of("erpnext-asia")
    with pytest.raises(SettingsError, match="no connector 'nix-eu'"):
        registry.make_connector("nix-eu")
    assert not registry.has("nix-eu")


async def test_an_event_of_another_region_never_leaves_for_it(two: Settings) -> None:
    _, policy = sink_policies.of(two, "erpnext-us")
    connector = registry.make_connector("erpnext-us", policy=policy)
    told = event()
    sent = [Delivery(event=told, key=told.id, record=RECORD)]
    async with make_client("erpnext-us") as client:
        exchange = await converse(
            lambda: connector.deliver(sent), client, request_s=1.0, late=lambda: True
        )
    assert exchange.calls == 0
    assert exchange.result is not None
    [outcome] = exchange.result
    assert isinstance(outcome, Rejected)
    assert outcome.code == "mapping.region"
    assert outcome.final
