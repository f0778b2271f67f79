"""The fault proxy between a real HTTP client and a real HTTP server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.faults.control import Control, tell
from tests.faults.proxy import Proxy
from tests.faults.strikes import COMMITTING, Aim, Strike, Way, Words, from_json
from tests.waiting import until

KEY = "abcdefghijklmnopqrstuvwx"
PATIENCE_S = 0.3


class Server:
    """Counts what it did, and says so; half of its answers are chunked."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.port = 0

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
        self.done.append(json.loads(body)["method"])
        text = json.dumps({"id": 1, "result": ["x" * 200, len(self.done)]}).encode()
        if len(self.done) % 2:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"a\r\n" + text[:10] + b"\r\n%x\r\n" % (len(text) - 10) + text[10:])
            writer.write(b"\r\n0\r\n\r\n")
        else:  # as Tryton's server: HTTP/1.0, to the end of the connection
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + text)
        await writer.drain()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    made.server.close()


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    made = Proxy(("127.0.0.1", server.port), seed=7)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[httpx.AsyncClient]:
    base = f"http://127.0.0.1:{proxy.port}"
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=PATIENCE_S) as made:
        yield made


async def call(client: httpx.AsyncClient, method: str = "model.project.work.create") -> int:
    """How many calls the server had done, as its answer says."""
    params = [[{"name": f"FL-{KEY} · warning"}]]
    answer = await client.post("/rpc/", json={"id": 1, "method": method, "params": params})
    answer.raise_for_status()
    return int(answer.json()["result"][1])


async def test_what_is_not_struck_passes_whole(client: httpx.AsyncClient, proxy: Proxy) -> None:
    assert [await call(client) for _ in range(4)] == [1, 2, 3, 4]
    assert proxy.served == 4


@pytest.mark.parametrize("way", sorted(COMMITTING))
async def test_the_server_has_done_its_work_and_the_client_cannot_know(
    client: httpx.AsyncClient, proxy: Proxy, server: Server, way: Way
) -> None:
    armed = await proxy.arm(Strike(way=way, aim=Aim.WRITES, part=0.8, seconds=5))
    with pytest.raises(httpx.TransportError):
        await call(client)
    assert server.done == ["model.project.work.create"]
    assert (armed.hits, armed.keys, armed.spent.is_set()) == (1, {KEY}, True)
    assert await call(client) == 2


@pytest.mark.parametrize("way", [Way.RESET, Way.CLOSE, Way.SILENT])
async def test_what_is_dropped_before_the_server_never_reaches_it(
    client: httpx.AsyncClient, proxy: Proxy, server: Server, way: Way
) -> None:
    await proxy.arm(Strike(way=way, seconds=5))
    with pytest.raises(httpx.TransportError):
        await call(client)
    assert not server.done


async def test_only_writes_are_struck_where_only_writes_are_aimed_at(
    client: httpx.AsyncClient, proxy: Proxy
) -> None:
    armed = await proxy.arm(Strike(way=Way.RESET, aim=Aim.WRITES, times=2))
    assert await call(client, "model.project.work.search_read") == 1
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            await call(client)
    assert await call(client) == 2
    assert armed.hits == 2


@pytest.mark.parametrize("way", [Way.SLOW, Way.NARROW, Way.DELAY])
async def test_a_slow_way_is_slow_and_whole(
    client: httpx.AsyncClient, proxy: Proxy, way: Way
) -> None:
    await proxy.arm(Strike(way=way, rate=4_000, seconds=0.1))
    clock = asyncio.get_running_loop().time
    begun = clock()
    assert await call(client) == 1
    assert clock() - begun >= 0.05


async def test_a_delayed_write_arrives_after_its_client_has_given_up(
    client: httpx.AsyncClient, proxy: Proxy, server: Server
) -> None:
    await proxy.arm(Strike(way=Way.DELAY, seconds=2 * PATIENCE_S))
    with pytest.raises(httpx.ReadTimeout):
        await call(client)
    assert not server.done
    await until(lambda: bool(server.done))


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (Words.ERROR_500, 500),
        (Words.UNAVAILABLE_503, 503),
        (Words.LIMIT_429, 429),
        (Words.EXPIRED_401, 401),
    ],
)
async def test_an_answer_in_the_servers_place_has_the_status_asked_for(
    client: httpx.AsyncClient, proxy: Proxy, server: Server, words: Words, status: int
) -> None:
    await proxy.arm(Strike(way=Way.ANSWER, words=words, seconds=2.5))
    answer = await client.post("/rpc/", json={"method": "x.create"})
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == ("3" if words is Words.LIMIT_429 else None)
    assert not server.done


@pytest.mark.parametrize("words", [Words.HTML_200, Words.TRUNCATED, Words.EMPTY_200])
async def test_a_200_can_be_no_answer_at_all_though_the_server_did_it(
    client: httpx.AsyncClient, proxy: Proxy, server: Server, words: Words
) -> None:
    await proxy.arm(Strike(way=Way.ANSWER, words=words, passed_on=True))
    answer = await client.post("/rpc/", json={"method": "x.create"})
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        answer.json()
    assert server.done == ["x.create"]


@pytest.mark.parametrize(
    ("words", "error"),
    [(Words.GARBAGE, httpx.RemoteProtocolError), (Words.BROKEN_GZIP, httpx.DecodingError)],
)
async def test_garbage_is_none_of_http(
    client: httpx.AsyncClient, proxy: Proxy, words: Words, error: type[Exception]
) -> None:
    await proxy.arm(Strike(way=Way.ANSWER, words=words))
    with pytest.raises(error):
        await call(client)


async def test_a_refused_port_listens_again_once_it_is_lifted(
    client: httpx.AsyncClient, proxy: Proxy
) -> None:
    port = proxy.port
    armed = await proxy.arm(Strike(way=Way.REFUSE))
    with pytest.raises(httpx.ConnectError):
        await call(client)
    await proxy.lift(armed)
    assert await call(client) == 1
    assert proxy.port == port


async def test_a_target_that_is_down_shows_as_a_reset(
    client: httpx.AsyncClient, server: Server
) -> None:
    server.server.close()
    with pytest.raises(httpx.ReadError):
        await call(client)


async def test_a_lifted_strike_lets_go_of_what_it_holds(
    client: httpx.AsyncClient, proxy: Proxy
) -> None:
    armed = await proxy.arm(Strike(way=Way.SILENT, times=0, seconds=60))
    held = asyncio.create_task(call(client))
    await until(lambda: armed.hits == 1)
    await proxy.lift(armed)
    with pytest.raises(httpx.TransportError):
        await held
    assert await call(client) == 1


async def test_the_command_socket_scripts_the_same_proxy(
    client: httpx.AsyncClient, proxy: Proxy
) -> None:
    control = Control(proxy)
    await control.start()
    try:
        strike = Strike(way=Way.COMMIT_RESET, aim=Aim.WRITES)
        assert from_json(strike.as_json()) == strike
        command = {"do": "arm", "strike": strike.as_json()}
        assert await tell(control.port, command) == {"armed": 1}
        with pytest.raises(httpx.TransportError):
            await call(client)
        told = await tell(control.port, {"do": "status"})
        assert told["armed"] == {"1": {"hits": 1, "keys": [KEY]}}
        assert await tell(control.port, {"do": "lift", "armed": 1}) == {}
        for wrong in ({"do": "dance"}, {"do": "lift", "armed": 9}, {"do": "arm", "strike": {}}):
            assert "error" in await tell(control.port, wrong)
    finally:
        await control.stop()
