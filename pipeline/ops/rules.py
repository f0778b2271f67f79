"""What a person does with the rules: apply, revert, tell outcomes.

Publishing is exclusive: the producer's transactional id fences whoever began before, then the
topic is read, and the new version and the pointer to it are written in one transaction. So of
two who publish at once, one fails and nothing of theirs is in the topic.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced

from pipeline.core.feedback import Change, Span, Told, counted, learn, movable
from pipeline.settings import Settings, SettingsError
from pipeline.state import feedback_topic, rules_file
from pipeline.state.feedback_topic import UnusableOutcomeError
from pipeline.state.rules_document import with_version
from pipeline.state.rules_versions import CURRENT, KEPT, MAX_RECORD, Version, Versions, key_of
from pipeline.topology import FEEDBACK, RULES
from pipeline.wire import kafka

if TYPE_CHECKING:
    from pipeline.core.detectors.table import Detector
    from pipeline.core.rules import Rules

PUBLISHER: Final = "fieldline-rules"
"""Transactional id of all who publish rules; a locked broker must allow it to them."""
FEEDBACK_WHO: Final = "feedback"
_COMMIT_S: Final = 30.0
_TRANSACTION_MS: Final = 10_000
_TRIES: Final = 5


class MovedError(SettingsError):
    """Somebody else has published rules in the meantime; nothing of ours was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What stands in the two topics, and the rules file that is in force while they are empty.

    `log` has every usable outcome with its offset; `feedback_end` is the offset after it.
    """

    versions: Versions
    file: Version
    log: tuple[Told, ...]
    feedback_end: int
    unusable: int

    @property
    def current(self) -> Version:
        """The version in force, the rules file's where nothing was published."""
        if not self.versions.current:
            return self.file
        found = self.versions.get(self.versions.current)
        if found is None:
            raise SettingsError(
                f"Rules version {self.versions.current} is in force and not in {RULES}: "
                "go back to another with `fieldline rules revert`."
            )
        return found

    def version(self, number: int) -> Version:
        """A version by number; SettingsError where there is none."""
        found = self.versions.get(number)
        if found is None and number == self.file.version:
            found = self.file
        if found is None:
            raise SettingsError(
                f"There is no rules version {number}: `fieldline rules history` shows them."
            )
        return found

    @property
    def newest(self) -> int:
        """The greatest number that is taken."""
        return max((self.file.version, self.versions.current, *self.versions.numbers()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A version ready to be published: its rules, and the factors that move with it."""

    version: Version
    rules: Rules
    changes: tuple[Change, ...]


def compose(
    now: Now,
    base: Version,
    *,
    who: str,
    why: str,
    at_ms: int,
    source: str = "",
    revert: bool = False,
    detectors: Sequence[Detector] | None = None,
) -> Draft:
    """The next version, with the text of `base` (the current version or another file's).

    Its factors are those of all outcomes that stand. To `revert` to `base`, what was told
    since then is set aside: the factors are again what they were, until more is told.
    RulesFileError where the text is unusable.
    """
    source = source or f"rules version {base.version}"
    number = max(base.version, now.newest + 1)
    text = with_version(base.text, source, number)
    rules = rules_file.parse(text, source, detectors)
    set_aside = base.set_aside if revert else now.current.set_aside
    if revert and base.feedback_end < now.feedback_end:
        set_aside = (*set_aside, Span(base.feedback_end, now.feedback_end))
    outcomes = [
        outcome
        for outcome in counted(now.log, set_aside)
        if movable(rules, outcome.detector, outcome.metric)
    ]
    factors, changes = learn(now.current.factors, outcomes, rules.feedback)
    version = Version(
        version=number,
        text=text,
        factors=factors,
        who=who,
        why=why,
        at_ms=at_ms,
        reverted_from=base.version if revert else None,
        feedback_end=now.feedback_end,
        set_aside=set_aside,
    )
    return Draft(version=version, rules=version.rules(detectors), changes=changes)


def from_file(settings: Settings, detectors: Sequence[Detector] | None = None) -> Version:
    """The rules file as the version that is in force while nothing was published."""
    return read_file(settings.rules_file, detectors)


def read_file(path: Path, detectors: Sequence[Detector] | None = None) -> Version:
    """A rules file as a version; RulesFileError where it is unusable."""
    text = rules_file.read(path)
    rules = rules_file.parse(text, str(path), detectors)
    return Version(version=rules.version, text=text, who="", why=f"the file {path}", at_ms=0)


async def look(settings: Settings, detectors: Sequence[Detector] | None = None) -> Now:
    """What stands in the topics now; LookupError with the name of one that is not there."""
    await _present(settings)
    versions = Versions()
    for message in await kafka.read_all(settings, RULES):
        versions.apply(message.key, message.value)
    messages = await kafka.read_all(settings, FEEDBACK)
    log = []
    for message in messages:
        with contextlib.suppress(UnusableOutcomeError):
            outcome = feedback_topic.decode(message.value)
            log.append(Told(offset=message.offset, outcome=outcome))
    return Now(
        versions=versions,
        file=from_file(settings, detectors),
        log=tuple(log),
        feedback_end=messages[-1].offset + 1 if messages else 0,
        unusable=len(messages) - len(log),
    )


async def _present(settings: Settings) -> None:
    async with kafka.administered(settings) as admin:
        there = await admin.list_topics()
    for name in (RULES, FEEDBACK):
        if name not in there:
            raise LookupError(name)


class Desk:
    """A place to publish one version from; whoever takes it later makes this one fail."""

    def __init__(self, now: Now, producer: AIOKafkaProducer) -> None:
        self.now = now
        self._producer = producer

    async def publish(self, version: Version) -> None:
        """Put `version` in force; MovedError where somebody else published meanwhile."""
        value = version.encode()
        if len(value) > MAX_RECORD:
            raise SettingsError(f"The rules are over {MAX_RECORD} bytes as a message: split them.")
        old = [n for n in self.now.versions.numbers() if n != self.now.versions.current]
        try:
            async with asyncio.timeout(_COMMIT_S), self._producer.transaction():
                await self._producer.send_and_wait(RULES, key=version.key, value=value)
                for number in old[: max(0, len(old) + 2 - KEPT)]:
                    await self._producer.send_and_wait(RULES, key=key_of(number), value=None)
                pointer = str(version.version).encode()
                await self._producer.send_and_wait(RULES, key=CURRENT, value=pointer)
        except ProducerFenced as error:
            raise MovedError(
                "Somebody else has published rules just now, and nothing was changed: "
                "look at `fieldline rules history` and try again."
            ) from error
        except TimeoutError as error:
            raise SettingsError(
                f"Kafka did not answer within {_COMMIT_S:g} s, so the rules may have been "
                "published or not: see `fieldline rules history`."
            ) from error


@contextlib.asynccontextmanager
async def publishing(
    settings: Settings, detectors: Sequence[Detector] | None = None
) -> AsyncIterator[Desk]:
    """A desk with what stands in the topics; nobody who came before it can publish any more."""
    await _present(settings)
    producer = AIOKafkaProducer(
        **kafka.connection(settings),
        client_id=PUBLISHER,
        transactional_id=PUBLISHER,
        transaction_timeout_ms=_TRANSACTION_MS,
        compression_type=kafka.compression(),
        max_request_size=2 * MAX_RECORD,
        request_timeout_ms=kafka.REQUEST_TIMEOUT_MS,
    )
    try:
        await producer.start()
        yield Desk(await look(settings, detectors), producer)
        await producer.stop()
    finally:
        # After an error its stop() would wait for what was fenced; after a stop this is nothing.
        await kafka.abandon(producer)


async def catch_up(
    settings: Settings, *, why: str, detectors: Sequence[Detector] | None = None
) -> Draft | None:
    """Publish a version with the factors of all outcomes; None where nothing moves.

    Safe to repeat: whoever crashed between telling an outcome and this is caught up with.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            async with publishing(settings, detectors) as desk:
                draft = compose(
                    desk.now,
                    desk.now.current,
                    who=FEEDBACK_WHO,
                    why=why,
                    at_ms=time.time_ns() // 1_000_000,
                    detectors=detectors,
                )
                if not draft.changes:
                    return None
                await desk.publish(draft.version)
                return draft
        except MovedError:
            if not tries_left:
                raise
            # Two who learn at once must not fence each other again and again.
            await asyncio.sleep(random.uniform(0.1, 1.0))  # noqa: S311 - no secret
    raise AssertionError
