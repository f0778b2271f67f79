"""The webhook's configuration: where it points, and that it keeps its secrets."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from pydantic import SecretStr

from connectors.registry import make_connector
from connectors.webhook import WebhookConfig
from connectors.webhook.config import from_settings
from connectors.webhook.signature import sign
from pipeline.core.registry import Registry
from pipeline.settings import Settings, SettingsError
from tests.contract.conversation import converse
from tests.contract.webhook_examples import CONFIG, SECRET, answer, connector, delivery


def test_no_secret_and_no_token_of_an_address_is_in_a_repr() -> None:
    to = connector()
    for thing in (CONFIG, to):
        assert "tok-en" not in repr(thing)
        assert SECRET not in repr(thing)
    outcomes, calls = converse(to.deliver([delivery()]), [answer(400)])
    assert SECRET not in repr((outcomes, [call.request.headers for call in calls]))


@pytest.mark.parametrize(
    "url", ["", "hooks", "ftp://h/x", "http://", "http://u:pw@h/x", "http://h/x#y", "http://h:x/"]
)
def test_an_address_that_is_none_is_refused_with_the_mend_and_without_its_secrets(
    url: str,
) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_URL") as caught:
        replace(CONFIG, url=url)
    assert "pw" not in str(caught.value)
    with pytest.raises(SettingsError, match="WEBHOOK_LOOK_UP_URL") as caught:
        replace(CONFIG, look_up_url=url and f"{url}{{key}}")
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://h/x", "http://h/{key}/{key}", "http://{key}.h/x"])
def test_a_look_up_address_has_one_place_for_the_key_and_not_in_the_host(url: str) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_LOOK_UP_URL"):
        replace(CONFIG, look_up_url=url)


def test_a_key_cannot_leave_its_place_in_the_look_up_address() -> None:
    assert CONFIG.look_up_address("a/../b?c&d") == (
        "https://hooks.example/events?id=a%2F..%2Fb%3Fc%26d"
    )


@pytest.mark.parametrize("secret", ["short", "whsec_!!!", "whsec_c2hvcnQ=", "x" * 200])
def test_a_secret_that_cannot_sign_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_SECRET") as caught:
        replace(CONFIG, secret=SecretStr(secret))
    assert secret not in str(caught.value)


@pytest.mark.parametrize("change", [{"batch": 0}, {"batch": 201}, {"timeout_s": 0.0}], ids=repr)
def test_a_number_out_of_bounds_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_"):
        replace(CONFIG, **change)  # type: ignore[arg-type]  # one of several numbers


def test_the_configuration_comes_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_URL", "https://hooks.example/in")
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("WEBHOOK_BATCH", "50")
    monkeypatch.setenv("WEBHOOK_KEYED", "0")
    settings = Settings(_env_file=None)
    config = from_settings(settings)
    assert isinstance(config, WebhookConfig)
    assert (config.batch, config.keyed, config.look_up_url) == (50, False, None)
    made = make_connector("webhook", settings, Registry({}))
    assert (made.name, made.batch_size, made.keyed) == ("webhook", 50, False)


def test_without_an_address_the_sentence_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match=r"WEBHOOK_URL .* write http"):
        from_settings(Settings(_env_file=None, webhook_url=""))


def test_standard_webhooks_own_example_is_signed_as_its_specification_says() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign(
        [key],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1_614_265_330,
        body=b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_secret_is_replaced_both_sign() -> None:
    both = replace(CONFIG, secret=SecretStr(f"a-new-secret-of-ours {SECRET}"))
    headers = sign(both.signing_keys(), message_id="m", timestamp=1, body=b"")
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert headers["x-signature"].count("s=sha256=") == 2
    assert sign((), message_id="m", timestamp=1, body=b"").keys() == {
        "webhook-id",
        "webhook-timestamp",
    }
