"""The peers and the ceiling: how each is started and what one run of it comes to."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.broker import BenchError, Broker
from tests.bench.load import Loaded, LoadedJson
from tests.bench.measure import LOOK_S, STALLED_S, Run, watch_output
from tests.bench.process import Process

RAW = "raw_fetch"


@dataclass(frozen=True, slots=True)
class Peer:
    """An engine. `before` and `argv` are what follows its Python on the command line."""

    name: str
    says: str
    own_environment: bool
    argv: tuple[str, ...]
    before: tuple[str, ...] = ()


PEERS = {
    peer.name: peer
    for peer in (
        Peer("faust_naive", "Faust", own_environment=False,
             argv=("-m", "tests.bench.peers.faust_naive", "worker", "-l", "info")),
        Peer("quix", "Quix Streams", own_environment=True, argv=("-m", "tests.bench.peers.quix")),
        Peer("bytewax", "Bytewax", own_environment=True,
             before=("-m", "bytewax.recovery", "{folder}", "1"),
             argv=("-m", "bytewax.run", "tests.bench.peers.bytewax:flow",
                   "-r", "{folder}", "-s", "10", "-b", "0")),
    )
}  # fmt: skip


async def run(
    broker: Broker,
    peer: Peer,
    python: str,
    source: LoadedJson,
    number: int,
    *,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Run:
    """One run over a topic of single readings, with new topics, group and state."""
    name = f"bench-{peer.name}-{number}"
    output, alarms = f"{name}-output", f"{name}-alarms"
    folder = broker.root / "peer-state" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    env = {
        "BENCH_BOOTSTRAP": broker.settings.kafka_bootstrap,
        "BENCH_NAME": name,
        "BENCH_SOURCE": source.topic,
        "BENCH_OUTPUT": output,
        "BENCH_ALARMS": alarms,
        "BENCH_FOLDER": str(folder),
    }
    await broker.make(output)
    await broker.make(alarms)

    def words(some: tuple[str, ...]) -> tuple[str, ...]:
        return (python, *(word.replace("{folder}", str(folder)) for word in some))

    if peer.before:
        _prepare(peer, words(peer.before))
    share = source.readings / source.first
    async with broker.watch(output) as ends:
        began = time.monotonic()
        with Process(broker.root, peer.name, words(peer.argv), env) as process:
            seen = await watch_output(
                process,
                ends,
                began=began,
                done=lambda now: sum(now.values()) * share,
                total=source.readings,
                on_progress=on_progress,
            )
        written = sum((await ends.now()).values())
    if written != source.first:
        raise BenchError(
            f"{peer.name} wrote {written:,} readings and should have written {source.first:,}: "
            "its program does not do the task."
        )
    async with broker.watch(alarms) as ends:
        events = sum((await ends.now()).values())
    await broker.drop([output, alarms])
    shutil.rmtree(folder, ignore_errors=True)
    return Run(
        engine=peer.name,
        shape="single",
        readings=source.readings,
        readings_per_s=seen.rate,
        seconds_steady=seen.seconds,
        seconds_first=seen.seconds_first,
        seconds_total=seen.seconds_last,
        peak_rss_mb=seen.peak_rss_mb,
        cpu_cores=seen.cores,
        others_cores=seen.others,
        events=events,
    )


def _prepare(peer: Peer, argv: tuple[str, ...]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=STALLED_S, check=False)
    if done.returncode:
        raise BenchError(f"{peer.name} cannot be prepared: {done.stderr.strip()[-300:]}.")


async def run_raw(
    broker: Broker, loaded: Loaded, *, on_progress: Callable[[float], None] = lambda _: None
) -> Run:
    """Fetch telemetry.readings once, undecoded."""
    argv = ("-m", "tests.bench.raw_fetch", broker.settings.kafka_bootstrap, str(loaded.messages))
    began, cpu, peak = time.monotonic(), 0.0, 0.0
    with Process(broker.root, RAW, (sys.executable, *argv)) as process:
        while (code := process.wait(0)) is None:
            cpu, peak = max(cpu, process.cpu_s()), max(peak, process.peak_rss_mb())
            if time.monotonic() - began > STALLED_S:
                raise process.stuck("does not come to an end")
            await asyncio.sleep(LOOK_S / 4)
        if code:
            process.check()
        answer = process.answer()
    total_s = time.monotonic() - began
    per_message = loaded.readings / loaded.messages
    readings = (answer["messages"] - answer["first"]) * per_message
    on_progress(loaded.readings)
    return Run(
        engine=RAW,
        shape=loaded.shape.name,
        readings=loaded.readings,
        readings_per_s=readings / answer["seconds"],
        seconds_steady=answer["seconds"],
        seconds_first=total_s - answer["seconds"],
        seconds_total=total_s,
        peak_rss_mb=peak,
        cpu_cores=cpu / total_s,
    )
