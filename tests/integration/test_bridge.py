"""The bridge and the simulator against real brokers, killed and restarted on purpose."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import aiomqtt
import orjson
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from pipeline.bridge import session
from pipeline.bridge.decoders import MAX_READINGS, decode
from pipeline.bridge.mqtt import Address
from pipeline.core.dedup import Verdict
from pipeline.core.partition import partition_for
from pipeline.core.telemetry import NO_SEQUENCE
from pipeline.simulate.plan import READINGS, REASONS, Expected, Flaw
from pipeline.simulate.player import Knobs, Played, Progress, State, play
from tests.integration.bridge_world import Reader, World, fresh_broker, world
from tests.unit.one_device import Device
from tests.waiting import until

pytestmark = pytest.mark.parts

SESSIONS = iter(range(1, 100))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("bridge")) as made:
        yield made


class Playing:
    """A simulator that runs beside the test."""

    def __init__(self, parts: World, knobs: Knobs) -> None:
        self.session = next(SESSIONS)
        self.journal = parts.folder / f"journal-{self.session}.parquet"
        self.progress: Progress | None = None
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(
            play(
                parts.settings,
                knobs,
                session=self.session,
                start_ms=time.time_ns() // 1_000_000,
                journal=self.journal,
                on_progress=self._on_progress,
                stop=self.stop,
            )
        )

    def _on_progress(self, progress: Progress) -> None:
        self.progress = progress

    def acknowledged(self, messages: int) -> Callable[[], bool]:
        return lambda: self.progress is not None and self.progress.acknowledged >= messages

    def in_state(self, state: State) -> Callable[[], bool]:
        return lambda: self.progress is not None and self.progress.state is state


def judged(reader: Reader, window: int = 128) -> Expected:
    """What dedup says of the samples in telemetry.readings, in Kafka's order."""
    seen: dict[str, Device] = defaultdict(lambda: Device(window))
    counts: Counter[Verdict] = Counter()
    for _, device, boot, sequence, time_ms in reader.samples():
        said = seen[device].any(boot, sequence, time_ms, time_ms)
        counts[Verdict(said)] += READINGS
    bad = sum(int(str(q["readings"])) for q in reader.quarantined)
    return Expected(
        published=sum(counts.values()) + bad,
        unique_readings=counts[Verdict.FRESH],
        duplicates=counts[Verdict.DUPLICATE],
        too_late=counts[Verdict.TOO_LATE],
        quarantined=bad,
    )


def journalled(playing: Playing) -> set[tuple[str, int]]:
    """(device, event time) of every sample that the broker acknowledged."""
    rows = pq.read_table(playing.journal).to_pylist()
    return {(r["device_id"], r["time_ms"]) for r in rows if r["acknowledged"] and r["cycle"]}


async def arrive(reader: Reader, playing: Playing, played: Played) -> None:
    """Read until every acknowledged sample and malformed message of the run is there."""
    missing = journalled(playing)
    bad = played.expected.quarantined
    batches = quarantined = 0

    def all_here() -> bool:
        nonlocal batches, quarantined
        for _, batch in reader.batches[batches:]:
            for i in range(batch.samples):
                device = batch.devices[batch.sample_device[i]]
                missing.discard((device, int(batch.sample_time_ms[i])))
        batches = len(reader.batches)
        quarantined = len(reader.quarantined)
        return not missing and quarantined >= bad

    await reader.read(all_here, f"of {played} some samples never arrived")


async def test_every_form_and_flaw_arrives_once_as_planned_and_in_order(parts: World) -> None:
    async with parts.reader() as reader:
        async with parts.bridge():
            playing = Playing(parts, Knobs(engines=12, arrays=0.25, senml=0.25))
            played = await playing.task
            assert (played.resent, played.unconfirmed, played.complete) == (0, 0, True)
            expected = played.expected
            await until_counted(reader, expected.published)
        assert judged(reader) == expected
        for partition, device, boot, sequence, _ in reader.samples():
            assert partition == partition_for(device.encode(), parts.settings.partitions)
            assert sequence != NO_SEQUENCE
            assert boot
        reasons = {str(q["reason"]) for q in reader.quarantined}
        assert reasons == {REASONS[flaw].value for flaw in Flaw}
        for q in reader.quarantined:
            payload = q["payload"]
            assert isinstance(payload, bytes)
            assert len(payload) == min(int(str(q["payload_size"])), 65_536)
            if len(payload) < 65_536:
                again = decode(str(q["mqtt_topic"]), payload, int(str(q["received_ms"])), 262_144)
                assert [b.reason for b in again.bad] == [q["reason"]]


async def test_a_bridge_that_stopped_in_good_order_leaves_nothing_to_be_delivered_again(
    parts: World,
) -> None:
    async with parts.reader() as reader:
        published = 0
        for _ in range(2):
            async with parts.bridge():
                played = await Playing(parts, Knobs(engines=2)).task
                published += played.expected.published
                await until_counted(reader, published)
        assert judged(reader).published == published


async def until_counted(reader: Reader, readings: int) -> None:
    await reader.read(lambda: reader.counted >= readings, f"{readings} readings never came")


