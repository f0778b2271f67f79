"""The file batch over S3: signatures as AWS's own, and the same guarantees as over SFTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import botocore.session
import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.client import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Checked, Connector
from connectors.files.sigv4 import signed
from connectors.jobs import Final
from pipeline.core.outcome import Delivered, Found, NotFound, Rejected, Retryable, Scope, Unknown
from tests.contract.case import Means, means
from tests.contract.cases.files import CASE
from tests.contract.world import World, event, many, story
from tests.sandboxes.box import boxed
from tests.sandboxes.files import (
    ACCESS_KEY_ID,
    BUCKET,
    PREFIX,
    REGION,
    SECRET_ACCESS_KEY,
    make,
)

OVER_S3 = replace(
    CASE,
    start=lambda: boxed(make()),
    values=lambda far: {
        "url": f"{far.url}/{BUCKET}/{PREFIX}",
        "access_key_id": ACCESS_KEY_ID,
        "secret_access_key": SECRET_ACCESS_KEY,
        "region": REGION,
        "batch": 10,
    },
    bad_values=lambda _: {"secret_access_key": "another-secret-than-its-own"},
)
CODES = {
    "EntityTooLarge": (Means.REJECTED, "files.refused"),
    "KeyTooLongError": (Means.REJECTED, "files.name"),
    "ConditionalRequestConflict": (Means.ITEM, "files.locked"),
    "OperationAborted": (Means.ITEM, "files.locked"),
    "AccessDenied": (Means.SYSTEM, "files.permission"),
    "InvalidAccessKeyId": (Means.SYSTEM, "files.credentials"),
    "SignatureDoesNotMatch": (Means.SYSTEM, "files.credentials"),
    "ExpiredToken": (Means.SYSTEM, "files.credentials"),
    "RequestTimeTooSkewed": (Means.SYSTEM, "files.clock"),
    "NoSuchBucket": (Means.SYSTEM, "files.no_bucket"),
    "SlowDown": (Means.SYSTEM, "files.slow_down"),
    "ServiceUnavailable": (Means.SYSTEM, "files.unavailable"),
    "InternalError": (Means.SYSTEM, "files.server_error"),
    "SomethingNewInS3": (Means.SYSTEM, "files.unexpected_answer"),
}


@pytest.fixture
def world() -> Iterator[World]:
    with OVER_S3.start() as far:
        yield World(OVER_S3, far)


async def checks(world: World, connector: Connector) -> list[Checked]:
    return list((await world.hold(connector.check())).result or ())


# -- signatures

DOC = {
    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "region": "us-east-1",
    "now_s": 1_369_353_600.0,
}
HOST = "https://examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "signature"),
    [
        (
            "GET",
            "/test.txt",
            {"Range": "bytes=0-9"},
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            {
                "Date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
            },
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/?lifecycle",
            {},
            b"",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/?max-keys=2&prefix=J",
            {},
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get", "put", "lifecycle", "list"],
)
def test_the_examples_of_the_s3_api_reference_are_signed_as_it_says(
    method: str, path: str, headers: dict[str, str], body: bytes, signature: str
) -> None:
    made = signed(method, httpx.URL(HOST + path), headers, body, **DOC)  # type: ignore[arg-type]  # one of several kinds
    assert made["authorization"].endswith(f"Signature={signature}")


PARTS = st.text(st.sampled_from("abz09-_.~ /%ü"), min_size=1, max_size=20)


@given(key=PARTS, body=st.binary(max_size=40), new=st.booleans())
def test_any_request_is_signed_as_botocore_signs_it(key: str, body: bytes, *, new: bool) -> None:
    written = quote(key, safe="-_.~")
    url = httpx.URL(f"{HOST}/drop/{'?of=' if new else 'a'}{written}")
    headers = {"if-none-match": "*"} if new else {"x-a": "b  c "}
    made = signed("PUT", url, headers, body, **DOC)  # type: ignore[arg-type]  # one of several kinds
    witness = S3SigV4Auth(
        Credentials(DOC["access_key_id"], DOC["secret_access_key"]), "s3", "us-east-1"
    )
    kept = {name: value for name, value in made.items() if name != "authorization"}
    told = AWSRequest("PUT", str(url), headers=kept, data=body)
    told.context["timestamp"] = made["x-amz-date"]
    text = witness.string_to_sign(told, witness.canonical_request(told))
    assert made["authorization"].endswith(f"Signature={witness.signature(text, told)}")


# -- guarantees


async def test_what_is_sent_twice_is_there_once(world: World) -> None:
    [first] = await world.deliver(event())
    [again] = await world.deliver(event())
    assert isinstance(first, Delivered)
    assert again == replace(first, created=False)
    assert len(world.creates()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"mode": "drop_after", "times": 2},
        {"mode": "drop_before", "times": 2},
        {"mode": "hang", "times": 1},
        {"mode": "html", "times": 1},
        {"status": 503, "times": 3},
        {"status": 500, "times": 2},
    ],
    ids=repr,
)
async def test_whatever_happens_on_the_way_of_the_manifest_each_is_there_once(
    world: World, fault: dict[str, Any]
) -> None:
    told = many(4)
    world.far.faults(world.case.on_write(**fault))
    ends = await world.run(told)
    assert {end.final for end in ends} == {Final.DELIVERED}
    assert sorted(e["key"] for e in world.creates()) == sorted(one.id for one in told)


async def test_one_trouble_is_told_in_order(world: World) -> None:
    ends = await world.run(story())
    assert {end.final for end in ends} == {Final.DELIVERED}
    assert [e["op"] for e in world.ops()] == ["create", "update", "close", "reopen"]


@pytest.mark.parametrize("code", CODES)
async def test_every_code_of_s3_means_what_the_table_says(world: World, code: str) -> None:
    wanted, ours = CODES[code]
    world.far.errors({"code": code, "times": None})
    [outcome] = await world.deliver(event())
    assert not isinstance(outcome, Delivered)
    assert (means(outcome), outcome.code) == (wanted, ours)
    assert not world.ops()


@pytest.mark.parametrize(
    ("status", "code"),
    [(502, "files.bad_gateway"), (504, "files.gateway_timeout"), (418, "files.unexpected_answer")],
)
async def test_what_nobody_knows_of_a_manifest_is_unknown(
    world: World, status: int, code: str
) -> None:
    world.far.faults(world.case.on_write(status=status, times=None))
    [outcome] = await world.deliver(event())
    assert isinstance(outcome, Unknown)
    assert outcome.code == code


async def test_one_bad_row_is_refused_alone_and_the_others_go(world: World) -> None:
    told = many(5)
    world.far.errors({"code": "EntityTooLarge", "key": told[3].id, "times": None})
    outcomes = await world.deliver(*told)
    assert [n for n, one in enumerate(outcomes) if isinstance(one, Rejected)] == [3]
    assert len(world.creates()) == 4


async def test_a_look_up_believes_the_server_alone(world: World) -> None:
    [sent] = await world.deliver(event())
    assert isinstance(sent, Delivered)
    assert await world.look_up(event(), event("other")) == [
        Found(target_id=sent.target_id),
        NotFound(),
    ]
    for fault in (
        {"status": 404, "body_text": "<html>nothing here</html>"},
        {"status": 404},
        {"status": 403},
        {"status": 200, "body_text": "[]"},
        {"status": 200, "body_text": '{"manifest": "../../etc"}'},
        {"status": 200, "body_text": '{"manifest": "2026-11-21/fl-0"}'},
    ):
        world.far.faults({"path": "/keys/", "times": None, **fault})
        [answer] = await world.look_up(event())
        assert isinstance(answer, Retryable), (fault, answer)
    world.far.faults({"path": "/manifests/", "status": 200, "body_text": "{}", "times": None})
    [answer] = await world.look_up(event())
    assert isinstance(answer, Retryable)


async def test_a_wrong_secret_is_the_systems_trouble_and_told_by_a_check(world: World) -> None:
    bad = world.connector(**world.case.bad_values(world.far))
    [outcome] = await world.deliver(event(), connector=bad)
    assert isinstance(outcome, Retryable)
    assert (outcome.scope, outcome.code) == (Scope.SYSTEM, "files.credentials")
    assert [one.ok for one in await checks(world, bad)] == [False]
    assert [one.ok for one in await checks(world, world.connector())] == [True, True, None]


async def test_a_bucket_that_is_not_there_is_told_by_a_check(world: World) -> None:
    other = world.connector(url=f"{world.far.url}/another/prefix")
    assert [(one.ok, one.detail) for one in await checks(world, other)] == [
        (False, "There is no such bucket: create it, or correct FILES_URL.")
    ]


async def test_neither_secret_nor_signature_comes_back_in_an_outcome(world: World) -> None:
    for path in ("/keys/", "/data/", "/manifests/"):
        world.far.faults({"path": path, "mode": "echo", "status": 500, "times": None})
        [outcome] = await world.deliver(event(path))
        for call in world.calls:
            assert call.request.headers["authorization"].rpartition("=")[2] not in repr(outcome)
    assert SECRET_ACCESS_KEY not in repr(world.connector())


# -- the sandbox itself, with AWS's own client


async def test_botocore_reads_what_the_connector_wrote(world: World) -> None:
    [sent] = await world.deliver(event())
    assert isinstance(sent, Delivered)
    client = botocore.session.get_session().create_client(
        "s3",
        region_name=REGION,
        endpoint_url=world.far.url,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        config=Config(
            s3={"addressing_style": "path", "payload_signing_enabled": True},
            proxies={},
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/manifests/")
    [name] = [one["Key"] for one in listed["Contents"]]
    manifest = json.loads(client.get_object(Bucket=BUCKET, Key=name)["Body"].read())
    assert manifest["keys"] == [event().id]
    assert sent.target_id == manifest["files"][0]["path"]
    data = client.get_object(Bucket=BUCKET, Key=f"{PREFIX}/{sent.target_id}")["Body"].read()
    assert len(data) == manifest["files"][0]["bytes"]
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=BUCKET, Key=name, Body=b"x", IfNoneMatch="*")
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.get_object(Bucket=BUCKET, Key="nothing")
