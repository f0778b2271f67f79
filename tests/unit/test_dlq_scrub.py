from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.scrub import MOST, REMOVED, scrub, secret_name

SECRET = "hunter2Xy9"

TEXTS = [
    f"Authorization: Basic {SECRET}",
    f"authorization:Digest username=a, response={SECRET}\nnext: line",
    f"Refused with Authorization: Bearer {SECRET}",
    f"Proxy-Authorization: whatever {SECRET}",
    f"Set-Cookie: sid={SECRET}; Path=/",
    f"Cookie: a=1; b={SECRET}",
    f"X-Api-Key: {SECRET}",
    f'the token is refused: "Bearer {SECRET}"',
    f'{{"password": "{SECRET}", "user": "x"}}',
    f'{{"password": "ab\\"{SECRET}"}}',
    f'{{"Password" : ["{SECRET}", {{"x": "{SECRET}"}}], "y": 1}}',
    f'{{"a": {{"client_secret":"{SECRET}"}}}}',
    f'{{"token": {SECRET}, "y": 1}}',
    f'{{"api_key": "{SECRET}',
    f"{{'access_token': '{SECRET}'}}",
    json.dumps({"body": json.dumps({"password": SECRET, "user": "x"})}),
    json.dumps({"outer": json.dumps({"body": json.dumps({"password": SECRET})})}),
    f"https://user:{SECRET}@erp.example/x",
    f"redis://:{SECRET}@10.0.0.1:6379/0",
    f"https://erp.example/x?user=a&access_token={SECRET}&b=2",
    f"grant_type=password&password={SECRET}&scope=x",
    f"password = '{SECRET}' was refused",
    f"<login><Password>{SECRET}</Password></login>",
    f"<wsse:Password Type='text'>{SECRET}</wsse:Password>",
    f"<password><![CDATA[{SECRET}]]></password>",
    f'<login password="{SECRET}"/>',
    f"secret eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{SECRET}",
    f"signed with whsec_{SECRET}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_credential_does_not_survive(text: str) -> None:
    assert SECRET not in scrub(text)
    assert REMOVED in scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        'The European VAT Number "FI1234567" for party "Silver Birch Airlines" is not valid.',
        "Tryton refuses the login: check TRYTON_USER and TRYTON_PASSWORD",
        '{"error":{"code":"CX_SY/530","message":{"lang":"en","value":"Order is locked"}}}',
        "<html><body class='x'><h1>502 Bad Gateway</h1></body></html>",
        "basic information is missing; bearer authentication is needed",
        "https://erp.example/x?page=2&order=FL-1",
        "a,b;c\tline\nother line: 12:30",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert scrub(text) == text


def test_the_rest_of_a_document_stays_around_what_is_removed() -> None:
    text = '{"user": "ana", "password": "x", "order": 7}'
    assert json.loads(scrub(text)) == {"user": "ana", "password": REMOVED, "order": 7}


def test_it_is_cut_to_the_length_asked_for_and_steers_no_terminal() -> None:
    assert len(scrub("x" * 100_000)) == MOST
    assert scrub("abc", most=2) == "a…"
    assert scrub("a\x1b[31mb\rc\x00") == "a [31mb c "


@pytest.mark.parametrize(
    ("name", "telling"),
    [
        ("Authorization", True),
        ("X-Api-Key", True),
        ("client_secret", True),
        ("accessToken", True),
        ("pwd", True),
        ("webhook-signature", True),
        ("Set-Cookie", True),
        ("ce_id", False),
        ("traceparent", False),
        ("Idempotency-Key", False),
        ("content-type", False),
        ("compass", False),
    ],
)
def test_names_that_tell_of_a_credential(name: str, telling: bool) -> None:  # noqa: FBT001
    assert secret_name(name) is telling


NAMES = st.sampled_from(["password", "api_key", "accessToken", "client-secret", "X-Auth-Token"])
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(NAMES, SECRETS, JSON, st.sampled_from([None, 0, 2]))
def test_in_json_of_any_shape_the_secret_is_gone(
    name: str, secret: str, around: object, indent: int | None
) -> None:
    marked = f"Q9{secret}9Q"
    text = json.dumps({"around": around, name: marked, "after": around}, indent=indent)
    assert json.dumps(marked)[1:-1] not in scrub(text, most=100_000)


@given(NAMES, SECRETS)
def test_in_a_form_of_any_value_the_secret_is_gone(name: str, secret: str) -> None:
    text = urlencode({"a": "1", name: f"Q9{secret}9Q", "b": "2"})
    assert "9Q" not in scrub(text)
    assert scrub(text).endswith("&b=2")


@given(st.text(max_size=2_000))
def test_any_text_is_taken_and_never_grows_past_the_limit(text: str) -> None:
    assert len(scrub(text, most=500)) <= 500
