"""The ledger's scripts in a real Redis say what the core says, step by step."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from redis.asyncio import Redis

from pipeline.core.ledger import (
    Begin,
    Claim,
    Ending,
    Held,
    Hold,
    IllegalTransitionError,
    Mode,
    Place,
    Row,
    State,
)
from pipeline.state.ledger import Ledger
from pipeline.state.ledger_scripts import row_name
from tests.integration.redis_server import Server
from tests.unit.ledger_book import CoreBook
from tests.unit.ledger_world import Deliveries
from tests.unit.test_ledger_model import live

pytestmark = [
    pytest.mark.parts,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is missing"),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


class InRedis(CoreBook):
    """Both at once; they must say the same, and hold the same rows."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._client = Redis(port=port)
        self._ledger = Ledger(self._client)

    def hold(self, places: Mapping[int, Place], owner: str, now: int) -> dict[int, Hold]:
        expected = super().hold(places, owner, now)
        worker = Ledger(self._client)  # whether it held them before is the machine's business
        assert self._loop.run_until_complete(worker.hold("s", places, owner, now)) == expected
        return expected

    def begin(self, claims: Sequence[Claim], owner: str, now: int) -> list[Begin]:
        expected = super().begin(claims, owner, now)
        came = self._loop.run_until_complete(self._ledger.begin("s", claims, owner, now))
        assert came == expected
        return expected

    def finish(self, endings: Sequence[Ending], owner: str, now: int) -> list[Held]:
        call = self._ledger.finish("s", endings, now, owner)
        try:
            expected = super().finish(endings, owner, now)
        except IllegalTransitionError as wrong:
            with pytest.raises(IllegalTransitionError, match=str(wrong)):
                self._loop.run_until_complete(call)
            raise
        assert self._loop.run_until_complete(call) == expected
        return expected

    def row(self, key: str) -> Row | None:
        expected = super().row(key)
        assert self._loop.run_until_complete(self._ledger.states("s", [key])) == [expected]
        return expected

    def empty(self) -> None:
        self.rows.clear()
        self.marks.clear()
        self.newest.clear()
        self._loop.run_until_complete(self._client.flushall())
        self._loop.run_until_complete(self._client.script_flush())

    def expire(self, key: str) -> None:
        super().expire(key)
        self._loop.run_until_complete(self._client.delete(row_name("s", key)))

    def close(self) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()


class Machine(Deliveries):
    """The same world, with Redis beside the core."""

    port = 0

    def make_book(self) -> InRedis:
        return InRedis(self.port)


def test_in_redis_nothing_is_doubled_or_lost_and_every_step_is_the_cores(server: Server) -> None:
    Machine.port = server.port
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=20, stateful_step_count=40, deadline=None)
    )
    world = Machine()
    try:
        live(world, seed=1, steps=2_000)
    finally:
        world.teardown()


texts = st.sampled_from(["", "0009", "0010", "9", "10", "a", "B", "é", "z.1", "z-1"])
steps = st.tuples(
    st.sampled_from(["begin", "begin", *State]),
    st.sampled_from(["h", "h", "h", "other"]),
    st.sampled_from(Mode),
    st.integers(0, 3),
    texts,
    st.booleans(),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(script=st.lists(steps, max_size=40))
def test_redis_and_the_core_agree_on_steps_that_no_worker_would_take(
    server: Server, script: list[tuple[str, str, Mode, int, str, bool]]
) -> None:
    book = InRedis(server.port)
    book.empty()
    token = book.hold({0: Place(committed=0, end=5)}, "w", 1)[0].token
    for now, (what, payload, mode, extra, version, fenced) in enumerate(script, start=2):
        held = (0, token - 1, token, token)[extra] if fenced else 0
        if what == "begin":
            claim = Claim(
                key="k", payload_hash=payload, mode=mode, token=held, entity="e", version=version
            )
            book.begin([claim], "w", now)
        else:
            row = book.row("k")
            ending = Ending(
                key="k",
                fence=(row.fence if row else 0) - (extra == 3),
                state=State(what),
                target_id=version or None,
                code="code|with bars" if fenced else "",
                token=held,
                entity="e",
                version=version,
            )
            try:
                book.finish([ending], "", now)
            except IllegalTransitionError:
                continue
        book.row("k")
    book.close()
