"""Plays a plan over MQTT with QoS 1 until the broker has acknowledged every message.

At least once: where a connection is lost, all messages without a PUBACK are sent again, in
order, and counted. Whether the first copy had arrived nobody can know, so such a message may
be a further duplicate to the pipeline, beyond the plan's.

MQTT throws away what nobody has subscribed to, and says so in its PUBACK (MQTT 5.0, reason
code 0x10). Such a message is repeated, alone, until somebody has subscribed; only then the
others follow. A bridge that was there once keeps its session, so this is rare.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog

from pipeline.bridge.mqtt import Address, ConnectionLostError, Outbox
from pipeline.settings import Settings
from pipeline.simulate.cmapss import load_fleet
from pipeline.simulate.journal import Journal
from pipeline.simulate.plan import Expected, Knobs, Send, expect, make_plan
from pipeline.simulate.render import Run

__all__ = ["Expected", "Knobs", "Played", "Progress", "SimulatorError", "State", "play"]

WINDOW = 100
"""Messages under way without an acknowledgement. Below the dedup window, so that sending
again what a connection lost cannot make a numbered sample too late."""
BACKOFF_S = (0.2, 0.5, 1.0, 2.0)
UNREACHED = 5
"""Failed first connections: then there is no broker to wait for. Later ones are waited out."""
FRUITLESS = 10
"""Connections in a row that acknowledge nothing: then a message itself must be the trouble."""
_TICK_S = 0.05
_PROGRESS_S = 0.25
_DRAIN_S = 5.0
_UNHEARD_S = 0.25

log = structlog.get_logger(__name__)


class State(StrEnum):
    """What a run is doing."""

    PLAYING = "playing"
    RECONNECTING = "reconnecting"
    WAITING_FOR_BRIDGE = "waiting for a bridge"
    ENDED = "ended"


class SimulatorError(Exception):
    """The run cannot go on; the text is one sentence with the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run is. Messages, apart from `readings` (sent so far) and `seconds`."""

    sent: int
    acknowledged: int
    total: int
    readings: int
    seconds: float
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What was played. `expected` counts acknowledged messages only.

    `resent` messages may each be one more duplicate in the pipeline; `unconfirmed` ones
    (only where the run was stopped) may or may not have arrived.
    """

    expected: Expected
    messages: int
    resent: int
    unconfirmed: int
    complete: bool
    seconds: float


@dataclass(slots=True)
class _Sent:
    index: int
    topic: str
    payload: bytes
    sent_ms: int


async def play(
    settings: Settings,
    knobs: Knobs,
    *,
    session: int,
    start_ms: int,
    journal: Path,
    on_progress: Callable[[Progress], None],
    stop: asyncio.Event,
) -> Played:
    """Play to the end, or until `stop` is set; the journal is whole in either case.

    `session` numbers the run and must be greater than that of every run before it;
    `start_ms`, milliseconds since the Unix epoch, is the event time of the last cycle of the
    longest-lived engine. SettingsError, SimulatorError or the broker's refusal end the run.
    """
    fleet = load_fleet(engines=knobs.engines)
    plan = make_plan(knobs, fleet.lives, settings.dedup_window)
    run = Run(
        plan=plan,
        fleet=fleet,
        session=session,
        start_ms=start_ms,
        max_payload=settings.bridge_max_payload,
    )
    with Journal(journal) as written:
        player = _Player(run, written, on_progress, stop)
        return await player.play(Address.parse(settings.mqtt_url), f"fieldline-simulate-{session}")


