"""How NetSuite is reached: settings, assertions, signatures, and that no secret gets out."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from oauthlib.oauth1.rfc5849 import signature

from connectors.base import Effect
from connectors.netsuite.access import Access
from connectors.netsuite.config import NetsuiteSettings
from connectors.netsuite.queries import literal
from connectors.settings import make as make_settings
from pipeline.core.outcome import Delivered, Retryable, Scope
from pipeline.settings import SettingsError
from tests.contract.cases.netsuite import CASE
from tests.contract.conversation import converse
from tests.contract.world import World, event
from tests.sandboxes.box import boxed
from tests.sandboxes.netsuite import (
    ACCOUNT,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    PRIVATE_KEY,
    TOKEN_ID,
    TOKEN_SECRET,
    make,
    suiteql,
)
from tests.sandboxes.netsuite.records import Record

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
NOW_S = 1_795_257_000.5
M2M: dict[str, Any] = {"client_id": "client", "certificate_id": "cert", "private_key": PRIVATE_KEY}
TBA: dict[str, Any] = {
    "consumer_key": CONSUMER_KEY,
    "consumer_secret": CONSUMER_SECRET,
    "token_id": TOKEN_ID,
    "token_secret": TOKEN_SECRET,
}


def settings(**values: object) -> NetsuiteSettings:
    return make_settings(NetsuiteSettings, {"account": ACCOUNT, **M2M} | values)


def pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


# -- settings


def test_the_host_comes_from_the_account_and_the_realm_is_in_upper_case() -> None:
    made = settings(account="1234567-sb1")
    assert made.url == "https://1234567-sb1.suitetalk.api.netsuite.com"
    assert made.hosts() == {"1234567-sb1.suitetalk.api.netsuite.com"}
    assert made.realm == "1234567_SB1"
    assert settings(account="1234567_SB1").url == made.url


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"private_key": "/etc/key.pem"}, "NETSUITE_PRIVATE_KEY.*give the key's text"),
        ({"private_key": ""}, "private_key is missing"),
        (TBA, "keep the fields of one"),
        ({"account": "evil.example/"}, "NETSUITE_ACCOUNT"),
        ({"url": "http://erp.example"}, "NETSUITE_URL"),
        ({"record_type": "x/../y"}, "NETSUITE_RECORD_TYPE"),
        ({"version_field": "a' OR '1"}, "NETSUITE_VERSION_FIELD"),
        ({"async_from": 101}, "NETSUITE_ASYNC_FROM"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_mend(
    values: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        settings(**values)
    assert "BEGIN" not in str(caught.value)


def test_a_key_may_have_its_line_breaks_written_out() -> None:
    made = settings(private_key=PRIVATE_KEY.replace("\n", "\\n"))
    assert made.private_key.get_secret_value() == PRIVATE_KEY.strip()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
        (rsa.generate_private_key(public_exponent=65_537, key_size=2_048), "PS256"),
    ],
)
def test_the_assertion_is_signed_as_the_key_allows_and_has_what_netsuite_asks_for(
    key: Key, algorithm: str
) -> None:
    made = settings(private_key=pem(key))
    access = Access(made, lambda: NOW_S)
    refused = httpx.Response(400, json={"error": "invalid_client"})
    outcome, [call] = converse(access.send("x", "GET", "/y", effect=Effect.READ), [refused])
    assert isinstance(outcome, Retryable)
    assert str(call.request.url) == made.token_url
    form = parse_qs(call.request.content.decode())
    assert form["grant_type"] == ["client_credentials"]
    [assertion] = form["client_assertion"]
    assert jwt.get_unverified_header(assertion) == {"alg": algorithm, "typ": "JWT", "kid": "cert"}
    claims = jwt.decode(
        assertion,
        key.public_key(),
        algorithms=[algorithm],
        audience=made.token_url,
        issuer="client",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert 0 < claims["exp"] - claims["iat"] < 3_600
    assert claims["iat"] == int(NOW_S)


# -- token-based authentication


@given(
    path=st.text("abcXYZ0189_-:/", max_size=40).map(lambda text: f"/{text}"),
    query=st.dictionaries(st.sampled_from(["limit", "offset", "q"]), st.text(max_size=12)),
)
def test_what_is_signed_is_what_is_sent_without_the_realm(path: str, query: dict[str, str]) -> None:
    made = settings(client_id="", certificate_id="", private_key="", **TBA)
    where = f"{path}?{httpx.QueryParams(query)}" if query else path
    sending = Access(made, lambda: NOW_S).send("x", "GET", where, effect=Effect.READ)
    request = next(sending).request
    headers = {"Authorization": request.headers["authorization"]}
    told = dict(
        signature.collect_parameters(
            headers=headers, exclude_oauth_signature=False, with_realm=True
        )
    )
    assert told["realm"] == ACCOUNT
    assert told["oauth_timestamp"] == str(int(NOW_S))
    signed = signature.collect_parameters(uri_query=request.url.query.decode(), headers=headers)
    assert "realm" not in dict(signed)
    base = signature.signature_base_string(
        "GET",
        signature.base_string_uri(str(request.url)),
        signature.normalize_parameters(signed),  # type: ignore[arg-type]  # pairs it takes
    )
    assert (
        signature.sign_hmac_sha256(base, CONSUMER_SECRET, TOKEN_SECRET) == told["oauth_signature"]
    )


def test_no_nonce_comes_twice() -> None:
    made = settings(client_id="", certificate_id="", private_key="", **TBA)
    access = Access(made, lambda: NOW_S)
    headers = {
        next(access.send("x", "GET", "/y", effect=Effect.READ)).request.headers["authorization"]
        for _ in range(50)
    }
    assert len(headers) == 50


async def test_signed_requests_bring_events_to_the_sandbox_and_a_bad_secret_does_not() -> None:
    with boxed(make()) as far:
        world = World(CASE, far)
        none: dict[str, Any] = dict.fromkeys(("client_id", "certificate_id", "private_key"), "")
        [made] = await world.deliver(event(), connector=world.connector(**none, **TBA))
        assert isinstance(made, Delivered)
        bad = none | TBA | {"token_secret": "wrong"}
        [refused] = await world.deliver(event("two"), connector=world.connector(**bad))
        assert isinstance(refused, Retryable)
        assert (refused.scope, refused.code) == (Scope.SYSTEM, "netsuite.login")
        far.faults({"mode": "echo", "status": 400, "times": None, "method": "PUT"})
        connector = world.connector(**none, **TBA)
        [told] = await world.deliver(event("three"), connector=connector)
        sent = world.calls[-1].request.headers["authorization"]
        assert sent.rpartition('oauth_signature="')[2].rstrip('"') not in repr(told)


def test_no_secret_is_in_a_repr() -> None:
    made = settings()
    assert PRIVATE_KEY.strip() not in repr(made)
    assert PRIVATE_KEY.strip() not in repr(vars(Access(made, lambda: NOW_S)))


# -- SuiteQL


@given(title=st.text(max_size=60), other=st.text(max_size=60))
def test_a_literal_is_read_as_the_text_that_it_was_whatever_is_in_it(
    title: str, other: str
) -> None:
    there = Record(id="1", external_id="a", values={"title": title})
    tables = {"supportcase": {"1": there, "2": Record(id="2", external_id="b")}}
    among = ", ".join(literal(text) for text in (title, other))
    query = f"SELECT externalid FROM supportcase WHERE title IN ({among})"  # noqa: S608 - what is tested
    rows = suiteql.run(query, tables)
    wanted = ["a"] + (["b"] if "" in {title, other} else [])
    assert [row["externalid"] for row in rows] == wanted
