"""The webhook's configuration: where it points, and that it keeps its secrets."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from connectors.registry import make_connector
from connectors.settings import make
from connectors.webhook import WebhookSettings
from connectors.webhook.signature import sign
from pipeline.settings import SettingsError
from tests.contract.conversation import converse
from tests.contract.webhook_examples import SECRET, answer, connector, delivery, settings


def test_no_secret_and_no_token_of_an_address_is_in_a_repr() -> None:
    to = connector()
    told = settings(headers={"Authorization": "Bearer a-tok-en"})
    for thing in (told, to):
        assert "tok-en" not in repr(thing)
        assert SECRET not in repr(thing)
    outcomes, calls = converse(to.deliver([delivery()]), [answer(400)])
    assert SECRET not in repr((outcomes, [call.request.headers for call in calls]))


@pytest.mark.parametrize(
    "url",
    [
        *("hooks", "ftp://h/x", "https://", "https://u:pw@h/x", "https://h/x#y", "https://h:x/"),
        *("http://h/x", "https://[h/x"),
    ],
)
def test_an_address_that_is_none_is_refused_with_the_mend_and_without_its_secrets(
    url: str,
) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_URL") as caught:
        settings(url=url)
    assert "pw" not in str(caught.value)
    with pytest.raises(SettingsError, match="WEBHOOK_LOOK_UP_URL") as caught:
        settings(look_up_url=f"{url}{{key}}")
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://h/x", "https://h/{key}/{key}", "https://{key}.h/x"])
def test_a_look_up_address_has_one_place_for_the_key_and_not_in_the_host(url: str) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_LOOK_UP_URL"):
        settings(look_up_url=url)


def test_a_key_cannot_leave_its_place_in_the_look_up_address() -> None:
    assert settings().look_up_address("a/../b?c&d") == (
        "https://hooks.example/events?id=a%2F..%2Fb%3Fc%26d"
    )


@pytest.mark.parametrize("secret", ["short", "whsec_!!!", "whsec_c2hvcnQ=", "x" * 200])
def test_a_secret_that_cannot_sign_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_SECRET") as caught:
        settings(secret=secret)
    assert secret not in str(caught.value)


@pytest.mark.parametrize("change", [{"batch": 0}, {"batch": 201}, {"timeout_s": 0.0}], ids=repr)
def test_a_number_out_of_bounds_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_"):
        settings(**change)


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": "mine"},
        {"webhook-id": "mine"},
        {"Content-Length": "3"},
        {"X A": "b"},
        {"X-A": "a\r\nX-B: c"},
        {"X-A": "ü"},
        {"": "x"},
        {f"X-{n}": "x" for n in range(21)},
    ],
    ids=repr,
)
def test_a_header_that_would_change_the_request_itself_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_HEADERS"):
        settings(headers=headers)


@pytest.mark.parametrize(
    "given",
    [
        {"template": "some.json", "batch": 2},
        {"method": "PUT"},
        {"url": "https://hooks.example/{event.key}"},
    ],
    ids=repr,
)
def test_settings_that_do_not_go_together_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_"):
        settings(**given)


def test_further_headers_are_sent_and_do_not_come_back_in_an_outcome() -> None:
    told = settings(headers={"Authorization": "Bearer a-secret-token", "X-Team": "a"})
    to = make_connector("webhook", values={**told.model_dump(), "headers": told.headers})
    echo = answer(400, {"detail": "who is Bearer a-secret-token, or a-secret-token?"})
    [outcome], [call] = converse(to.deliver([delivery()]), [echo])
    assert call.request.headers["authorization"] == "Bearer a-secret-token"
    assert "a-secret-token" not in repr(outcome)


def test_requests_go_to_the_two_hosts_and_no_other() -> None:
    assert settings(look_up_url="https://ask.example/{key}").hosts() == {
        "hooks.example",
        "ask.example",
    }
    assert settings(look_up_url="").hosts() == {"hooks.example"}


def test_the_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_URL", "https://hooks.example/in")
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("WEBHOOK_BATCH", "50")
    monkeypatch.setenv("WEBHOOK_KEYED", "0")
    monkeypatch.setenv("WEBHOOK_TIMEOUT_S", "7.5")
    monkeypatch.setenv("WEBHOOK_HEADERS", '{"X-Team": "a"}')
    told = make(WebhookSettings)
    assert (told.batch, told.keyed, told.look_up_url, told.timeout_s) == (50, False, "", 7.5)
    assert list(told.headers) == ["X-Team"]
    made = make_connector("webhook")
    assert (made.name, made.batch_size, made.keyed) == ("webhook", 50, False)


def test_without_an_address_the_sentence_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_URL", "")
    with pytest.raises(SettingsError, match=r"Set WEBHOOK_URL: .*\."):
        make(WebhookSettings)


@pytest.mark.parametrize(
    ("reply", "ok"),
    [
        (answer(404, {"detail": "no"}), True),
        (answer(404), True),
        (answer(401), False),
        (httpx.Response(404, text="<html>"), False),
        (httpx.ConnectError(""), False),
    ],
    ids=repr,
)
def test_a_check_asks_for_an_event_that_nobody_sent(reply: Any, *, ok: bool) -> None:  # noqa: ANN401 - a reply
    [checked], [call] = converse(connector().check(), [reply])
    assert checked.ok is ok
    assert call.request.method == "GET"


def test_a_check_of_a_receiver_that_cannot_be_asked_says_only_whether_it_is_there() -> None:
    checks, [call] = converse(connector(look_up=False).check(), [answer(405)])
    assert [one.ok for one in checks] == [True, None]
    assert call.request.method == "OPTIONS"
    checks, _ = converse(connector(look_up=False).check(), [httpx.ConnectError("")])
    assert [one.ok for one in checks] == [False, None]


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
    both = settings(secret=f"a-new-secret-of-ours {SECRET}")
    headers = sign(both.signing_keys(), message_id="m", timestamp=1, body=b"")
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert headers["x-signature"].count("s=sha256=") == 2
    assert sign((), message_id="m", timestamp=1, body=b"").keys() == {
        "webhook-id",
        "webhook-timestamp",
    }
