"""The connector's configuration: where it points, and that it keeps its secrets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.tryton import TrytonConfig, TrytonConnector
from connectors.tryton.config import from_settings
from pipeline.settings import Settings, SettingsError
from tests.contract.conversation import converse
from tests.contract.tryton_examples import CONFIG, connector, delivery, login, ok, registry


def test_no_secret_is_in_a_repr() -> None:
    to = connector()
    _, calls = converse(to.look_up([delivery()]), [*login(), ok([])])
    for thing in (CONFIG, to, vars(to), calls):
        assert "open sesame" not in repr(thing)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "erp",
        "ftp://h/erp",
        "http://h",
        "http://h/",
        "http://h/a/b",
        "http://u:pw@h/erp",
        "http://h/erp?x",
    ],
)
def test_an_address_that_is_none_is_refused_with_the_mend_and_without_its_secrets(
    url: str,
) -> None:
    with pytest.raises(SettingsError, match="TRYTON_URL") as caught:
        replace(CONFIG, url=url)
    assert "pw" not in str(caught.value)


def test_the_configuration_comes_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRYTON_URL", "https://erp.example/live/")
    monkeypatch.setenv("TRYTON_USER", "robot")
    monkeypatch.setenv("TRYTON_PASSWORD", "hush")
    config = from_settings(Settings(_env_file=None))
    assert isinstance(config, TrytonConfig)
    assert str(config.rpc_url) == "https://erp.example/live/rpc/"
    assert config.password.get_secret_value() == "hush"
    assert TrytonConnector(config, registry()).name == "tryton"
