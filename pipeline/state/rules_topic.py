"""The rules as workers use them: the topic detection.rules, followed while the worker runs.

A version stays readable by its number, as a partition of detect notes with which version it
works from which offset, and after a crash replays with that version before it changes over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError

from pipeline.core.rules import Rules
from pipeline.settings import Settings, SettingsError
from pipeline.state import rules_file
from pipeline.state.rules_file import RulesFileError
from pipeline.state.rules_versions import Versions
from pipeline.topology import RULES
from pipeline.wire import kafka

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from pipeline.core.detectors.table import Detector

READ_S: Final = 30.0
"""Longest wait at the start until the topic is read."""
_POLL_MS: Final = 500
_CANCEL_S: Final = 2.0
_LOOK_S: Final = 5.0
"""How often a topic that is not there is looked for, and pause after an error, seconds."""

log = structlog.get_logger(__name__)


class RulesTopic:
    """The newest usable rules, and any version by number.

    While the topic is empty or not there, the rules file (FIELDLINE_RULES_FILE) is in force.
    A version that cannot be used is told once in the log and the last good one stays; that
    is the same after a restart. Belongs to one event loop.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        detectors: Sequence[Detector] | None = None,
    ) -> None:
        """RulesFileError where the rules file is unusable."""
        self._settings = settings
        self._detectors = detectors
        self._file = rules_file.load(settings.rules_file, detectors)
        self._latest = self._file
        self._versions = Versions()
        self._told: set[tuple[int, str]] = set()
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[Any] | None = None

    @property
    def latest(self) -> Rules:
        """The rules in force."""
        return self._latest

    def version(self, number: int) -> Rules | None:
        """That version, or None where it is not there (any more) or cannot be used."""
        found = self._versions.rules(number, self._detectors)
        if isinstance(found, Rules):
            return found
        if isinstance(found, RulesFileError):
            self._tell(number, str(found))
            return None
        return self._file if number == self._file.version else None

    async def start(self, *, seconds: float = READ_S) -> None:
        """Read all that is there, then follow; within `seconds` or SettingsError.

        KafkaError where the broker does not answer.
        """
        self._consumer = kafka.consumer(self._settings, client_id="fieldline-rules")
        self._starting = asyncio.current_task()
        try:
            async with asyncio.timeout(seconds):
                await self._consumer.start()
                if await self._assign(self._consumer):
                    await self._read_to_end(self._consumer)
                await self._settle()
        except TimeoutError as error:
            await self.stop()
            raise SettingsError(
                f"Topic {RULES} could not be read within {seconds:g} s: "
                f"see whether {self._settings.kafka_bootstrap} answers."
            ) from error
        except BaseException:  # also a cancellation must not leave the client open
            await self.stop()
            raise
        finally:
            self._starting = None
        log.info("rules in force", rules=self._latest.label, versions=len(self._versions))
        self._task = asyncio.create_task(self._follow(self._consumer))

    async def stop(self) -> None:
        """Stop following; `latest` and `version` still answer. May be called again.

        A start that is under way is cancelled: it must not find its consumer closed.
        """
        starting, self._starting = self._starting, None
        if starting is not None and starting is not asyncio.current_task():
            starting.cancel()
            await asyncio.wait({starting}, timeout=_CANCEL_S)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await consumer.stop()

    async def _assign(self, consumer: AIOKafkaConsumer) -> bool:
        """Whether the topic is there; from then on it is read from its start."""
        if RULES not in await consumer.topics():
            return False
        partitions = await kafka.topic_partitions(consumer, [RULES])
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        return True

    async def _read_to_end(self, consumer: AIOKafkaConsumer) -> None:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            self._apply(await _poll(consumer))

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                if not consumer.assignment():
                    await asyncio.sleep(_LOOK_S)
                    await self._assign(consumer)
                elif messages := await _poll(consumer):
                    self._apply(messages)
                    await self._settle()
            except KafkaError as error:
                log.warning("rules topic not readable, rules stay", detail=repr(error))
                await asyncio.sleep(_LOOK_S)

    def _apply(self, messages: Iterable[Any]) -> None:
        for message in messages:
            wrong = self._versions.apply(message.key, message.value)
            if wrong is not None:
                log.warning("rules record unusable", offset=message.offset, detail=wrong)

    async def _settle(self) -> None:
        """Make the current version the latest, or the newest usable one before it."""
        latest = self._file
        current = self._versions.current
        before = [number for number in self._versions.numbers() if number < current]
        for number in (current, *reversed(before)) if current else ():
            record = self._versions.get(number)
            if record is None:
                self._tell(number, f"version {number} is not in {RULES}")
                continue
            try:
                # In a thread: a large file takes seconds, and partitions must be kept alive.
                latest = await asyncio.to_thread(record.rules, self._detectors)
            except RulesFileError as error:
                self._tell(number, str(error))
            else:
                self._versions.keep(latest)
                break
        if latest != self._latest:
            self._latest = latest
            log.info("rules in force", rules=latest.label)

    def _tell(self, number: int, why: str) -> None:
        if (number, why) not in self._told:
            self._told.add((number, why))
            log.error("rules version unusable, the last good one stays", version=number, detail=why)


async def _poll(consumer: AIOKafkaConsumer) -> list[Any]:
    found = await consumer.getmany(timeout_ms=_POLL_MS)
    return [message for messages in found.values() for message in messages]
