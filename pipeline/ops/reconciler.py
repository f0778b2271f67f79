"""The reconciler: keeps the balance at all times, and compares it with the targets.

It takes part in nothing: no consumer group, no write but to operations.balance and
operations.review, only reads at the targets. So it may be stopped, killed and started at any
time, and its folder may be deleted: that is a copy of what the topics say.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.ops.metrics import render, serve
from pipeline.ops.reconcile_balance import Balance
from pipeline.ops.reconcile_figures import Figures
from pipeline.ops.reconcile_follow import Follower, StaleError
from pipeline.ops.reconcile_pass import compare, compared
from pipeline.ops.reconcile_store import FORMAT, Store
from pipeline.ops.reconcile_upkeep import forget_old
from pipeline.settings import Settings, SettingsError
from pipeline.state.routes_file import load_routes
from pipeline.state.worker_folder import held, worker_folder
from pipeline.wire import kafka
from pipeline.wire.codecs import make_codec

log = structlog.get_logger(__name__)

UPKEEP_S = 3_600.0
"""How often old rows are forgotten."""
AGAIN_S = 300.0
"""A comparison that could not be done whole is done again after this, at the latest."""
BACKOFF_S = (0.5, 1.0, 2.0, 5.0)
"""Waits before a new start; the last one repeats."""
_LOOK_S = 0.1
_DATABASE = f"books-{FORMAT}.db"


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Keep the books until `stop` is set. Heals whatever fails; SettingsError only."""
    figures = Figures()
    async with AsyncExitStack() as stack:
        if settings.metrics_port:
            page = await serve(settings.metrics_port, lambda: render(figures.metrics(time.time())))
            stack.callback(page.close)
        folder = worker_folder(settings, "reconciler", 0)
        stack.enter_context(held(folder))
        failures = 0
        while not stop.is_set():
            life = _Life(settings, folder, figures)
            try:
                await life.run(stop)
            except SettingsError:
                raise
            except StaleError as error:
                log.warning("the books are made anew", cause=str(error))
                shutil.rmtree(folder / _DATABASE)
            except Exception as error:
                failures = 0 if life.complete else failures
                wait_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                failures += 1
                log.warning(
                    "reconciler interrupted",
                    cause=f"{type(error).__name__}: {error}",
                    retry_in_s=wait_s,
                    exc_info=None if isinstance(error, (KafkaError, OSError)) else error,
                )
                await _until(stop, wait_s)
    log.info("reconciler stopped")


@asynccontextmanager
async def following(settings: Settings, folder: Path) -> AsyncIterator[tuple[Store, Follower]]:
    """The books in that folder, and the follower that fills them once it is polled."""
    store = _open(folder)
    try:
        follower = Follower(
            settings, store, make_codec(settings), load_routes(settings.routes_file)
        )
        try:
            await follower.start()
            yield store, follower
        finally:
            await follower.stop()
    finally:
        store.close()


def _open(folder: Path) -> Store:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _DATABASE
    try:
        return Store(path)
    except Exception as error:  # noqa: BLE001 - rocksdict raises bare Exceptions
        # They are made from the topics: what cannot be read is not worth mending.
        log.warning("the books are made anew", cause=f"{type(error).__name__}: {error}")
        shutil.rmtree(path, ignore_errors=True)
        return Store(path)


class _Life:
    """From where the folder is until something fails."""

    def __init__(self, settings: Settings, folder: Path, figures: Figures) -> None:
        self._settings = settings
        self._folder = folder
        self._figures = figures
        self.complete = False
        """Whether the books have once known all that Kafka had."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or whatever fails first."""
        async with following(self._settings, self._folder) as (store, follower):
            producer = kafka.producer(self._settings)
            try:
                await producer.start()
                await together(
                    stop.wait(),
                    follower.poll_for_ever(),
                    self._keep(store, follower, producer),
                )
            finally:
                # Not stopped: that waits for a broker that is away. A line is written again.
                await kafka.abandon(producer)

    async def _keep(self, store: Store, follower: Follower, producer: AIOKafkaProducer) -> None:
        """Nothing is said before the books know everything."""
        mark = await follower.mark()
        while behind := follower.behind(mark):
            self._figures.behind = behind
            await asyncio.sleep(_LOOK_S)
        self.complete = True
        log.info("the books are complete", lines=len(store.lines))
        codec = make_codec(self._settings)
        balance = Balance(store, follower, producer, codec, self._figures)
        await together(
            balance.run(),
            self._compare(store, follower, producer),
            self._upkeep(store, follower),
        )

    async def _compare(self, store: Store, follower: Follower, producer: AIOKafkaProducer) -> None:
        every_s = self._settings.reconcile_s
        sinks = compared(self._settings)
        due_s = dict.fromkeys(sinks, 0.0)
        for sink in sinks:
            done = store.note(_done(sink))
            self._figures.reconciled_s[sink] = None if done is None else float(done)
            if done is not None:
                due_s[sink] = float(done) + every_s
        while True:
            sink = min(due_s, key=due_s.__getitem__, default="")
            if not sink:
                await asyncio.Event().wait()  # no target to ask, ever
            await asyncio.sleep(max(0.0, due_s[sink] - time.time()))
            troubles = await self._compare_one(store, follower, producer, sink)
            now_s = time.time()
            if troubles:
                log.warning("a target could not be compared", sink=sink, causes=troubles)
                due_s[sink] = now_s + min(every_s, AGAIN_S)
            else:
                self._figures.reconciled_s[sink] = now_s
                store.put_note(_done(sink), b"%d" % int(now_s))
                due_s[sink] = now_s + every_s

    async def _compare_one(
        self, store: Store, follower: Follower, producer: AIOKafkaProducer, sink: str
    ) -> list[str]:
        """Why some of it could not be done; empty where all was."""
        sample = self._settings.reconcile_sample
        try:
            look = await compare(
                self._settings, store, follower, producer, sink=sink, sample=sample
            )
        except SettingsError as error:
            return [str(error)]
        log.info(
            "compared",
            sink=sink,
            looked_up=look.looked_up,
            listed=look.listed,
            mismatches=len(look.findings),
            untold=look.untold,
        )
        return look.troubles

    async def _upkeep(self, store: Store, follower: Follower) -> None:
        while True:
            await forget_old(store, follower.stages, now_ms=int(time.time() * 1000))
            await asyncio.sleep(UPKEEP_S)


def _done(sink: str) -> str:
    return f"compared {sink}"


async def together(*work: Awaitable[object]) -> None:
    """Do all at once, until one of them ends or fails; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


async def _until(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
