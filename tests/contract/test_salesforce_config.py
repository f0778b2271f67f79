"""Settings of Salesforce: what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.salesforce.protocol import batch_size
from pipeline.settings import SettingsError
from tests.contract.salesforce_examples import key_pair, settings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_secret": ""}, "either client_secret"),
        ({"private_key": key_pair()[0], "username": "me"}, "either client_secret"),
        ({"private_key": key_pair()[0], "client_secret": ""}, "set username"),
        ({"private_key": "not a key", "client_secret": ""}, "no RSA key"),
        ({"url": "http://acme.example"}, "https"),
        ({"url": "https://acme.example/services"}, "path"),
        ({"object": "Case; DROP"}, "API name"),
        ({"external_id_field": ""}, "API name"),
        ({"platform_event": "a b"}, "API name"),
        ({"api_version": "v62"}, "API_VERSION"),
        ({"instance_hosts": ["https://a.example/"]}, "host names"),
        ({"priorities": {"critical": "P1"}}, "info, warning"),
        ({"bulk_from": -1}, "BULK_FROM"),
        ({"consumer_key": "x"}, "consumer_key"),
    ],
)
def test_an_unusable_setting_is_told_in_a_sentence_that_names_it(
    values: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**values)
    assert words in str(caught.value)
    assert str(caught.value).endswith(".")
    assert "not a key" not in str(caught.value)


def test_a_key_may_have_its_line_breaks_written_out() -> None:
    made = settings(client_secret="", username="me", private_key=key_pair()[0].replace("\n", "\\n"))
    assert made.uses_jwt
    assert made.private_key.get_secret_value() == key_pair()[0]


def test_only_the_hosts_of_the_settings_may_be_talked_to() -> None:
    made = settings(
        login_url="https://login.salesforce.com", instance_hosts=["Acme--uat.my.salesforce.com"]
    )
    assert made.hosts() == {
        "acme.my.salesforce.com",
        "login.salesforce.com",
        "acme--uat.my.salesforce.com",
    }
    assert made.token_url == "https://login.salesforce.com/services/oauth2/token"


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({}, 2_000),
        ({"bulk_from": 0}, 200),
        ({"bulk_from": 50}, 200),
        ({"bulk_from": 5_000}, 5_000),
        ({"platform_event": "Fieldline_Event__e"}, 10),
    ],
)
def test_a_batch_may_grow_to_a_bulk_job(values: dict[str, Any], size: int) -> None:
    assert batch_size(settings(**values)) == size
