"""The connector's configuration: where it points, and that it keeps its secrets."""

from __future__ import annotations

import pytest

from connectors.settings import make
from connectors.tryton import TrytonSettings
from pipeline.core.events import Severity
from pipeline.settings import SettingsError
from tests.contract.conversation import converse
from tests.contract.tryton_examples import CONFIG, connector, delivery, login, ok


def test_no_secret_is_in_a_repr() -> None:
    to = connector()
    _, calls = converse(to.look_up([delivery()]), [*login(), ok([])])
    for thing in (CONFIG, to, vars(to), calls):
        assert "open sesame" not in repr(thing)


@pytest.mark.parametrize(
    "url",
    [
        *("erp", "ftp://h/erp", "https://h", "https://h/", "https://h/a/b"),
        *("https://u:pw@h/erp", "https://h/erp?x=pw", "http://erp.example/erp"),
    ],
)
def test_an_address_that_is_none_is_refused_with_the_mend_and_without_its_secrets(
    url: str,
) -> None:
    with pytest.raises(SettingsError, match="TRYTON_URL") as caught:
        make(TrytonSettings, {"url": url})
    assert "pw" not in str(caught.value)


def test_a_login_with_a_colon_is_none() -> None:
    with pytest.raises(SettingsError, match="TRYTON_USER"):
        make(TrytonSettings, {"url": "https://h/erp", "user": "a:b"})


def test_the_configuration_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRYTON_URL", "https://erp.example/live/")
    monkeypatch.setenv("TRYTON_USER", "robot")
    monkeypatch.setenv("TRYTON_PASSWORD", "hush")
    config = make(TrytonSettings)
    assert str(config.rpc_url) == "https://erp.example/live/rpc/"
    assert config.password.get_secret_value() == "hush"
    assert config.hosts() == {"erp.example"}
    assert config.secrets() == ("hush",)


@pytest.mark.parametrize(
    ("rule", "severity", "kind", "wanted"),
    [
        ({}, Severity.CRITICAL, "a", False),
        ({"lead_severity": "critical"}, Severity.CRITICAL, "a", True),
        ({"lead_severity": "critical"}, Severity.WARNING, "a", False),
        ({"lead_severity": "info"}, Severity.CRITICAL, "a", True),
        ({"lead_severity": "info", "lead_types": "a, b"}, Severity.INFO, "b", True),
        ({"lead_severity": "info", "lead_types": "a,b,"}, Severity.CRITICAL, "c", False),
        ({"lead_types": "a"}, Severity.CRITICAL, "a", False),
    ],
)
def test_a_lead_is_made_by_severity_and_type(
    rule: dict[str, str],
    severity: Severity,
    kind: str,
    wanted: bool,  # noqa: FBT001 - parametrized
) -> None:
    settings = make(TrytonSettings, {"url": "https://h/erp", **rule})
    assert settings.makes_lead(severity, kind) is wanted
