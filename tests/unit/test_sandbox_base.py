"""The shell that all sandboxes share: each fault does what it says, over a real socket."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.sandboxes.base import HTML, Sandbox
from tests.sandboxes.box import Box, boxed
from tests.sandboxes.knobs import Fault, Mode
from tests.waiting import blocking_until

WITHIN_S = 30.0


class Shop(Sandbox):
    """A far end that keeps what is put into it and takes a token that ends."""

    name = "shop"

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Any] = {}
        self.token = 1
        self.gate: threading.Event | None = None

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/things/{key}", self._put_thing, methods=["PUT"]),
            Route("/things", self._list, methods=["GET"]),
            Route("/text", self._text, methods=["GET"]),
            Route("/token", self._token, methods=["GET"]),
        ]

    def forget(self) -> None:
        self.kept.clear()

    def expire(self) -> None:
        self.token += 1

    def told(self, left: int, limit: int) -> dict[str, str]:
        return {"x-left": f"{left}/{limit}"}

    async def _put_thing(self, request: Request) -> Response:
        body = await request.json()
        key = request.path_params["key"]
        if code := self.knobs.error(json.dumps(body)):
            return JSONResponse({"error": code}, 400)
        op: Any = "update" if key in self.kept else "create"
        self.kept[key] = body
        self.journal.note(op, "thing", key, f"id-{key}", body)
        return JSONResponse({"id": f"id-{key}", "parts": [{"id": 1, "of": {"id": 2}}]}, 201)

    async def _list(self, request: Request) -> Response:
        del request
        return JSONResponse(sorted(self.kept))

    async def _text(self, request: Request) -> Response:
        del request
        return Response("no JSON at all", media_type="text/plain")

    async def _token(self, request: Request) -> Response:
        del request
        return JSONResponse({"token": self.token})


@pytest.fixture
def shop() -> Iterator[tuple[Shop, Box, httpx.Client]]:
    sandbox = Shop()
    with boxed(sandbox) as box, httpx.Client(base_url=box.url, timeout=10, trust_env=False) as http:
        yield sandbox, box, http


World = tuple[Shop, Box, httpx.Client]


def put(http: httpx.Client, key: str = "a", **body: object) -> httpx.Response:
    return http.put(f"/things/{key}", json=body or {"n": 1})


def test_without_a_fault_it_does_what_it_is_told_and_notes_it(shop: World) -> None:
    sandbox, box, http = shop
    assert sandbox.base == box.url
    assert box.url.startswith("http://127.0.0.1:")
    assert put(http).status_code == 201
    assert put(http, n=2).status_code == 201
    assert box.journal() == [
        {"place": 1, "op": "create", "kind": "thing", "key": "a", "id": "id-a", "fields": {"n": 1}},
        {"place": 2, "op": "update", "kind": "thing", "key": "a", "id": "id-a", "fields": {"n": 2}},
    ]
    stats = box.stats()
    assert {k: stats[k] for k in ("requests", "limited", "create", "update")} == {
        "requests": 2,
        "limited": 0,
        "create": 1,
        "update": 1,
    }
    assert len(stats["times"]) == 2
    assert stats["max_at_once"] == 1


def test_what_was_noted_does_not_change_with_what_is_kept(shop: World) -> None:
    sandbox, box, http = shop
    put(http, inner={"n": 1})
    sandbox.kept["a"]["inner"]["n"] = 2
    assert box.journal()[0]["fields"] == {"inner": {"n": 1}}


def test_the_control_room_is_not_counted_and_forgets_everything(shop: World) -> None:
    _, box, http = shop
    box.faults({"status": 503, "times": None})
    put(http)
    box.limit(1, 60.0)
    box.clear()
    assert put(http).status_code == 201
    assert put(http).status_code == 201
    assert (box.stats()["requests"], len(box.journal()), box.stats()["limited"]) == (2, 2, 0)


def test_a_knob_that_is_not_there_or_does_not_fit_is_refused(shop: World) -> None:
    _, box, http = shop
    assert http.put("/_control/nothing", content="[]").status_code == 404
    for knob, body in (("faults", [{"no": 1}]), ("errors", [{"no": 1}]), ("limit", {"no": 1})):
        assert http.put(f"/_control/{knob}", json=body).status_code == 400
    assert put(http).status_code == 201
    assert box.stats()["faults_used"] == []


# -- faults, one by one


def test_every_mode_has_a_test_here() -> None:
    here = globals()
    for mode in get_args(Mode):
        assert any(mode in name for name in here if name.startswith("test_")), mode


def test_answer_speaks_in_the_systems_place_and_does_nothing(shop: World) -> None:
    sandbox, box, http = shop
    box.faults(
        {"status": 503, "headers": {"retry-after": "7"}, "body_text": '{"error": "away"}'},
    )
    answer = put(http)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.json() == {"error": "away"}
    assert answer.headers["content-type"] == "application/json"
    assert not sandbox.kept
    assert put(http).status_code == 201, "it was for one request"


def test_answer_with_status_0_is_the_true_answer_after_a_delay(shop: World) -> None:
    sandbox, box, http = shop
    box.faults({"delay_s": 0.2})
    began = time.monotonic()
    assert put(http).status_code == 201
    assert time.monotonic() - began >= 0.2
    assert sandbox.kept


def test_echo_repeats_the_request(shop: World) -> None:
    sandbox, box, http = shop
    box.faults({"mode": "echo", "status": 400})
    answer = http.put("/things/a", json={"n": 1}, headers={"authorization": "Bearer x"})
    assert answer.status_code == 400
    assert answer.json()["headers"]["authorization"] == "Bearer x"
    assert json.loads(answer.json()["body"]) == {"n": 1}
    assert not sandbox.kept


def test_html_is_the_page_of_a_proxy(shop: World) -> None:
    sandbox, box, http = shop
    box.faults({"mode": "html", "status": 502}, {"mode": "html"})
    first, second = put(http), put(http)
    assert (first.status_code, first.text) == (502, HTML)
    assert (second.status_code, second.headers["content-type"]) == (200, "text/html")
    assert not sandbox.kept


def test_hang_never_answers_and_does_nothing(shop: World) -> None:
    sandbox, box, http = shop
    box.faults({"mode": "hang"})
    with pytest.raises(httpx.ReadTimeout):
        http.put("/things/a", json={}, timeout=0.3)
    assert not sandbox.kept
    blocking_until(lambda: sandbox.at_once == 0, within_s=WITHIN_S)
    assert put(http).status_code == 201


@pytest.mark.parametrize(("mode", "done"), [("drop_before", False), ("drop_after", True)])
def test_drop_before_and_drop_after_end_the_connection_without_a_word(
    shop: World, mode: str, *, done: bool
) -> None:
    sandbox, box, http = shop
    box.faults({"mode": mode})
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        put(http)
    assert bool(sandbox.kept) is done
    assert len(box.journal()) == done
    assert put(http).status_code == 201


def test_truncate_does_it_and_answers_half(shop: World) -> None:
    sandbox, box, http = shop
    whole = put(http).text
    box.faults({"mode": "truncate"})
    answer = put(http, "b")
    assert (answer.status_code, answer.text) == (
        201,
        whole.replace("id-a", "id-b")[: len(whole) // 2],
    )
    assert set(sandbox.kept) == {"a", "b"}


def test_add_field_and_drop_field_bend_every_object_of_the_answer(shop: World) -> None:
    sandbox, box, http = shop
    box.faults({"mode": "add_field"}, {"mode": "drop_field", "fields": ["id"]})
    more, less = put(http).json(), put(http, "b").json()
    assert "x_new" in more
    assert "x_new" in more["parts"][0]["of"]
    assert more["id"] == "id-a"
    assert less == {"parts": [{"of": {}}]}
    assert set(sandbox.kept) == {"a", "b"}


def test_add_field_leaves_what_is_no_json_alone(shop: World) -> None:
    _, box, http = shop
    box.faults({"mode": "add_field"})
    assert http.get("/text").text == "no JSON at all"


def test_expire_ends_every_token_and_goes_on(shop: World) -> None:
    _, box, http = shop
    assert http.get("/token").json() == {"token": 1}
    box.faults({"mode": "expire"})
    assert http.get("/token").json() == {"token": 2}
    box.expire()
    assert http.get("/token").json() == {"token": 3}


# -- which requests


@pytest.mark.parametrize(
    ("fault", "fits"),
    [
        ({}, True),
        ({"method": "PUT"}, True),
        ({"method": "POST|PUT"}, True),
        ({"method": "PU"}, False),
        ({"path": "things/a"}, True),
        ({"path": "^/things"}, True),
        ({"path": r"\?deep=1$"}, True),
        ({"path": "orders"}, False),
        ({"body": "hello"}, True),
        ({"body": "goodbye"}, False),
        ({"method": "PUT", "path": "orders"}, False),
        ({"times": 0}, False),
    ],
)
def test_a_fault_fits_by_method_path_and_body(
    shop: World, fault: dict[str, Any], *, fits: bool
) -> None:
    _, box, http = shop
    box.faults({"status": 418, **fault})
    answer = http.put("/things/a?deep=1", json={"say": "hello"})
    assert answer.status_code == (418 if fits else 201)
    assert box.stats()["faults_used"] == [int(fits)]


def test_the_first_that_fits_is_used_after_those_it_passes_over_and_so_often(shop: World) -> None:
    _, box, http = shop
    box.faults(
        {"status": 501, "skip": 1, "times": 2},
        {"status": 502, "times": 1},
        {"status": 503, "times": None},
    )
    assert [put(http).status_code for _ in range(6)] == [201, 501, 501, 502, 503, 503]
    assert box.stats()["faults_used"] == [2, 1, 2]


def test_an_error_is_for_records_that_hold_its_key(shop: World) -> None:
    sandbox, box, http = shop
    box.errors({"code": "LOCKED", "key": "bad", "times": 1}, {"code": "FULL", "key": "big"})
    assert put(http, "a", n="good").status_code == 201
    assert put(http, "b", n="bad").json() == {"error": "LOCKED"}
    assert put(http, "b", n="bad").status_code == 201
    assert put(http, "c", n="big").json() == {"error": "FULL"}
    assert set(sandbox.kept) == {"a", "b"}


# -- limits


def test_a_limit_lets_so_many_through_in_a_window_and_says_what_is_left(shop: World) -> None:
    sandbox, box, http = shop
    box.limit(2, 60.0)
    answers = [put(http, str(n)) for n in range(4)]
    assert [a.status_code for a in answers] == [201, 201, 429, 429]
    assert [a.headers.get("x-left") for a in answers] == ["1/2", "0/2", None, None]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 61
    assert (box.stats()["limited"], len(box.stats()["times"])) == (2, 2)
    assert set(sandbox.kept) == {"0", "1"}
    box.limit(0, 0)
    assert put(http).status_code == 201


def test_a_window_that_is_over_lets_as_many_through_again(shop: World) -> None:
    _, box, http = shop
    box.limit(1, 0.2)
    assert put(http).status_code == 201
    assert put(http).status_code in {201, 429}
    blocking_until(lambda: put(http).status_code == 201, within_s=WITHIN_S)


def test_requests_side_by_side_are_counted(shop: World) -> None:
    _, box, http = shop
    box.faults({"delay_s": 0.3, "times": None})
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: put(http, str(n)), range(4)))
    assert {a.status_code for a in answers} == {201}
    assert 2 <= box.stats()["max_at_once"] <= 4


def test_a_fault_of_the_sandbox_itself_is_seen(shop: World) -> None:
    _, _, http = shop
    assert http.put("/things/a", content=b"no json").status_code == 500
    assert http.get("/nowhere").status_code == 404
    assert put(http).status_code == 201


def test_a_fault_is_used_up_by_the_requests_it_fits() -> None:
    fault = Fault(method="GET", path="a", times=1)
    assert fault.fits("GET", "/a?b", "")
    assert not fault.fits("PUT", "/a?b", "")
    fault.times = 0
    assert not fault.fits("GET", "/a?b", "")


# -- by itself


def test_served_by_hand_it_says_where_and_ends_with_its_input() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.sandboxes", "erpnext", "webhook"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
            assert set(said) == {"erpnext", "webhook"}
            for url in said.values():
                assert url.startswith("http://127.0.0.1:")
                answer = httpx.get(f"{url}/_control", trust_env=False, timeout=10)
                assert answer.json()["requests"] == 0
            process.stdin.close()
            assert process.wait(WITHIN_S) == 0
            assert process.stdout.read() == ""
        finally:
            process.kill()
