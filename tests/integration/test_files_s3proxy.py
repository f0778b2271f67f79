"""The file batch on a real S3 server: written once, read back whole."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import botocore.session
import httpx
import pytest
from botocore.client import Config

from connectors.base import Delivery
from connectors.registry import make_connector
from pipeline.core.events import BusinessEvent
from pipeline.core.outcome import Delivered, Found, NotFound
from tests.contract.cases.files import CASE
from tests.contract.conversation import converse_over
from tests.contract.world import event, story
from tests.contract.world import key as key_of
from tests.integration.s3_server import Server
from tests.sandboxes.files_reader import Reader
from tests.sandboxes.journal import Journal

pytestmark = pytest.mark.parts


def values(server: Server, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - settings
    told = server.part.settings()
    return {
        "url": f"{told['S3_ENDPOINT']}/{told['S3_BUCKET']}/drop",
        "access_key_id": told["S3_ACCESS_KEY"],
        "secret_access_key": told["S3_SECRET_KEY"],
        "region": told["S3_REGION"],
        **more,
    }


@pytest.mark.parametrize("form", ["csv", "xml", "flat"])
async def test_a_story_is_there_once_and_a_reader_of_manifests_follows_it(
    server: Server, form: str
) -> None:
    told = values(server, format=form)
    told["url"] += f"/{form}"
    to = make_connector("files", values=told)
    sent = [delivery(one) for one in (*story(form), event(f"{form} other"))]
    async with httpx.AsyncClient(trust_env=False) as client:
        first, _ = await converse_over(client, to.deliver(sent[:2]))
        second, _ = await converse_over(client, to.deliver(sent[2:]))
        again, _ = await converse_over(client, to.deliver(sent))
        found, _ = await converse_over(client, to.look_up([*sent, delivery(event("nobody"))]))
        checks, _ = await converse_over(client, to.check())
    assert [one.created for one in (*first, *second) if isinstance(one, Delivered)] == [True] * 5
    assert [one.created for one in again if isinstance(one, Delivered)] == [False] * 5
    assert [type(one) for one in found] == [Found] * 5 + [NotFound]
    assert [one.ok for one in checks] == [True, True, None]
    ops = [(e["op"], e["id"]) for e in read(server, urlsplit(told["url"]).path)]
    of = key_of(form)
    assert [op for op, entity in ops if entity == of] == ["create", "update", "close", "reopen"]
    assert ops.count(("create", key_of(f"{form} other"))) == 1


async def test_wrong_keys_and_a_missing_bucket_are_told_by_a_check(server: Server) -> None:
    for change, says in (
        ({"secret_access_key": "another-secret"}, "permission"),
        ({"url": f"{server.part.settings()['S3_ENDPOINT']}/nobody/x"}, "no such bucket"),
    ):
        to = make_connector("files", values=values(server) | change)
        async with httpx.AsyncClient(trust_env=False) as client:
            checks, _ = await converse_over(client, to.check())
        assert [one.ok for one in checks] == [False]
        assert says in checks[0].detail


def delivery(one: BusinessEvent) -> Delivery:
    return Delivery(event=one, key=one.id, record=CASE.record)


def read(server: Server, path: str) -> list[dict[str, Any]]:
    """What a reader of all manifests below a path does."""
    told = server.part.settings()
    client = botocore.session.get_session().create_client(
        "s3",
        region_name=told["S3_REGION"],
        endpoint_url=told["S3_ENDPOINT"],
        aws_access_key_id=told["S3_ACCESS_KEY"],
        aws_secret_access_key=told["S3_SECRET_KEY"],
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )
    _, bucket, prefix = path.split("/", 2)

    def get(key: str) -> bytes:
        body: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/manifests/")["Contents"]
    journal = Journal()
    manifests = [get(one["Key"]) for one in listed]
    Reader(journal).take(*manifests, read=lambda name: get(f"{prefix}/{name}"))
    return journal.as_json()
