"""Which delivered events are looked up, and what a look-up is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from connectors.base import Delivery
from pipeline.core.events import Action, BusinessEvent, Severity, Source
from pipeline.core.fates import End, Fate
from pipeline.core.reconcile import probes
from pipeline.ops.reconcile_store import Store

_STEPS = 200
"""Rows looked at for each place of the sample."""


def sampled(store: Store, sink: str, seed: int, count: int) -> Iterator[tuple[str, Fate]]:
    """Up to `count` delivered events, each once: those that follow the seed's places."""
    most = sum(w.delivered for (stage, _, _), w in store.lines.items() if stage == sink)
    if most <= 2 * count:
        [place] = probes(seed, sink, 1)
        yield from islice(delivered(_around(store, sink, place)), count)
        return
    taken: set[str] = set()
    for place in probes(seed, sink, count):
        for name, fate in delivered(islice(_around(store, sink, place), _STEPS)):
            if name not in taken:
                taken.add(name)
                yield name, fate
                break


def _around(store: Store, sink: str, place: str) -> Iterator[tuple[str, Fate]]:
    yield from store.fates(sink, place)
    for name, fate in store.fates(sink):
        if name >= place:
            return
        yield name, fate


def delivered(rows: Iterator[tuple[str, Fate]]) -> Iterator[tuple[str, Fate]]:
    """Those that are at the target, by the books."""
    return ((name, fate) for name, fate in rows if fate.end is End.DELIVERED)


def delivery(event_id: str, fate: Fate) -> Delivery:
    """What a look-up needs of an event: its key, its device, and what it is about."""
    return Delivery(
        key=event_id,
        event=BusinessEvent(
            id=event_id,
            type="",
            tenant=fate.tenant,
            device_id=fate.device_id,
            asset_id=None,
            customer_id=None,
            severity=Severity.INFO,
            confidence=0.0,
            summary="",
            detector="",
            metric="",
            rule="",
            correlation_id=event_id,
            occurred_at_ms=fate.at_ms,
            observed_at_ms=fate.at_ms,
            source=Source(topic="", partition=0, offset=0, index=0, session=0, sequence=-1),
            snapshot=(),
            action=Action(fate.action),
            entity_id=fate.entity_id,
        ),
    )