class _Player:
    def __init__(
        self,
        run: Run,
        journal: Journal,
        on_progress: Callable[[Progress], None],
        stop: asyncio.Event,
    ) -> None:
        self._run = run
        self._sends = run.plan.sends
        self._journal = journal
        self._on_progress = on_progress
        self._stop = stop
        self._next = 0
        self._readings = 0
        self._waiting: dict[int, _Sent] = {}
        self._acknowledged: list[Send] = []
        self._resent = 0
        self._reached = False
        self._heard = False
        self._unheard: dict[int, _Sent] = {}
        self._try_again_at = 0.0
        self._begun = time.monotonic()
        self._reported = 0.0

    @property
    def _done(self) -> bool:
        return self._next == len(self._sends) and not (self._waiting or self._unheard)

    async def play(self, address: Address, client_id: str) -> Played:
        failures = fruitless = 0
        while not self._done and not self._stop.is_set():
            before, connected = len(self._acknowledged), False
            outbox = Outbox(address, client_id=client_id, window=WINDOW, on_ack=self._on_ack)
            try:
                async with outbox:
                    connected = self._reached = True
                    self._send_again(outbox)
                    await self._work(outbox)
            except ConnectionLostError as error:
                progress = len(self._acknowledged) > before
                fruitless = fruitless + 1 if connected and not progress else 0
                failures = 0 if progress else failures + 1
                if not (self._reached or connected) and failures == UNREACHED:
                    raise SimulatorError(
                        f"No MQTT broker answers at {address.host}:{address.port}: start it, "
                        "or correct MQTT_URL."
                    ) from error
                if fruitless == FRUITLESS:
                    raise SimulatorError(
                        f"The MQTT broker closed {FRUITLESS} connections without an "
                        "acknowledgement: see its log for what it refuses."
                    ) from error
                wait_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                log.warning(
                    "simulator interrupted",
                    cause=str(error),
                    unacknowledged=len(self._waiting),
                    retry_in_s=wait_s,
                )
                self._report(State.RECONNECTING)
                await self._pause(wait_s)
        return self._result()

    async def _work(self, outbox: Outbox) -> None:
        """Publish and await until all is acknowledged, or stopped and drained."""
        drain_until: float | None = None
        while not self._done:
            now = time.monotonic()
            if self._stop.is_set():
                drain_until = drain_until or now + _DRAIN_S
                if not self._waiting or now > drain_until:
                    return
            elif now >= self._try_again_at:
                self._publish(outbox, now)
            if now - self._reported >= _PROGRESS_S:
                self._report(State.PLAYING if self._heard else State.WAITING_FOR_BRIDGE)
            await outbox.wait(_TICK_S)

    def _publish(self, outbox: Outbox, now: float) -> None:
        speed = self._run.plan.knobs.speed
        allowed = int((now - self._begun) * speed) + 1 if speed else len(self._sends)
        end = min(len(self._sends), allowed)
        window = outbox.window if self._heard else 1
        while len(self._waiting) < window and (self._unheard or self._next < end):
            again = self._unheard.pop(min(self._unheard)) if self._unheard else None
            sent = again or self._prepare(self._next)
            sent.sent_ms = time.time_ns() // 1_000_000
            try:
                mid = outbox.publish(sent.topic, sent.payload)
            except ConnectionLostError:
                if again is not None:
                    self._unheard[again.index] = again
                raise
            self._waiting[mid] = sent
            if again is None:
                self._next += 1
                self._readings += self._sends[sent.index].readings

    def _prepare(self, index: int) -> _Sent:
        send = self._sends[index]
        return _Sent(index, self._run.topic(send), self._run.payload(send), 0)

    def _send_again(self, outbox: Outbox) -> None:
        again, self._waiting = list(self._waiting.values()), {}
        self._resent += len(again)
        for n, sent in enumerate(again):
            try:
                mid = outbox.publish(sent.topic, sent.payload)
            except ConnectionLostError:
                # Not one may be forgotten: those below keep a place that no PUBACK can name.
                self._waiting |= {-1 - i: late for i, late in enumerate(again[n:])}
                raise
            self._waiting[mid] = sent

    def _on_ack(self, mid: int, heard: bool) -> None:  # noqa: FBT001 - the adapter's callback
        sent = self._waiting.pop(mid, None)
        if sent is None:
            return
        if heard:
            self._heard = True
            self._write(sent, acknowledged=True)
            self._acknowledged.append(self._sends[sent.index])
        else:
            self._heard = False
            self._unheard[sent.index] = sent
            self._try_again_at = time.monotonic() + _UNHEARD_S

    def _write(self, sent: _Sent, *, acknowledged: bool) -> None:
        self._journal.add(
            self._run,
            self._sends[sent.index],
            message=sent.index,
            sent_ms=sent.sent_ms,
            acknowledged=acknowledged,
        )

    def _report(self, state: State) -> None:
        self._reported = time.monotonic()
        self._on_progress(
            Progress(
                sent=self._next,
                acknowledged=len(self._acknowledged),
                total=len(self._sends),
                readings=self._readings,
                seconds=self._reported - self._begun,
                state=state,
            )
        )

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    def _result(self) -> Played:
        unconfirmed = [*self._waiting.values(), *self._unheard.values()]
        for sent in unconfirmed:
            self._write(sent, acknowledged=False)
        self._report(State.ENDED)
        return Played(
            expected=expect(self._acknowledged),
            messages=len(self._acknowledged),
            resent=self._resent,
            unconfirmed=len(unconfirmed),
            complete=self._done,
            seconds=time.monotonic() - self._begun,
        )
