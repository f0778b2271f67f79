"""The transport over a real SSH server: never half a file, and trouble told exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import httpx
import pytest

from connectors.base import Call, Checked, Effect
from connectors.client import make_client
from connectors.exchange import converse
from connectors.files.config import FilesSettings
from connectors.files.protocol import FilesConnector
from connectors.registry import make_connector
from connectors.settings import make as make_settings
from pipeline.core.outcome import Delivered, Found, Outcome, Retryable, Scope, Unknown
from pipeline.settings import SettingsError
from tests.contract.cases.files import CASE, values
from tests.contract.world import World, event
from tests.sandboxes.sftp import PASSWORD, SftpDrop, served

URL = "sftp://files.example/drop"


@pytest.fixture
def far() -> Iterator[SftpDrop]:
    with served() as drop:
        yield drop


async def send(far: SftpDrop, *names: str, **more: Any) -> list[Outcome]:  # noqa: ANN401 - settings
    """Deliver events with settings of a test's own; the client has them too."""
    told = {**values(far), **more}
    world = World(CASE, far)
    deliveries = [world.delivery(event(name)) for name in names]
    async with make_client("files", told) as client:
        done = await converse(
            lambda: make_connector("files", values=told).deliver(deliveries),
            client,
            request_s=5,
            late=lambda: False,
        )
    assert done.result is not None, done.bug
    return list(done.result)


