"""What a message of each topic says to the books: decoding, and which stage it is about.

Stages are the sinks by name and, for each sink, fan-out: an event that the routing table sends
to a sink is accepted there when it is in events.business, and ended when it is in the sink's
topic. The routing table is the one at the time of reading.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.events import Action, BusinessEvent
from pipeline.core.fates import End, Fold, Result, Seen
from pipeline.core.routing import Route, sinks_for, sinks_of
from pipeline.ops.reconcile_store import Store
from pipeline.topology import EVENTS, LAKE, RESULTS, parked_topic, sink_topic
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import decode_event

TENANTS_MAX = 1_000
"""Tenants with lines of their own; what comes of others goes to one line."""
OTHERS = "(others)"
_TEXT_MAX = 256
_FANOUT = "fanout:"


def fanout_stage(sink: str) -> str:
    """Name of the stage from events.business to the sink's topic."""
    return _FANOUT + sink


def sink_of(stage: str) -> str:
    """The sink that a stage is about."""
    return stage.removeprefix(_FANOUT)


def is_fanout(stage: str) -> bool:
    """Whether it is fan-out's stage and not the sink's own."""
    return stage.startswith(_FANOUT)


def stages(routes: Sequence[Route]) -> tuple[str, ...]:
    """Every stage, in the order data goes through them."""
    return tuple(stage for sink in sinks_of(routes) for stage in (fanout_stage(sink), sink))


class Reader:
    """Takes messages of `books.event_topics` into a store."""

    def __init__(self, store: Store, codec: Codec, routes: Sequence[Route]) -> None:
        self._store = store
        self._fold = Fold(store)
        self._codec = codec
        self._routes = routes
        sinks = sinks_of(routes)
        self._sinks = {sink_topic(sink): sink for sink in sinks}
        self._parked = {parked_topic(sink): sink for sink in sinks if sink != LAKE}
        self._lowest: dict[str, int] = {}
        self._tenants = {tenant for _, tenant, _ in store.lines}
        self.unreadable = 0
        """Messages that were no record of their schema, since this process began."""

    def take(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        at_ms: int,
        key: bytes | None,
        value: bytes | None,
    ) -> None:
        """Fold one message in, and note that it was read; an unreadable one is counted."""
        try:
            self._take(topic, (partition, offset, at_ms), key or b"", value)
        except UnreadableError:
            self.unreadable += 1
        self._store.read_to(topic, partition, offset + 1)

    def _take(
        self, topic: str, place: tuple[int, int, int], key: bytes, value: bytes | None
    ) -> None:
        fold = self._fold
        if topic == EVENTS:
            event = decode_event(self._codec, value)
            message = self._seen(event, place)
            for sink in sinks_for(event, self._routes):
                fold.seen(fanout_stage(sink), message)
        elif topic == RESULTS:
            self._result(place[0], value)
        elif topic in self._sinks:
            sink = self._sinks[topic]
            message = self._seen(decode_event(self._codec, value), place)
            fold.seen(sink, message)
            fold.ended(fanout_stage(sink), _forwarded(message))
        elif value is None:
            fold.unparked(self._parked[topic], place[0], key)
        else:
            row = self._codec.decode("parked_event.v1", value)
            event = decode_event(self._codec, row["payload"])
            fold.parked(self._parked[topic], key, self._seen(event, place))

    def _seen(self, event: BusinessEvent, place: tuple[int, int, int]) -> Seen:
        _check(event.id, event.device_id)
        partition, offset, at_ms = place
        return Seen(
            event_id=event.id,
            tenant=self._tenant(event.tenant),
            device_id=event.device_id,
            partition=partition,
            offset=offset,
            at_ms=at_ms,
            action=event.action.value,
            entity_id="" if event.action is Action.RAISE else event.entity,
        )

    def _result(self, partition: int, value: bytes | None) -> None:
        record = self._codec.decode("delivery_result.v2", value)
        _check(record["event_id"], record["device_id"])
        if record["sink"] not in self._sinks.values():
            return
        target = record["target_id"] or ""
        self._fold.ended(
            record["sink"],
            Result(
                event_id=record["event_id"],
                tenant=self._tenant(record["tenant"]),
                device_id=record["device_id"],
                partition=partition,
                end=End(record["outcome"]),
                at_ms=record["at_ms"],
                target_id=target[:_TEXT_MAX],
                action=record["action"],
                entity_id=record["entity_id"],
            ),
        )
        if target.isdecimal():
            self._lowest_record(record["sink"], int(target))

    def _lowest_record(self, sink: str, record: int) -> None:
        lowest = self._lowest.get(sink)
        if lowest is None:
            note = self._store.note(lowest_note(sink))
            lowest = record + 1 if note is None else int(note)
        if record < lowest:
            self._store.put_note(lowest_note(sink), b"%d" % record)
        self._lowest[sink] = min(lowest, record)

    def _tenant(self, tenant: str) -> str:
        if tenant in self._tenants:
            return tenant
        if len(self._tenants) >= TENANTS_MAX or len(tenant) > _TEXT_MAX or "\x00" in tenant:
            return OTHERS
        self._tenants.add(tenant)
        return tenant


def lowest_note(sink: str) -> str:
    """Name of the note with the lowest record at the target that a result named."""
    return f"lowest {sink}"


def _check(*texts: str) -> None:
    if any(not text or len(text) > _TEXT_MAX for text in texts):
        raise UnreadableError(f"an id is empty or longer than {_TEXT_MAX} characters")


def _forwarded(message: Seen) -> Result:
    return Result(
        event_id=message.event_id,
        tenant=message.tenant,
        device_id=message.device_id,
        partition=message.partition,
        end=End.DELIVERED,
        at_ms=message.at_ms,
    )
