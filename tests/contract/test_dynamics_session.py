"""Dataverse: tokens, limits, batches as they go over the wire, and answers that are no answers."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.answers import Row
from connectors.base import Delivery
from connectors.dynamics.answers import trouble
from connectors.dynamics.config import DynamicsSettings
from connectors.dynamics.odata import Step, answers, request
from connectors.dynamics.protocol import DynamicsConnector
from connectors.settings import make as make_settings
from connectors.system import OPEN
from pipeline.core.learnt import learnt
from pipeline.core.outcome import Delivered, NotFound, Retryable, Scope, Unknown
from pipeline.settings import SettingsError
from tests.contract.cases.dynamics import CASE
from tests.contract.conversation import converse, steps
from tests.contract.world import event

URL = "https://org.crm4.dynamics.com"
API = f"{URL}/api/data/v9.2"
TOKEN = httpx.Response(200, json={"access_token": "t0ken", "expires_in": 3599})
OWN = "00000000-0000-0000-0000-000000000001"
MADE = httpx.Response(201, json={"incidentid": OWN})


def connector(**values: str) -> DynamicsConnector:
    given = {"url": URL, "tenant_id": "contoso", "client_id": "app", "client_secret": "s3cret"}
    return DynamicsConnector(
        make_settings(DynamicsSettings, given | values), OPEN, lambda: 1_000_000.0
    )


def delivery(name: str = "one") -> Delivery:
    told = event(name)
    return Delivery(event=told, key=told.id, record=CASE.record)


def test_a_token_is_asked_for_once_with_the_scope_of_the_environment() -> None:
    made = connector()
    _, calls = converse(made.deliver([delivery()]), [TOKEN, MADE])
    assert steps(calls) == ["token", "create"]
    asked = calls[0].request
    assert str(asked.url) == "https://login.microsoftonline.com/contoso/oauth2/v2.0/token"
    assert b"grant_type=client_credentials" in asked.content
    assert f"{URL}/.default".replace(":", "%3A").replace("/", "%2F").encode() in asked.content
    _, calls = converse(made.deliver([delivery("b")]), [MADE])
    assert calls[0].request.headers["authorization"] == "Bearer t0ken"


def test_one_case_is_a_plain_upsert_that_may_only_create() -> None:
    [made], calls = converse(connector().deliver([delivery()]), [TOKEN, MADE])
    sent = calls[1].request
    key = event().id
    where = f"{API}/incidents(fieldline_key='{key}')?$select=incidentid"
    assert (sent.method, str(sent.url)) == ("PATCH", where)
    assert sent.headers["if-none-match"] == "*"
    assert sent.headers["prefer"] == "return=representation"
    assert (sent.headers["odata-version"], sent.headers["odata-maxversion"]) == ("4.0", "4.0")
    assert b"fieldline_key" not in sent.content
    assert made == Delivered(target_id=OWN, created=True)


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (httpx.Response(200, json={"incidentid": OWN}), Delivered(target_id=OWN, created=False)),
        (
            httpx.Response(204, headers={"OData-EntityId": f"{API}/incidents({OWN})"}),
            Delivered(target_id=OWN, created=True),
        ),
    ],
)
def test_an_environment_that_answers_otherwise_is_read_for_what_it_says(
    reply: httpx.Response, wanted: Delivered
) -> None:
    assert converse(connector().deliver([delivery()]), [TOKEN, reply])[0] == [wanted]


def test_a_success_that_names_no_record_is_unknown() -> None:
    [told], _ = converse(connector().deliver([delivery()]), [TOKEN, httpx.Response(204)])
    assert isinstance(told, Unknown)


def test_several_cases_are_change_sets_of_their_own_with_crlf_and_content_ids() -> None:
    ends = converse(
        connector().deliver([delivery("a"), delivery("b")]), [TOKEN, httpx.Response(500)]
    )
    sent = ends[1][1].request
    assert (sent.method, str(sent.url)) == ("POST", f"{API}/$batch")
    assert sent.headers["prefer"] == "odata.continue-on-error"
    assert b"\n" not in sent.content.replace(b"\r\n", b"")
    assert sent.content.count(b"Content-Type: multipart/mixed; boundary=") == 2
    assert [f"Content-ID: {n}".encode() in sent.content for n in (1, 2, 3)] == [True, True, False]
    assert sent.content.count(b" HTTP/1.1\r\n") == 2


def batch_answer(*parts: str) -> httpx.Response:
    text = "".join(f"--r\r\n{part}\r\n" for part in parts) + "--r--\r\n"
    return httpx.Response(
        200, headers={"content-type": "multipart/mixed; boundary=r"}, content=text.encode()
    )


def part(status: int, body: str = "", *, number: int = 0) -> str:
    told = f"Content-ID: {number}\r\n" if number else ""
    return (
        f"Content-Type: application/http\r\n{told}\r\nHTTP/1.1 {status} X\r\n"
        f"OData-Version: 4.0\r\n\r\n{body}"
    )


def nested(number: int, status: int, body: str = "") -> str:
    inner = part(status, body, number=number)
    head = f"Content-Type: multipart/mixed; boundary=c{number}\r\n\r\n--c{number}\r\n"
    return f"{head}{inner}\r\n--c{number}--"


def test_each_event_of_a_batch_has_its_own_outcome_by_content_id() -> None:
    refused = '{"error":{"code":"0x80044331","message":"too long"}}'
    reply = batch_answer(
        nested(2, 201, f'{{"incidentid":"{OWN}"}}'), nested(1, 400, refused), "nonsense"
    )
    told, _ = converse(connector().deliver([delivery(n) for n in "abc"]), [TOKEN, reply])
    assert [type(one).__name__ for one in told] == ["Rejected", "Delivered", "Unknown"]


def test_a_batch_whose_first_error_became_its_status_leaves_the_rest_unknown() -> None:
    refused = part(400, '{"error":{"code":"0x80044331","message":"too long"}}')
    reply = httpx.Response(
        400, headers=batch_answer().headers, content=batch_answer(refused).content
    )
    told, _ = converse(connector().deliver([delivery(n) for n in "ab"]), [TOKEN, reply])
    assert [type(one).__name__ for one in told] == ["Rejected", "Unknown"]


def test_a_limit_within_a_batch_is_the_systems_and_takes_the_outer_retry_after() -> None:
    limited = part(429, '{"error":{"code":"0x80072326","message":"busy"}}')
    reply = batch_answer(limited, limited)
    reply.headers["retry-after"] = "17"
    told, _ = converse(connector().deliver([delivery(n) for n in "ab"]), [TOKEN, reply])
    assert {(one.scope, one.retry_after_s) for one in told if isinstance(one, Retryable)} == {
        (Scope.SYSTEM, 17.0)
    }
    assert learnt({"x-ms-ratelimit-burst-remaining-xrm-requests": "5"}, 200, 0.0) is not None


def test_a_bad_client_secret_is_the_systems_trouble_and_is_not_repeated() -> None:
    answer = {"error": "invalid_client", "error_description": "AADSTS7000215 for s3cret"}
    [told], _ = converse(connector().deliver([delivery()]), [httpx.Response(401, json=answer)])
    assert isinstance(told, Retryable)
    assert (told.code, told.scope) == ("dynamics.credentials", Scope.SYSTEM)
    [away], _ = converse(connector().deliver([delivery()]), [httpx.Response(503)])
    assert isinstance(away, Retryable)
    assert away.code == "dynamics.token_unavailable"


def test_a_page_of_a_proxy_is_no_word_of_dataverse_that_a_record_is_not_there() -> None:
    page = httpx.Response(404, html="<h1>no</h1>")
    found, _ = converse(connector().look_up([delivery()]), [TOKEN, page])
    assert isinstance(found[0], Retryable)
    spoken = httpx.Response(404, json={"error": {"code": "0x80060891", "message": "none"}})
    found, _ = converse(connector().look_up([delivery()]), [TOKEN, spoken])
    assert list(found) == [NotFound()]


@pytest.mark.parametrize(
    "values",
    [
        {"url": "http://org.crm4.dynamics.com"},
        {"url": f"{URL}/api"},
        {"token_url": "http://elsewhere.example/{tenant_id}"},
        {"entity_set": "incidents(x)"},
        {"tenant_id": "a/b"},
        {"asset_binding": "only_one"},
    ],
)
def test_settings_that_cannot_be_used_are_told_in_a_sentence(values: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"^Correct setting \w+ \(DYNAMICS_\w+\): "):
        connector(**values)


async def test_a_check_says_that_the_alternate_key_is_missing() -> None:
    table = {"LogicalName": "incident", "Keys": [{"KeyAttributes": ["other"]}]}
    replies = [TOKEN, httpx.Response(200, json={}), httpx.Response(200, json={"value": [table]})]
    lines, _ = converse(connector().check(), replies)
    assert [(one.what, one.ok) for one in lines] == [
        ("credentials", True),
        ("alternate key", False),
        ("writing", None),
    ]
    assert lines[1].detail.endswith(".")


ASKS = [(Step(method="PATCH", path="x", body={}),)] * 2
HEADERS = st.sampled_from(["multipart/mixed; boundary=r", "text/html", "multipart/mixed", ""])
PIECES = st.lists(
    st.sampled_from(
        [b"--r", b"\r\n", b"\n", b"--", b"HTTP/1.1 ", b"204", b" OK", b":", b"Content-ID: 1"]
    )
    | st.binary(max_size=6),
    max_size=30,
)


@given(kind=HEADERS, pieces=PIECES, status=st.integers(100, 599))
def test_no_answer_whatever_it_holds_is_more_than_one_answer_per_ask(
    kind: str, pieces: list[bytes], status: int
) -> None:
    reply = httpx.Response(status, headers={"content-type": kind}, content=b"".join(pieces))
    found = answers(reply, ASKS)
    assert len(found) == len(ASKS)
    for one in found:
        assert one is None or isinstance(trouble(one), Row | None)


@given(text=st.text(max_size=50))
def test_no_text_of_a_body_ends_a_part_of_a_batch(text: str) -> None:
    ask = (Step(method="PATCH", path="x", body={"title": text}),)
    sent = request(API, [ask, ask], "t").content
    assert sent.count(b"\r\n--fieldline_batch") == 2
    assert sent.count(b"\r\n--fieldline_changes") == 4
