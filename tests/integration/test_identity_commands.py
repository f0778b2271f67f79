"""fieldline identity, typed as a person would and asked over HTTP, on a real Kafka and Redis."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from pipeline.cli import identity
from pipeline.settings import SettingsError, load
from pipeline.state.registry import COLUMNS
from pipeline.web.identity_operations import OPERATIONS
from pipeline.web.requests import MAX_BODY
from tests.integration.identity_world import World, raised

pytestmark = [pytest.mark.parts, pytest.mark.timeout(240)]

TOKEN = "a token that nobody guesses"
ENGINE = ("--asset", "ESN-1", "--asset-name", "Engine [1]", "--customer", "C-1")
OWNER = ("--customer-name", "Nordlicht", "--tax-id", "DE1", "--site", "HAM", "--region", "eu")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with raised(tmp_path_factory.mktemp("identity")) as world:
        yield world


@pytest.fixture
def world(parts: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    asyncio.run(parts.remake())
    for name, value in {**parts.env, "COLUMNS": "200", "FIELDLINE_OPERATOR": "ana"}.items():
        monkeypatch.setenv(name, value)
    load.cache_clear()
    yield parts
    load.cache_clear()


def typed(*words: str) -> tuple[int, str]:
    """Types `fieldline identity …`: the exit code, and what is said."""
    ended = CliRunner().invoke(identity.app, list(words))
    if isinstance(ended.exception, SettingsError):
        return 1, str(ended.exception)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended.exit_code, ended.output


def said(*words: str) -> str:
    code, output = typed(*words)
    assert code == 0, output
    return output


def refusal(*words: str) -> str:
    code, output = typed(*words)
    assert code == 1, output
    return output


def shown(*words: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(said("show", *words, "--json"))["record"]
    return record


@pytest.mark.usefixtures("world")
def test_a_day_with_the_identity_map() -> None:
    assert "not in the identity map" in refusal("show", "acme/e-1")
    told = said("provision", "acme/e-1", *ENGINE, *OWNER, "--id", "sap.equipment=10001")
    assert "device acme/e-1 is on ESN-1 since ever" in told
    assert "nothing was changed" in said("provision", "acme/e-1", *ENGINE, *OWNER)
    assert shown("acme/e-1")["customer_name"] == "Nordlicht"
    assert "has device acme/e-1" in refusal("provision", "acme/e-2", *ENGINE)
    assert "no SYSTEM.OBJECT" in refusal("provision", "acme/e-1", "--id", "SAP=1")

    assert "before now" in refusal("own", "ESN-1", "none", "--at", "2h")
    said("own", "ESN-1", "C-2", "--customer-name", "Aire", "--tax-id", "ES2", "--why", "sold")
    assert shown("acme/e-1")["customer_name"] == "Aire"
    assert shown("acme/e-1", "--at", "1h")["customer_name"] == "Nordlicht"

    for words in (("10001",), ("sap.equipment=10001",), ("engine [1",)):
        assert "ESN-1" in said("find", *words)
    assert "Nothing like that" in said("find", "sap.equipment=9")

    told = said("history", "acme/e-1")
    for wanted in ("ana", "sold", "C-1", "C-2", "ESN-1"):
        assert wanted in told

    said("retire", "ESN-1", "--asset")
    assert shown("acme/e-1")["active"] is False
    said("retire", "ESN-1", "--asset", "--back")
    said("move", "acme/e-1", "none")
    assert shown("acme/e-1") is None
    said("move", "acme/e-1", "ESN-1", "--command-id", "m1")
    assert "done before" in said("move", "acme/e-1", "ESN-1", "--command-id", "m1")
    assert "asked for something else" in refusal("move", "acme/e-1", "none", "--command-id", "m1")
    assert "made again" in said("rebuild")
    assert shown("acme/e-1")["customer_name"] == "Aire"


@pytest.mark.usefixtures("world")
def test_a_file_with_a_wrong_line_goes_in_but_for_that_and_ends_with_code_1(
    tmp_path: Path,
) -> None:
    file = tmp_path / "devices.csv"
    rows = [
        ",".join((*COLUMNS, "region", "salesforce.account")),
        "acme/e-1,ESN-1,One,C-1,Nordlicht,DE1,true,eu,001A",
        "acme/e-2,ESN-2,Two,C-1,Nordlicht,DE1,perhaps,eu,001A",
    ]
    file.write_text("\n".join(rows), encoding="utf-8")
    code, output = typed("import", str(file), "--dry-run")
    assert code == 1
    assert "1 would change" in output
    assert "not in the identity map" in refusal("show", "acme/e-1")
    told = refusal("import", str(file))
    assert "Line 3 of" in told
    assert "column active" in told
    assert "'perhaps' must be true or false" in told
    assert shown("acme/e-1")["ids"] == {"salesforce.account": "001A"}
    assert shown("acme/e-1")["region"] == "eu"

    file.write_text("\n".join([*rows[:2], rows[2].replace("perhaps", "true")]), encoding="utf-8")
    done = json.loads(said("import", str(file), "--json"))
    assert (done["same"], list(done["changed"]), done["wrong"]) == (1, ["3"], [])
    file.write_text("\n".join(rows[:2]).replace("DE1", "DE2"), encoding="utf-8")
    assert "tax id of customer C-1" in said("import", str(file))
    assert shown("acme/e-2", "--at", "ever")["customer_tax_id"] == "DE2"


@pytest.fixture
def client(world: World) -> Iterator[httpx.Client]:
    command = [str(Path(sys.executable).with_name("fieldline")), "identity", "serve", "--port", "0"]
    env = {**os.environ, **world.env, "FIELDLINE_API_TOKEN": TOKEN}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            lines = iter(server.stdout.readline, "")
            address = next(filter(None, (re.search(r"http://\S+:\d+", line) for line in lines)))
            with httpx.Client(
                base_url=address[0], headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30.0
            ) as made:
                yield made
        finally:
            server.terminate()
            assert server.wait(timeout=30) == 0


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    return body


DEVICE = "/v1/devices/acme/e-1"
WISH = {
    "asset_id": "ESN/1",
    "asset_name": "One",
    "customer_id": "C-1",
    "customer_name": "Nordlicht",
    "ids": {"sap.equipment": "1"},
}


def test_the_api_does_what_the_commands_do_and_refuses_what_is_not_right(
    client: httpx.Client,
) -> None:
    for wrong in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = httpx.get(f"{client.base_url}{DEVICE}", headers=wrong)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text
    problem(client.get(DEVICE), 404, "unknown")
    problem(client.get("/nowhere"), 404, "not_found")
    problem(client.delete(DEVICE), 405, "method_not_allowed")

    done = client.put(DEVICE, json=WISH, headers={"Idempotency-Key": '"k-1"'})
    assert done.status_code == 200, done.text
    assert done.json()["changed"] is True
    for key in ('"k-1"', "k-1"):
        again = client.put(DEVICE, json=WISH, headers={"Idempotency-Key": key}).json()
        assert (again["again"], again["changed"]) == (True, False)
    other = client.put(DEVICE, json={**WISH, "site": "X"}, headers={"Idempotency-Key": "k-1"})
    problem(other, 422, "reused")
    elsewhere = client.put(
        "/v1/devices/acme/e-2", json={**WISH, "asset_id": "B"}, headers={"Idempotency-Key": "k-1"}
    )
    problem(elsewhere, 422, "reused")
    problem(client.put(DEVICE, json=WISH, headers={"Idempotency-Key": '"'}), 400, "idempotency_key")

    assert client.get(DEVICE).json()["record"]["asset_id"] == "ESN/1"
    taken = problem(client.put("/v1/devices/acme/e-2", json=WISH), 409, "taken")
    assert taken["field"] == "asset_id"
    assert problem(client.put(DEVICE, json={"colour": "red"}), 400, "unknown_field")["field"]
    problem(client.put(DEVICE, json={"active": "yes"}), 400, "invalid")
    problem(client.put(DEVICE, json={"at": "yesterday"}), 400, "invalid")
    problem(client.put(DEVICE, json=[1]), 400, "json")
    problem(
        client.put(DEVICE, content=b"{", headers={"Content-Type": "application/json"}), 400, "json"
    )
    problem(client.put(DEVICE, content=b"{}"), 415, "media_type")
    large = b'{"who": "' + b"a" * MAX_BODY + b'"}'
    problem(
        client.put(DEVICE, content=large, headers={"Content-Type": "application/json"}),
        413,
        "too_large",
    )

    assert client.put("/v1/customers/C-2", json={"name": "Aire"}).status_code == 200
    assert client.post("/v1/assets/ESN/1/own", json={"customer_id": "C-2"}).status_code == 200
    problem(client.post("/v1/assets/ESN/1/own", json={}), 400, "invalid")
    past = {"customer_id": "C-1", "at": "2026-01-01T00:00:00Z"}
    problem(client.post("/v1/assets/ESN/1/own", json=past), 409, "past")
    assert client.get(DEVICE).json()["record"]["customer_name"] == "Aire"
    before = client.get(DEVICE, params={"at": "2026-01-01T00:00:00Z"}).json()
    assert before["record"]["customer_name"] == "Nordlicht"
    assert (
        client.get("/v1/find", params={"q": "sap.equipment=1"}).json()["found"][0]["id"] == "ESN/1"
    )
    assert client.get(f"{DEVICE}/history").json()["changes"]
    assert client.post(f"{DEVICE}/retire", json={"why": "broken"}).json()["changed"]
    assert client.get(DEVICE).json()["record"] is None


def test_two_requests_of_one_key_at_once_do_it_once(client: httpx.Client) -> None:
    async def both() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=client.base_url, headers=client.headers) as http:
            wishes = (
                http.put(DEVICE, json=WISH, headers={"Idempotency-Key": "k"}) for _ in range(8)
            )
            return list(await asyncio.gather(*wishes))

    answers = asyncio.run(both())
    changed = [a for a in answers if a.status_code == 200 and a.json()["changed"]]
    assert len(changed) == 1
    for answer in answers:
        assert answer.status_code in {200, 409}
        if answer.status_code == 409:
            problem(answer, 409, "under_way")
    [device] = client.get("/v1/find", params={"q": "acme/e-1"}).json()["found"]
    assert device["version"] == 1


def test_a_file_over_http_is_told_line_by_line(client: httpx.Client) -> None:
    text = "\n".join(
        (
            ",".join(COLUMNS),
            "acme/e-1,ESN-1,One,C-1,Nordlicht,DE1,true",
            "acme/e-2,ESN-2,Two,C-1,Nordlicht,DE1,no",
        )
    )
    headers = {"Content-Type": "text/csv; charset=utf-8"}
    dry = client.post("/v1/import", content=text, headers=headers, params={"dry_run": "true"})
    assert dry.status_code == 207
    problem(client.get(DEVICE), 404, "unknown")
    done = client.post("/v1/import", content=text, headers=headers)
    assert (done.json()["wrong"][0]["line"], done.json()["wrong"][0]["column"]) == (3, "active")
    assert client.get(DEVICE).json()["record"]["customer_id"] == "C-1"
    problem(client.post("/v1/import", content="a,b\n", headers=headers), 400, "invalid")
    problem(client.post("/v1/import", content=b"\xff\xfe", headers=headers), 400, "invalid")


def test_the_document_tells_every_operation(client: httpx.Client) -> None:
    told = httpx.get(f"{client.base_url}/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    operations = {(method.upper(), path) for path, item in told["paths"].items() for method in item}
    assert operations == {(one.method, re.sub(r":path\}", "}", one.path)) for one in OPERATIONS}
    for item in told["paths"].values():
        for one in item.values():
            names = {p["name"] for p in one.get("parameters", ()) if p["in"] == "path"}
            assert all(name in names or "{" not in name for name in names)
    assert client.get("/health").json()["offset"] >= 0


@pytest.mark.usefixtures("world")
def test_the_api_does_not_start_without_a_good_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("", "short"):
        monkeypatch.setenv("FIELDLINE_API_TOKEN", token)
        load.cache_clear()
        assert "FIELDLINE_API_TOKEN" in refusal("serve", "--port", "0")
