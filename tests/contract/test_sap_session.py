"""SAP: login, CSRF tokens with their cookies, repeatable requests, certificates."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.client import make_client
from connectors.sap.config import SapSettings
from connectors.sap.mapping import request_id
from connectors.settings import make
from pipeline.core.outcome import Delivered, NotFound, Rejected, Retryable, Scope, Unknown
from pipeline.settings import SettingsError
from tests.contract.cases.sap import CASE
from tests.contract.conversation import steps
from tests.contract.sap_examples import (
    PASSWORD,
    REQUIRED,
    TOKEN,
    URL,
    basic,
    connector,
    created,
    delivery,
    error,
    found,
    talk,
    token,
)
from tests.contract.world import World, event
from tests.sandboxes.box import boxed
from tests.sandboxes.sap import CLIENT_ID, CLIENT_SECRET, Sap

ONE = delivery()


def test_the_token_is_asked_of_the_root_with_its_slash_and_sent_with_all_its_cookies() -> None:
    outcome, calls = talk(connector().deliver([ONE]), [found(), token(), created(ONE.key)])
    assert outcome == [Delivered(target_id="10000001", created=True)]
    assert steps(calls) == ["find", "csrf", "create"]
    root, post = calls[1].request, calls[2].request
    assert (root.method, root.url.path[-22:]) == ("HEAD", "API_MAINTNOTIFICATION/")
    assert root.headers["x-csrf-token"] == "Fetch"
    assert post.headers["x-csrf-token"] == TOKEN
    assert post.headers["cookie"] == "SAP_SESSIONID_S4H_100=abcdefgh12345678; sap-usercontext=x"
    assert basic(calls[0]) == f"FIELDLINE:{PASSWORD}"


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500, 503])
def test_a_token_counts_though_it_comes_on_an_error(status: int) -> None:
    replies = [found(), token(status=status), created(ONE.key)]
    [outcome], _ = talk(connector().deliver([ONE]), replies)
    assert isinstance(outcome, Delivered)


def test_get_is_asked_where_head_gives_no_token() -> None:
    replies = [found(), httpx.Response(405), token(), created(ONE.key)]
    [outcome], calls = talk(connector().deliver([ONE]), replies)
    assert isinstance(outcome, Delivered)
    assert [call.request.method for call in calls] == ["GET", "HEAD", "GET", "POST"]


def test_a_service_that_does_not_check_tokens_is_written_to_without_one() -> None:
    replies = [found(), token(text=""), token(text=""), created(ONE.key)]
    [outcome], calls = talk(connector().deliver([ONE]), replies)
    assert isinstance(outcome, Delivered)
    assert "x-csrf-token" not in calls[-1].request.headers


def test_a_token_that_is_over_is_fetched_once_more_and_not_twice() -> None:
    made = connector()
    talk(made.deliver([ONE]), [found(), token(), created(ONE.key)])
    other = delivery(event("other"))
    fresh = token(text="fresh")
    replies = [found(), REQUIRED, fresh, created(other.key)]
    [outcome], calls = talk(made.deliver([other]), replies)
    assert isinstance(outcome, Delivered)
    assert calls[-1].request.headers["x-csrf-token"] == "fresh"
    [outcome], _ = talk(made.deliver([ONE]), [found(), REQUIRED, fresh, REQUIRED])
    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.scope) == ("sap.csrf", Scope.SYSTEM)


def test_a_lost_connection_at_the_token_means_that_nothing_was_sent() -> None:
    [outcome], _ = talk(connector().deliver([ONE]), [found(), httpx.ReadTimeout("")])
    assert isinstance(outcome, Retryable)


def test_client_and_language_go_with_every_request() -> None:
    made = connector(sap_client="100", sap_language="de")
    _, calls = talk(made.deliver([ONE]), [found(), token(), created(ONE.key)])
    assert {call.request.headers["sap-client"] for call in calls} == {"100"}
    assert {call.request.headers["sap-language"] for call in calls} == {"DE"}


async def test_a_new_oauth_token_and_a_new_csrf_token_are_fetched_for_one_write() -> None:
    sandbox = Sap()
    with boxed(sandbox) as far:
        world = World(CASE, far)
        values: dict[str, Any] = {"username": "", "password": "", "client_id": CLIENT_ID}
        made = world.connector(**values, client_secret=CLIENT_SECRET)
        [first] = await world.deliver(event("a"), connector=made)
        far.expire()
        [second] = await world.deliver(event("b"), connector=made)
        assert isinstance(first, Delivered)
        assert isinstance(second, Delivered)
        asked = [call.step for call in world.calls]
        assert asked.count("token") == 2
        [bad] = await world.deliver(
            event("c"), connector=world.connector(**values, client_secret="wrong-but-long")
        )
        assert isinstance(bad, Retryable)
        assert bad.code == "sap.credentials"
        far.faults({"path": "oauth2/token", "status": 503, "times": None})
        [away] = await world.deliver(
            event("d"), connector=world.connector(**values, client_secret=CLIENT_SECRET)
        )
        assert isinstance(away, Retryable)
        assert (away.code, away.scope) == ("sap.token_unavailable", Scope.SYSTEM)


async def test_sessions_that_end_by_the_clock_are_renewed() -> None:
    with boxed(Sap(csrf_s=0.0)) as far:
        world = World(CASE, far)
        [outcome] = await world.deliver(event())
        assert isinstance(outcome, Retryable)
        assert outcome.code == "sap.csrf"


# -- repeatable requests


async def test_a_repeated_create_is_answered_as_the_first_and_made_once() -> None:
    sandbox = Sap(repeatability="on")
    with boxed(sandbox) as far:
        world = World(CASE, far)
        made = world.connector(repeatable_requests=True)
        far.faults(CASE.on_write(mode="drop_after"))
        [lost] = await world.deliver(event(), connector=made)
        assert isinstance(lost, Unknown)
        sent = [call.request for call in world.calls if call.step == "create"]
        assert sent[0].headers["requestid"] == request_id(event().id)
        # What a second worker would send: byte for byte the same.
        async with make_client("sap", world.values()) as client:
            answer = await client.send(sent[0])
        assert answer.status_code == 201
        assert answer.headers["repeatabilityresult"] == "accepted"
        assert len(world.creates()) == 1


def test_what_sap_says_of_a_repetition_is_read() -> None:
    made = connector(repeatable_requests=True)
    outdated = error(400, "/IWBEP/CM_COS/005", RepeatabilityResult="rejected")
    [outcome], _ = talk(made.deliver([ONE]), [found(), token(), outdated])
    assert isinstance(outcome, Unknown), "it was done before: it is looked up"
    unsupported = error(501, "/IWBEP/CM_COS/001", RepeatabilityResult="unsupported")
    [outcome], _ = talk(made.deliver([ONE]), [found(), unsupported])
    assert isinstance(outcome, Retryable)
    assert outcome.scope is Scope.SYSTEM
    assert "repeatable_requests" in outcome.message


def test_repeatable_creates_go_one_by_one_and_stop_where_the_system_fails() -> None:
    made = connector(repeatable_requests=True)
    told = [delivery(event(f"e{n}")) for n in range(3)]
    replies = [found(), token(), created(told[0].key), httpx.Response(503)]
    outcomes, calls = talk(made.deliver(told), replies)
    assert isinstance(outcomes[0], Delivered)
    assert [type(one) for one in outcomes[1:]] == [Retryable, Retryable]
    assert len({call.request.headers.get("requestid") for call in calls[2:]}) == 2


# -- what is told


@pytest.mark.parametrize("status", [400, 403, 500])
def test_nothing_that_was_sent_in_secret_is_told(status: int) -> None:
    said = f"{PASSWORD} {TOKEN} SAP_SESSIONID_S4H_100=abcdefgh12345678 abcdefgh12345678"
    replies = [found(), token(), error(status, "IM/118", said)]
    [outcome], _ = talk(connector().deliver([ONE]), replies)
    for secret in (PASSWORD, TOKEN, "abcdefgh12345678"):
        assert secret not in repr(outcome)
    if status == 400:
        assert isinstance(outcome, Rejected)
        assert "IM/118: ***" in outcome.message


def test_a_short_cookie_does_not_change_what_an_answer_says() -> None:
    """'1' is in every number: answers are read as they are, only what is told is cleaned."""
    short = httpx.Response(200, headers={"x-csrf-token": "1", "set-cookie": "a=1"})
    [outcome], _ = talk(connector().deliver([ONE]), [found(), short, created(ONE.key)])
    assert outcome == Delivered(target_id="10000001", created=True)


def test_a_look_up_that_another_rows_answer_comes_to_is_no_word() -> None:
    """A system that does not heed $filter shows notifications that nobody asked for."""
    [answer], _ = talk(connector().look_up([ONE]), [found(("another", "10000009"))])
    assert isinstance(answer, Retryable)
    [answer], _ = talk(connector().look_up([ONE]), [found()])
    assert answer == NotFound()
    more = httpx.Response(200, json={"d": {"results": [], "__next": URL}})
    [answer], _ = talk(connector().look_up([ONE]), [more])
    assert isinstance(answer, Retryable)


# -- settings


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "exactly one of"),
        ({"username": "U", "password": "p", "client_id": "c"}, "exactly one of"),
        ({"username": "U"}, "password is empty"),
        ({"username": "U:V", "password": "p"}, "colon"),
        ({"client_id": "c"}, "client_secret is empty"),
        ({"username": "U", "password": "p", "sap_client": "1"}, "sap_client"),
        ({"username": "U", "password": "p", "priorities": {"critical": "1"}}, "priorities"),
        ({"username": "U", "password": "p", "url": "http://sap.example"}, "encrypted"),
        ({"username": "U", "password": "p", "url": f"{URL}/sap/opu/odata/sap/X"}, "before"),
        ({"certificate": "x.pem", "url": "http://127.0.0.1:1"}, "https"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_a_sentence(
    values: dict[str, object], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        make(SapSettings, {"url": URL, **values})


def test_requests_go_to_the_system_and_to_the_token_endpoint_only() -> None:
    settings = make(
        SapSettings,
        {"url": URL, "client_id": "c", "client_secret": "s", "token_url": "https://id.example/t"},
    )
    assert settings.hosts() == {"my.s4hana.example", "id.example"}
    assert settings.tokens_at == "https://id.example/t"


# -- certificates


def _certificate(
    folder: Path, name: str, ca: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    issuer, signer = (ca[0].subject, ca[1]) if ca else (subject, key)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return made, key, path


async def test_a_client_certificate_is_shown_in_the_handshake(tmp_path: Path) -> None:
    ca_certificate, ca_key, ca_file = _certificate(tmp_path, "ca", None)
    ca = (ca_certificate, ca_key)
    _, _, of_server = _certificate(tmp_path, "localhost", ca)
    _, _, of_client = _certificate(tmp_path, "fieldline", ca)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca_file))
    context.load_cert_chain(of_server)
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        seen.append(writer.get_extra_info("peercert")["subject"])
        answer = b'{"d":{"results":[]}}'
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(answer)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    values = {
        "url": f"https://localhost:{port}",
        "certificate": str(of_client),
        "ca_file": str(ca_file),
    }
    made = connector(**values)
    async with server, make_client("sap", values) as client:
        call = next(made.look_up([ONE]))
        answer = await client.send(call.request)
    assert answer.status_code == 200
    assert seen == [((("commonName", "fieldline"),),)]
    assert "authorization" not in call.request.headers


def test_a_certificate_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    values = {"url": URL, "certificate": str(tmp_path / "none.pem")}
    with pytest.raises(SettingsError, match="certificate"):
        make_client("sap", values)
