"""The identity map on a real Kafka and Redis: who comes first, what is lost and made again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio

from pipeline.core.identity import Kind
from pipeline.core.identity_commands import Code, Decided, Describe, Own, Provision, Refused
from pipeline.ops.identity_import import When, bring_in
from pipeline.state.identities_index import Index
from pipeline.state.identities_live import LiveIdentities
from pipeline.state.identities_topic import cluster_id
from pipeline.state.identities_writer import Desk
from pipeline.state.registry import COLUMNS, read_lines
from pipeline.topology import IDENTITY
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from tests.integration.identity_world import NOW, World, raised
from tests.waiting import until

pytestmark = [pytest.mark.parts, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with raised(tmp_path_factory.mktemp("identity")) as world:
        yield world


@pytest_asyncio.fixture
async def world(parts: World) -> AsyncIterator[World]:
    await parts.remake()
    async with parts.redis() as client:
        await client.flushall()
    yield parts


def engine(number: int, **other: object) -> Provision:
    wish = Provision(
        device_id=f"acme/e-{number}",
        asset_id=f"ESN-{number}",
        asset_name=f"Engine {number}",
        customer_id="C-1",
        customer_name="Nordlicht",
        customer_tax_id="DE1",
        who="ana",
    )
    return replace(wish, **other)  # type: ignore[arg-type]  # its fields


async def index_of(world: World, client: object) -> Index:
    return Index(client, Codec(), await cluster_id(world.settings))  # type: ignore[arg-type]


async def test_what_was_provisioned_is_answered_for_its_time_by_who_follows(world: World) -> None:
    async with world.asking() as asker, world.desk() as desk:
        assert await asker.at("acme/e-1") is None
        [done] = await desk.run([engine(1)], NOW)
        assert isinstance(done, Decided)
        await asker.becomes("acme/e-1", "C-1")
        sold = NOW + 1_000
        await desk.run(
            [
                Describe(kind=Kind.CUSTOMER, entry_id="C-2", name="Aire"),
                Own(asset_id="ESN-1", customer_id="C-2"),
            ],
            sold,
        )
        await asker.becomes("acme/e-1", "C-2", sold)
        late = await asker.at("acme/e-1", sold - 1)
        assert late is not None
        assert late.customer_name == "Nordlicht"


async def test_of_many_who_want_one_asset_and_one_number_at_once_one_gets_them(
    world: World,
) -> None:
    async def one(number: int) -> Decided | Refused:
        async with world.desk() as desk:
            wish = engine(number, asset_id="ESN-X", asset_name="X", ids={"sap.equipment": "1"})
            return (await desk.run([wish], NOW))[0]

    outcomes = await asyncio.gather(*map(one, range(4)))
    assert sum(isinstance(end, Decided) for end in outcomes) == 1
    assert {end.code for end in outcomes if isinstance(end, Refused)} == {Code.TAKEN} or {
        end.code for end in outcomes if isinstance(end, Refused)
    } <= {Code.TAKEN, Code.ID_TAKEN}
    async with world.desk() as desk:
        found = await desk.read(["asset/ESN-X"], depth=0)
        assert len(found["asset/ESN-X"].devices) == 1


async def test_a_desk_that_was_overtaken_goes_on_with_what_the_other_wrote(world: World) -> None:
    async with world.desk() as slow, world.desk() as quick:
        await slow.run([engine(1)], NOW)
        [done] = await quick.run([engine(2, ids={"sap.equipment": "7"})], NOW)
        assert isinstance(done, Decided)
        [refused] = await slow.run([engine(1, ids={"sap.equipment": "7"})], NOW)
        assert isinstance(refused, Refused)
        assert refused.code is Code.ID_TAKEN
        [again] = await quick.run([engine(1)], NOW)
        assert again == Decided()


async def test_an_index_that_is_lost_is_made_again_and_nobody_believes_it_before(
    world: World,
) -> None:
    async with world.asking() as asker, world.desk() as desk, world.redis() as client:
        await desk.run([engine(n) for n in range(1, 41)], NOW)
        await asker.becomes("acme/e-40", "C-1")
        await client.flushall()
        for number in range(1, 41):
            record = await asker.at(f"acme/e-{number}")
            assert record is not None, "lost, and believed to be unknown"
        [refused] = await desk.run([engine(99, asset_id="ESN-1", asset_name="Engine 1")], NOW)
        assert isinstance(refused, Refused)
        await client.flushall()
        assert (await desk.read(["device/acme/e-7"]))["customer/C-1"].name == "Nordlicht"


async def test_an_older_snapshot_of_redis_is_brought_up_and_not_believed(world: World) -> None:
    async with world.desk() as desk, world.redis() as client:
        await desk.run([engine(1)], NOW)
        name = (await index_of(world, client)).name
        snapshot = await client.dump(name) or b""
        await desk.run([engine(2), Describe(kind=Kind.CUSTOMER, entry_id="C-1", name="New")], NOW)
        await client.restore(name, 0, snapshot, replace=True)
        found = await desk.read(["device/acme/e-1", "device/acme/e-2"])
        assert found["customer/C-1"].name == "New"
        assert "device/acme/e-2" in found


async def test_a_record_whose_writer_died_before_the_index_had_it_comes_there(
    world: World,
) -> None:
    async with world.desk() as desk, world.redis() as client, world.asking() as asker:
        await desk.run([engine(1)], NOW)
        await asker.becomes("acme/e-1", "C-1")
        index = await index_of(world, client)

        class DiedError(Exception):
            pass

        async def dies(*_: object) -> int:
            raise DiedError

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(desk.index, "apply", dies)  # the process ends right there
            with pytest.raises(DiedError):
                await desk.run([engine(2)], NOW)
        await asker.becomes("acme/e-2", "C-1")
        assert "device/acme/e-2" in (await index.read(["device/acme/e-2"])).entries


async def test_what_was_not_committed_is_not_there(world: World) -> None:
    async with world.desk() as desk:
        await desk.run([engine(1)], NOW)

        async def breaks(self: Desk, _: object) -> None:
            producer = self._producer
            assert producer is not None
            await producer.begin_transaction()
            await producer.send_and_wait(IDENTITY, key=b"device/x/y", value=b"junk", partition=0)
            raise ConnectionError("the process ends here")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Desk, "_write", breaks)
            with pytest.raises(ConnectionError):
                await desk.run([engine(2)], NOW)
    async with world.desk() as desk:
        assert isinstance((await desk.run([engine(3)], NOW))[0], Decided)
        found = await desk.read([f"device/acme/e-{n}" for n in (1, 2, 3)], depth=0)
        assert sorted(found) == ["device/acme/e-1", "device/acme/e-3"]


async def test_an_index_of_a_topic_that_is_no_more_is_made_anew(world: World) -> None:
    async with world.desk() as desk:
        await desk.run([engine(n) for n in range(20)], NOW)
    await world.remake()
    async with world.desk() as desk:
        await desk.run([engine(1)], NOW)
        found = await desk.read([f"device/acme/e-{n}" for n in range(20)], depth=0)
        assert list(found) == ["device/acme/e-1"]


async def test_the_same_command_again_writes_nothing(world: World) -> None:
    async with world.desk() as desk:
        await desk.run([engine(1, id="one")], NOW)
        before = len(await kafka.read_all(world.settings, IDENTITY))
        [again] = await desk.run([engine(1, id="one")], NOW + 1)
        [same] = await desk.run([engine(1)], NOW + 1)
        assert isinstance(again, Decided)
        assert again.again
        assert same == Decided()
        [other] = await desk.run([engine(2, id="one")], NOW)
        assert isinstance(other, Refused)
        assert other.code is Code.REUSED
        assert len(await kafka.read_all(world.settings, IDENTITY)) == before


HEADER = ",".join((*COLUMNS, "sap.equipment"))


def rows(*lines: str) -> list[str]:
    return [f"{line}\n" for line in (HEADER, *lines)]


async def test_a_file_comes_in_but_for_its_wrong_lines_and_only_once(world: World) -> None:
    when = When(now_ms=NOW, who="ana")
    file = rows(
        "acme/e-1,ESN-1,One,C-1,Nordlicht,DE1,true,1",
        "acme/e-2,ESN-2,Two,C-1,Nordlicht,DE1,yes,2",
        "acme/e-3,ESN-3,Three,C-1,Nordlicht,DE1,true,1",
        "acme/e-4,ESN-4,Four,C-1,Nordlich,DE1,true,",
        "acme/e-5,ESN-5,Five,C-2,Aire,ES2,false,",
        'acme/e-6,ESN-6,"S"ix,C-2,Aire,ES2,true,',
        "acme/e-7,ESN-5,Five,C-2,Aire,ES2,true,",
    )
    async with world.desk() as desk:
        dry = await bring_in(desk, read_lines(file, "it"), when, dry=True)
        assert await kafka.read_all(world.settings, IDENTITY) == []
        done = await bring_in(desk, read_lines(file, "it"), when)
        assert (done.changed, done.wrong) == (dry.changed, dry.wrong)
        assert [(one.line, one.column) for one in done.wrong] == [
            (3, "active"),
            (4, "sap.equipment"),
            (5, "customer_name"),
            (7, ""),
            (8, "asset_id"),
        ]
        assert sorted(done.changed) == [2, 6]
        wrote = len(await kafka.read_all(world.settings, IDENTITY))
        again = await bring_in(desk, read_lines(file, "it"), when)
        assert not again.changed
        assert len(await kafka.read_all(world.settings, IDENTITY)) == wrote


async def test_two_lines_that_exchange_their_assets_come_in_together(world: World) -> None:
    async with world.desk() as desk, world.asking() as asker:
        before = rows(
            "acme/e-1,ESN-1,One,C-1,Nordlicht,DE1,true,",
            "acme/e-2,ESN-2,Two,C-1,Nordlicht,DE1,true,",
        )
        after = rows(
            "acme/e-1,ESN-2,Two,C-1,Nordlicht,DE1,true,",
            "acme/e-2,ESN-1,One,C-1,Nordlicht,DE1,true,",
        )
        await bring_in(desk, read_lines(before, "it"), When(now_ms=NOW, who="ana"))
        done = await bring_in(desk, read_lines(after, "it"), When(now_ms=NOW + 9, who="ana"))
        assert not done.wrong
        now, then = await asker.at("acme/e-1", NOW + 9), await asker.at("acme/e-1", NOW + 8)
        assert now is not None
        assert then is not None
        assert (now.asset_id, then.asset_id) == ("ESN-2", "ESN-1")


async def test_who_follows_in_memory_knows_what_holds_now(world: World) -> None:
    now_s = NOW / 1000
    live = LiveIdentities(world.settings, Codec(), clock=lambda: now_s)
    async with world.desk() as desk:
        await desk.run([engine(1)], NOW)
        await live.start()
        try:
            first = live.get("acme/e-1")
            assert first is not None
            assert first.customer_id == "C-1"
            assert live.get("acme/e-2") is None
            planned = Own(asset_id="ESN-1", customer_id="C-2", at_ms=NOW + 60_000)
            await desk.run(
                [Describe(kind=Kind.CUSTOMER, entry_id="C-2", name="Aire"), engine(2), planned],
                NOW,
            )
            await until(lambda: live.get("acme/e-2") is not None)
            assert live.get("acme/e-1") == first
            now_s += 60
            later = live.get("acme/e-1")
            assert later is not None
            assert later.customer_id == "C-2"
        finally:
            await live.stop()
        assert live.get("acme/e-2") is not None
