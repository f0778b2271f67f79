"""Connectors' settings: where they come from, and that no error shows a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from connectors import registry
from connectors.settings import ConnectorSettings, host_of, make, web_address
from pipeline.settings import SettingsError

SECRET = "hunter2-hunter2-hunter2"


class Example(ConnectorSettings):
    """Settings as a connector has them."""

    model_config = SettingsConfigDict(
        **{**ConnectorSettings.model_config, "env_prefix": "EXAMPLE_", "env_file": None}
    )

    client_secret: SecretStr = Field(SecretStr(""), description="A secret.")
    pin: SecretStr | None = None
    batch: int = Field(1, ge=1, le=10)
    mode: Literal["a", "b"] = "a"
    names: list[str] = Field(default_factory=list)
    headers: dict[str, SecretStr] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _address(cls, text: str) -> str:
        return web_address(text) if text else text


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Example.model_fields:
        monkeypatch.delenv(f"EXAMPLE_{name.upper()}", raising=False)


def values(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - settings
    return {"url": "https://erp.example.com", **more}


def error_of(given_values: Mapping[str, Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        make(Example, given_values)
    assert caught.value.__cause__ is None, "a cause would be printed with its input"
    text = str(caught.value)
    assert re.fullmatch(r"[^\n]+\.", text), text
    return text


def test_values_come_before_the_environment_and_that_before_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXAMPLE_BATCH", "7")
    monkeypatch.setenv("EXAMPLE_CLIENT_SECRET", SECRET)
    monkeypatch.setenv("BATCH", "9")
    made = make(Example, values())
    assert (made.batch, made.mode, made.timeout_s) == (7, "a", 20.0)
    assert made.client_secret.get_secret_value() == SECRET
    assert make(Example, values(batch=3)).batch == 3


def test_without_an_address_it_says_which_variable_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "EXAMPLE_URL" in error_of({})
    monkeypatch.setenv("EXAMPLE_URL", "https://erp.example.com/")
    assert make(Example).url == "https://erp.example.com"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"client_id": "x"}, "There is no setting 'client_id'"),
        ({"URL": "x"}, "There is no setting 'URL'"),
        ({"_env_file": "/etc/passwd"}, "There is no setting '_env_file'"),
        ({3: "x", "zz": 1}, "There is no setting '3'"),
        ({"x" * 500: 1}, "There is no setting 'xxx"),
        ({"url": 5}, "url (EXAMPLE_URL)"),
        ({"url": None}, "url (EXAMPLE_URL)"),
        ({"url": ["https://h"]}, "url (EXAMPLE_URL)"),
        ({"url": f"http://me:{SECRET}@h"}, "give credentials as settings"),
        ({"url": "http://erp.example.com"}, "https://"),
        ({"client_secret": 5}, "client_secret (EXAMPLE_CLIENT_SECRET)"),
        ({"client_secret": [SECRET]}, "client_secret (EXAMPLE_CLIENT_SECRET)"),
        ({"client_secret": {"a": SECRET}}, "client_secret (EXAMPLE_CLIENT_SECRET)"),
        ({"batch": SECRET}, "batch (EXAMPLE_BATCH)"),
        ({"batch": 11}, "less than or equal to 10"),
        ({"mode": SECRET}, "'a' or 'b'"),
        ({"timeout_s": float("nan")}, "timeout_s (EXAMPLE_TIMEOUT_S)"),
        ({"timeout_s": "inf"}, "timeout_s"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"names": SECRET}, "names (EXAMPLE_NAMES)"),
        ({"headers": {"a": 5}}, "headers.a (EXAMPLE_HEADERS)"),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_the_setting_and_no_secret(
    wrong: dict[Any, Any], says: str
) -> None:
    text = error_of({**values(), **wrong})
    assert says in text
    assert SECRET not in text
    assert len(text) < 400


def test_a_list_in_the_environment_that_is_no_json_is_told_without_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXAMPLE_HEADERS", f"{{not json {SECRET}")
    text = error_of(values())
    assert text == "Correct setting headers (EXAMPLE_HEADERS): it must be JSON."


@given(
    st.dictionaries(
        st.sampled_from([*Example.model_fields, "nothing"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
        | st.lists(st.text(max_size=5), max_size=3),
    )
)
def test_whatever_is_given_it_is_settings_or_one_error(given_values: dict[str, Any]) -> None:
    try:
        made = make(Example, given_values)
    except SettingsError:
        return
    assert made.url
    assert made.hosts() == {host_of(made.url)} != {""}


def test_secrets_are_found_and_do_not_show() -> None:
    made = make(Example, values(client_secret=SECRET, pin="1234-5678"))
    assert set(made.secrets()) == {SECRET, "1234-5678"}
    assert make(Example, values()).secrets() == ()
    for shown in (repr(made), str(made), made.model_dump_json(), str(made.model_dump())):
        assert SECRET not in shown
        assert "1234-5678" not in shown


def test_settings_cannot_be_changed_once_they_are_made() -> None:
    made = make(Example, values())
    with pytest.raises(ValueError, match="frozen"):
        setattr(made, "url", "https://elsewhere.example.com")  # noqa: B010 - as no checker sees


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("https://h", "https://h"),
        ("https://h/", "https://h"),
        ("https://h/a/b//", "https://h/a/b"),
        ("https://h:8443/a", "https://h:8443/a"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost/a", "http://localhost/a"),
        ("http://[::1]:9", "http://[::1]:9"),
        ("HTTPS://Host.Example.COM", "HTTPS://Host.Example.COM"),
        ("https://bücher.example", "https://bücher.example"),
    ],
)
def test_a_web_address_is_kept_without_its_last_slash(text: str, made: str) -> None:
    assert web_address(text) == made


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no web address"),
        ("erp.example.com", "no web address"),
        ("ftp://h", "no web address"),
        ("https://", "no web address"),
        ("https:///path", "no web address"),
        ("https://[::1", "no web address"),
        ("https://h:port", "no web address"),
        ("https://h:99999", "no web address"),
        ("https://h:0", "no web address"),
        (" https://h", "no web address"),
        ("https://h /a", "no web address"),
        ("https://h/a b", "no web address"),
        ("https://h/\n", "no web address"),
        ("https://h\tx", "no web address"),
        ("https://good\\@evil", "no web address"),
        ("https://xn--/", "no web address"),
        (f"https://h/{'x' * 70_000}", "no web address"),
        (f"https://me:{SECRET}@h", "give credentials as settings"),
        ("https://me@h", "give credentials as settings"),
        ("https://@h", "give credentials as settings"),
        (f"https://h/?token={SECRET}", "give credentials as settings"),
        ("https://h?", "give credentials as settings"),
        (f"https://h/#{SECRET}", "give credentials as settings"),
        ("http://erp.example.com", "not encrypted"),
        ("http://127.0.0.1.example.com", "not encrypted"),
        ("http://localhost.example.com", "not encrypted"),
        ("http://0.0.0.0", "not encrypted"),
    ],
)
def test_what_is_no_plain_encrypted_address_is_refused_without_repeating_it(
    text: str, says: str
) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        web_address(text)
    assert SECRET not in str(caught.value)


def test_a_path_is_refused_where_only_scheme_and_host_go() -> None:
    assert web_address("https://h/", path=False) == "https://h"
    with pytest.raises(ValueError, match="it has a path"):
        web_address("https://h/a", path=False)


@given(st.text(max_size=60) | st.text(max_size=20).map(lambda text: f"https://{text}"))
def test_an_address_is_usable_or_refused_by_a_value_error(text: str) -> None:
    try:
        made = web_address(text)
    except ValueError:
        return
    assert host_of(made)
    assert host_of(f"{made}/more") == host_of(made)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://H.Example.COM:443/a?b", "h.example.com"),
        ("https://user:word@h/", "h"),
        ("http://[::1]:80", "::1"),
        ("sftp://files.example.com:22/in", "files.example.com"),
        ("https://bücher.example", "bücher.example"),
        ("https://xn--bcher-kva.example", "bücher.example"),
        ("https://good.example@evil.example/", "evil.example"),
        ("", ""),
        ("/path", ""),
        ("https://xn--", ""),
        ("https://h:port", ""),
    ],
)
def test_the_host_of_an_address_is_the_one_that_a_request_would_go_to(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize("name", registry.names())
def test_every_connector_keeps_to_the_rules_of_settings(name: str) -> None:
    kind = registry.system(name).settings
    assert issubclass(kind, ConnectorSettings)
    assert kind.model_config.get("env_prefix") == f"{name.upper()}_"
    assert kind.model_config.get("frozen")
    assert kind.model_config.get("hide_input_in_errors")
    with pytest.raises(SettingsError, match="There is no setting"):
        make(kind, {"no_such_setting": 1})
    for field, info in kind.model_fields.items():
        secret = any(word in field for word in ("secret", "password", "private_key", "token"))
        if secret and not field.endswith(("_url", "_path", "_id", "_file")):
            assert "Secret" in str(info.annotation), f"{field} is no SecretStr"
        assert info.description, f"{field} has no description"