async def test_batches_larger_than_a_kafka_record_are_divided_and_memory_has_a_bound(
    parts: World,
) -> None:
    large = parts.settings.model_copy(
        update={"bridge_batch_readings": 100_000, "bridge_linger_ms": 2_000}
    )
    messages, each = 2 * session.HELD_READINGS // MAX_READINGS, MAX_READINGS
    async with parts.reader() as reader, replace(parts, settings=large).bridge():
        run = await Playing(parts, Knobs(engines=1)).task  # goes through once it is subscribed
        before = run.expected.published
        async with mqtt_client(parts) as client:
            for n in range(messages):
                metrics = {f"metric-{n:03d}-{i:04d}": i for i in range(each)}
                payload = orjson.dumps({"session": 1, "seq": n, "metrics": metrics})
                await client.publish("telemetry/acme/large", payload, qos=1)
        await until_counted(reader, before + messages * each)
        found = [seq for _, device, _, seq, _ in reader.samples() if device == "acme/large"]
        assert found == list(range(messages))


def mqtt_client(parts: World) -> aiomqtt.Client:
    address = Address.parse(parts.settings.mqtt_url)
    return aiomqtt.Client(address.host, address.port, protocol=aiomqtt.ProtocolVersion.V5)


async def test_a_run_waits_until_a_bridge_has_subscribed_once(parts: World, tmp_path: Path) -> None:
    with fresh_broker(parts, tmp_path) as fresh:
        playing = Playing(fresh, Knobs(engines=1))
        await until(playing.in_state(State.WAITING_FOR_BRIDGE), "it did not wait")
        async with fresh.reader() as reader, fresh.bridge():
            played = await playing.task
            await arrive(reader, playing, played)
            assert judged(reader) == played.expected


async def test_after_kill_9_in_the_middle_of_5000_messages_none_is_missing(parts: World) -> None:
    async with parts.reader() as reader:
        first = parts.bridge_process()
        playing = Playing(parts, Knobs(engines=25, speed=2000))
        await until(playing.acknowledged(2000), "the run did not begin")
        await reader.read(lambda: reader.readings > 20_000, "nothing came through")
        first.send_signal(signal.SIGKILL)
        first.wait()
        second = parts.bridge_process()
        try:
            played = await playing.task
            assert played.messages > 4_500
            await arrive(reader, playing, played)
        finally:
            second.terminate()  # in good order: the next test must not get what is left over
            second.wait()
        found = judged(reader)
        assert found.unique_readings == played.expected.unique_readings
        assert found.duplicates >= played.expected.duplicates
        assert found.too_late >= played.expected.too_late


@pytest.mark.parametrize(
    ("away_s", "stall_s"),
    [
        (21.0, session.STALL_S),  # the producer waits, and sends when Kafka is there again
        (5.0, 2.0),  # the bridge gives up, and MQTT delivers again
    ],
)
async def test_kafka_may_be_away_for_twenty_seconds_and_nothing_is_lost(
    parts: World, monkeypatch: pytest.MonkeyPatch, away_s: float, stall_s: float
) -> None:
    monkeypatch.setattr(session, "STALL_S", stall_s)
    with capture_logs() as logs:
        await kafka_goes_away(parts, away_s)
    interrupted = [line for line in logs if line["event"] == "bridge interrupted"]
    assert bool(interrupted) == (stall_s < away_s)
    if interrupted:
        assert interrupted[0]["cause"].startswith("StalledError: no acknowledgement from Kafka")
        assert interrupted[0]["dropped_messages"] > 0


async def kafka_goes_away(parts: World, away_s: float) -> None:
    async with parts.reader() as reader, parts.bridge() as bridge:
        playing = Playing(parts, Knobs(engines=20, speed=400))
        await until(playing.acknowledged(500), "the run did not begin")
        parts.kafka.stop(signal.SIGKILL)
        back = time.monotonic() + away_s
        await until(lambda: time.monotonic() >= back, "time stands still")
        assert not bridge.done()
        await asyncio.to_thread(parts.kafka.start)
        played = await playing.task
        await arrive(reader, playing, played)
        found = judged(reader)
        assert found.unique_readings == played.expected.unique_readings
        assert found.too_late >= played.expected.too_late


@pytest.mark.parametrize("shared", [True, False])
async def test_bridge_and_simulator_survive_a_restart_of_the_mqtt_broker(
    parts: World,
    shared: bool,  # noqa: FBT001 - a parameter
) -> None:
    async with parts.reader() as reader, parts.bridge(shared=shared) as bridge:
        playing = Playing(parts, Knobs(engines=15, speed=1000))
        await until(playing.acknowledged(800), "the run did not begin")
        await asyncio.to_thread(parts.mosquitto.stop)
        await until(playing.in_state(State.RECONNECTING), "the loss was not noticed")
        await asyncio.to_thread(parts.mosquitto.start)
        played = await playing.task
        await arrive(reader, playing, played)
        assert not bridge.done()
        found = judged(reader)
        assert found.unique_readings == played.expected.unique_readings


async def test_a_run_that_is_stopped_has_a_whole_journal_and_counts_what_it_sent(
    parts: World,
) -> None:
    async with parts.reader() as reader, parts.bridge():
        playing = Playing(parts, Knobs(engines=10, speed=500))
        await until(playing.acknowledged(300), "the run did not begin")
        playing.stop.set()
        played = await playing.task
        assert (played.complete, played.unconfirmed) == (False, 0)
        await arrive(reader, playing, played)
        assert judged(reader) == played.expected