async def put(far: SftpDrop, path: str, body: bytes, **headers: str) -> httpx.Response:
    """One PUT through the transport."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with make_client("files", values(far)) as client:
        return await client.put(f"{far.url}/{path}", content=body, headers=named)


async def test_a_file_is_written_over_whole_or_only_where_there_is_none(far: SftpDrop) -> None:
    assert (await put(far, "keys/a.json", b"one")).status_code == 201
    assert (await put(far, "keys/a.json", b"two")).status_code == 201
    assert (await put(far, "keys/a.json", b"three", if_none_match="*")).status_code == 412
    assert (await put(far, "keys/b.json", b"three", if_none_match="*")).status_code == 201
    assert far.files("keys") == {"keys/a.json": b"two", "keys/b.json": b"three"}
    assert far.files("staging") == {}


async def test_a_server_without_posix_rename_gets_the_same_files(far: SftpDrop) -> None:
    far.plain = True
    for body in (b"one", b"two"):
        assert (await put(far, "keys/a.json", body)).status_code == 201
    assert far.files("keys") == {"keys/a.json": b"two"}
    [outcome] = await send(far, "one")
    assert isinstance(outcome, Delivered)


@pytest.mark.parametrize("mode", ["drop_before", "hang"])
async def test_a_connection_lost_while_a_part_is_written_has_certainly_changed_nothing(
    far: SftpDrop, mode: str
) -> None:
    far.faults({"method": "WRITE", "mode": mode, "skip": 2})
    if mode == "hang":
        with pytest.raises(httpx.ReadTimeout):
            await hung(far)
        assert far.files("keys") == {}
        return
    [outcome] = await send(far, "one")
    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.scope) == ("files.unreachable", Scope.SYSTEM)
    assert not [name for name in far.files() if name.startswith("manifests/")]
    assert far.journal() == []
    [again] = await send(far, "one")
    assert isinstance(again, Delivered)


async def hung(far: SftpDrop) -> None:
    """A PUT that waits for ever at its part; the connection is given up, the next one is new."""
    far.faults({"method": "WRITE", "mode": "hang"})
    async with make_client("files", values(far)) as client:
        request = httpx.Request("PUT", f"{far.url}/keys/a.json", content=b"x")

        def begin() -> Any:  # noqa: ANN401 - a conversation
            return (yield Call(step="mark", request=request, effect=Effect.KEYED_WRITE))

        done = await converse(begin, client, request_s=0.3, late=lambda: False)
        there = await client.get(f"{far.url}/keys/a.json")
    assert there.status_code == 404
    assert far.stats()["logins"] == 2
    assert isinstance(done.result, httpx.TransportError)
    raise done.result


async def test_a_connection_lost_after_the_rename_is_told_as_unknown(far: SftpDrop) -> None:
    far.faults({"method": "PUT", "path": "/manifests/", "mode": "drop_after"})
    [outcome] = await send(far, "one")
    assert isinstance(outcome, Unknown)
    [again] = await send(far, "one")
    assert isinstance(again, Delivered)
    assert not again.created
    assert [e["op"] for e in far.journal()] == ["create"]


async def test_one_connection_serves_a_whole_batch(far: SftpDrop) -> None:
    outcomes = await send(far, *map(str, range(8)), batch=8)
    assert all(isinstance(one, Delivered) for one in outcomes)
    assert far.stats()["logins"] == 1
    assert far.stats()["manifests"] == 1
    [manifest] = far.files("manifests").values()
    assert len(json.loads(manifest)["keys"]) == 8


async def test_a_server_with_another_key_is_not_spoken_to(far: SftpDrop, tmp_path: Path) -> None:
    host, _, _ = far.known_hosts.read_text().partition(" ")
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    for text in (f"{host} {other}", "rubbish\n", ""):
        known = tmp_path / "known_hosts"
        known.write_text(text)
        [outcome] = await send(far, "one", known_hosts=str(known))
        assert isinstance(outcome, Retryable)
        assert (outcome.code, outcome.scope) == ("files.host_key", Scope.SYSTEM)
    assert far.files() == {}


async def test_a_private_key_is_as_good_as_a_password(far: SftpDrop) -> None:
    plain = far.client_key.export_private_key().decode()
    locked = far.client_key.export_private_key("pkcs8-pem", "open sesame").decode()
    for name, given in (
        ("one", {"private_key": plain}),
        ("two", {"private_key": locked, "passphrase": "open sesame"}),
    ):
        [outcome] = await send(far, name, password=None, **given)
        assert isinstance(outcome, Delivered)
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    [refused] = await send(far, "three", password=None, private_key=other)
    assert isinstance(refused, Retryable)
    assert refused.code == "files.credentials"


async def test_a_server_that_is_away_has_certainly_taken_nothing() -> None:
    with served() as gone:
        told = dict(values(gone))
        known = gone.known_hosts.read_text()
    gone.home.mkdir()
    gone.known_hosts.write_text(known)
    try:
        [outcome] = await send(gone, "one", **told)
    finally:
        gone.known_hosts.unlink()
        gone.home.rmdir()
    assert isinstance(outcome, Retryable)
    assert outcome.code == "files.unreachable"


async def test_a_folder_below_the_users_home_is_written_with_a_tilde(far: SftpDrop) -> None:
    url = far.url.replace("/drop", "/~/drop")
    [outcome] = await send(far, "one", url=url)
    assert isinstance(outcome, Delivered)
    assert outcome.target_id in far.files()


async def test_a_file_larger_than_any_of_ours_is_no_answer(far: SftpDrop) -> None:
    one = event("one").id
    folder = far.root / "drop" / "keys" / one[:2]
    folder.mkdir(parents=True)
    (folder / f"{one}.json").write_bytes(b" " * (8 * 1024 * 1024 + 1))
    [answer] = await World(CASE, far).look_up(event("one"))
    assert isinstance(answer, Retryable)


async def test_a_check_tells_a_missing_folder(far: SftpDrop) -> None:
    world = World(CASE, far)
    other = make_connector("files", values={**values(far), "url": f"{far.url}-of-others"})
    told: list[Checked] = list((await world.hold(other.check())).result or [])
    assert [one.ok for one in told] == [False]
    assert told[0].detail == "There is no such folder: create it, or correct FILES_URL."


async def test_what_is_looked_up_is_the_file_of_the_row(far: SftpDrop) -> None:
    [sent] = await send(far, "one")
    assert isinstance(sent, Delivered)
    assert await World(CASE, far).look_up(event("one")) == [Found(target_id=sent.target_id)]
    assert sent.target_id in far.files("data")


# -- settings


def settings(tmp_path: Path, **changes: Any) -> FilesSettings:  # noqa: ANN401 - any field
    known = tmp_path / "known_hosts"
    known.touch()
    given = {"url": URL, "username": "u", "password": PASSWORD, "known_hosts": str(known)}
    return make_settings(FilesSettings, given | changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "sftp://u:secret@h/x"}, "FILES_URL"),
        ({"url": "sftp:///x"}, "FILES_URL"),
        ({"url": "sftp://h:port/x"}, "FILES_URL"),
        ({"url": "sftp://h/a/../b"}, "FILES_URL"),
        ({"url": "ftp://h/x"}, "FILES_URL"),
        ({"url": "s3://Not_A_Bucket/x"}, "FILES_URL"),
        ({"url": "https://endpoint.example/"}, "names no bucket"),
        ({"url": "http://endpoint.example/bucket"}, "not encrypted"),
        ({"url": "s3://bucket/x"}, "FILES_ACCESS_KEY_ID"),
        ({"username": ""}, "FILES_USERNAME"),
        ({"password": None}, "FILES_PASSWORD"),
        ({"known_hosts": None}, "FILES_KNOWN_HOSTS"),
        ({"known_hosts": "/nowhere/known_hosts"}, "FILES_KNOWN_HOSTS"),
        ({"private_key": "no key"}, "FILES_PRIVATE_KEY"),
        ({"format": "xlsx"}, "FILES_FORMAT"),
        ({"batch": 201}, "FILES_BATCH"),
    ],
    ids=repr,
)
def test_what_cannot_be_used_is_refused_in_a_sentence(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        settings(tmp_path, **changes)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base", "host"),
    [
        ("sftp://H.example:2222/a b/", "sftp://H.example:2222/a%20b", "h.example"),
        ("s3://bucket/p/q", "https://bucket.s3.eu-west-1.amazonaws.com/p/q", None),
        ("s3://a.bucket/p", "https://s3.eu-west-1.amazonaws.com/a.bucket/p", None),
        ("http://127.0.0.1:9000/b/p/", "http://127.0.0.1:9000/b/p", "127.0.0.1"),
    ],
)
def test_the_address_says_where_requests_go(
    tmp_path: Path, url: str, base: str, host: str | None
) -> None:
    keys = {"access_key_id": "a", "secret_access_key": "s", "region": "eu-west-1"}
    made = settings(tmp_path, url=url, **keys)
    assert made.base() == base
    assert made.hosts() == {host or base.split("/")[2]}


def test_no_secret_is_in_a_repr(tmp_path: Path) -> None:
    made = settings(tmp_path)
    connector = make_connector("files", values=made.model_dump())
    assert isinstance(connector, FilesConnector)
    assert PASSWORD not in repr(made)
    assert made.secrets() == (PASSWORD,)
