"""Outcomes of events: told, taken back, listed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.core.feedback import Outcome, Told, Verdict, counted, standing
from pipeline.ops import rules
from pipeline.settings import Settings, SettingsError
from pipeline.state import feedback_topic
from pipeline.topology import EVENTS, FEEDBACK
from pipeline.wire import kafka
from pipeline.wire.avro import Codec
from pipeline.wire.records import decode_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.core.detectors.table import Detector
    from pipeline.core.events import BusinessEvent
    from pipeline.ops.rules import Draft, Now

_ID: Final = "ce_id"
_MOST_HITS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What came of telling an outcome.

    `new` is false where it stood already; `draft` is the version that was published for it,
    None where no factor moved.
    """

    outcome: Outcome
    new: bool
    draft: Draft | None


async def find_event(settings: Settings, codec: Codec, wanted: str) -> BusinessEvent:
    """The event whose id is or starts with `wanted`; SettingsError where not exactly one does."""
    prefix = wanted.encode()
    values: dict[bytes, bytes] = {}
    consumer = kafka.consumer(settings)
    try:
        await consumer.start()
        partitions = await kafka.topic_partitions(consumer, [EVENTS])
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    name = dict(message.headers).get(_ID, b"")
                    if prefix and name.startswith(prefix) and len(values) < _MOST_HITS:
                        values[name] = message.value
    finally:
        await consumer.stop()
    exact = values.get(prefix)
    if exact is None and len(values) > 1:
        raise SettingsError(f"{wanted!r} fits several events: give more of the id.")
    if not values:
        raise SettingsError(f"No event {wanted!r} in {EVENTS}: give the id as the event has it.")
    return decode_event(codec, exact or next(iter(values.values())))


async def tell(
    settings: Settings,
    event: BusinessEvent,
    verdict: Verdict,
    *,
    who: str,
    why: str,
    detectors: Sequence[Detector] | None = None,
) -> Learnt:
    """Write the outcome of `event` and publish the rules with what is learnt from it.

    The same outcome told twice counts once; another one of the same event replaces it.
    """
    outcome = Outcome(
        event_id=event.id,
        detector=event.detector,
        metric=event.metric,
        tenant=event.tenant,
        outcome=verdict,
        who=who,
        why=why,
        at_ms=time.time_ns() // 1_000_000,
    )
    return await _write(settings, outcome, detectors)


async def take_back(
    settings: Settings,
    wanted: str,
    *,
    who: str,
    why: str,
    detectors: Sequence[Detector] | None = None,
) -> Learnt:
    """Withdraw what was told of an event; the factors are again those without it."""
    now = await rules.look(settings, detectors)
    hits = [o for name, o in told(now).items() if name.startswith(wanted)]
    if not hits or len(hits) > 1:
        raise SettingsError(
            f"{wanted!r} fits {len(hits)} events with an outcome that stands: "
            "`fieldline feedback list` shows them."
        )
    outcome = Outcome(
        event_id=hits[0].event_id,
        detector=hits[0].detector,
        metric=hits[0].metric,
        tenant=hits[0].tenant,
        outcome=Verdict.WITHDRAWN,
        who=who,
        why=why,
        at_ms=time.time_ns() // 1_000_000,
    )
    return await _write(settings, outcome, detectors)


def told(now: Now) -> dict[str, Outcome]:
    """The outcomes that count in the rules in force, by event id, oldest first."""
    return standing(counted(now.log, now.current.set_aside))


async def _write(
    settings: Settings, outcome: Outcome, detectors: Sequence[Detector] | None
) -> Learnt:
    now = await rules.look(settings, detectors)
    before = told(now).get(outcome.event_id)
    new = before is None or before.outcome is not outcome.outcome
    if new:
        key, value = feedback_topic.encode(outcome)
        producer = kafka.producer(settings)
        try:
            await producer.start()
            await producer.send_and_wait(FEEDBACK, key=key, value=value)
        finally:
            await producer.stop()
    draft = await rules.catch_up(
        settings,
        why=f"{outcome.event_id} {outcome.outcome.replace('_', ' ')} ({outcome.who}): "
        f"{outcome.why}",
        detectors=detectors,
    )
    return Learnt(outcome=outcome, new=new, draft=draft)


def history(now: Now) -> list[tuple[Told, str]]:
    """Every outcome ever told, oldest first, and what became of it."""
    kept = told(now)
    out = []
    for entry in now.log:
        if any(entry.offset in span for span in now.current.set_aside):
            state = "set aside by a revert"
        elif entry.outcome.outcome is Verdict.WITHDRAWN:
            state = "takes back"
        elif kept.get(entry.outcome.event_id) == entry.outcome:
            state = "counts"
        else:
            state = "replaced"
        out.append((entry, state))
    return out
