"""The map: every topic, who writes it, who reads it, how it is kept.

Topics are created from this table, the README's picture is drawn from it, and a test fails
where an agent consumes or produces what the table does not say. Topics that carry one
device's data share PARTITIONS and are keyed by device id ('tenant/device', murmur2), so
everything about one device stays in order on one partition from the bridge to the sink.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

PARTITIONS = 4
"""Default partitions of a device-keyed topic; FIELDLINE_PARTITIONS overrides it."""

READINGS = "telemetry.readings"
DEDUPLICATED = "telemetry.deduplicated"
QUARANTINE = "telemetry.quarantine"
EVENTS = "events.business"
RESULTS = "delivery.results"
RULES = "detection.rules"
FEEDBACK = "detection.feedback"
IDENTITY = "identity.map"
AUDIT = "operations.audit"
REVIEW = "operations.review"
BALANCE = "operations.balance"
DETECT_STATE = "fieldline-detect-devices-changelog"

_DAY_MS = 86_400_000


class Cleanup(StrEnum):
    """Kafka's cleanup.policy."""

    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic. `key` says what the message key is; `retention_ms` -1 means kept for ever."""

    name: str
    key: str
    schema: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    retention_ms: int = 7 * _DAY_MS
    cleanup: Cleanup = Cleanup.DELETE
    keyed_by_device: bool = True

    @property
    def is_changelog(self) -> bool:
        """Whether its readers keep no place in it: they read it from its start, as a table."""
        return self.cleanup is Cleanup.COMPACT

    def partitions(self, device_partitions: int = PARTITIONS) -> int:
        """Partition count: one where order across devices matters more than scale."""
        return device_partitions if self.keyed_by_device else 1


def sink_topic(sink: str) -> str:
    """Topic of one sink's events."""
    return f"sink.{sink}"


def parked_topic(sink: str) -> str:
    """Changelog of the table in which a sink's worker parks what waits long."""
    return f"fieldline-deliver-{sink}-parked-changelog"


def dlq_topic(sink: str) -> str:
    """Topic of one sink's dead letters."""
    return f"sink.{sink}.dlq"


LAKE = "lake"
TIMESERIES = "timeseries"
"""Worker of the time-series store; there where TIMESERIES_URL is set."""

_STREAM = (
    Topic(
        name=READINGS,
        key="device id of the first sample",
        schema="telemetry_batch.v1",
        producers=("bridge",),
        consumers=("detect",),
    ),
    Topic(
        name=QUARANTINE,
        key="MQTT topic",
        schema="quarantined.v1",
        producers=("bridge", "detect", "fanout", "archive"),
        consumers=("archive", "operator"),
        retention_ms=30 * _DAY_MS,
        keyed_by_device=False,
    ),
    Topic(
        name=DEDUPLICATED,
        key="as its source",
        schema="deduplicated_batch.v1",
        producers=("detect",),
        consumers=("archive",),
    ),
    Topic(
        name=DETECT_STATE,
        key="device id",
        schema="device_state (ours)",
        producers=("detect",),
        consumers=("detect",),
        retention_ms=-1,
        cleanup=Cleanup.COMPACT,
    ),
    Topic(
        name=RULES,
        key="'current', or 'version/N'",
        schema="rules record (JSON)",
        producers=("operator",),
        consumers=("detect", "operator"),
        retention_ms=-1,
        cleanup=Cleanup.COMPACT,
        keyed_by_device=False,
    ),
    Topic(
        name=FEEDBACK,
        key="event id",
        schema="feedback record (JSON)",
        producers=("operator",),
        consumers=("operator",),
        retention_ms=-1,
        keyed_by_device=False,
    ),
    Topic(
        name=EVENTS,
        key="device id",
        schema="business_event.v2",
        producers=("detect",),
        consumers=("fanout", "reconciler"),
        retention_ms=30 * _DAY_MS,
    ),
)


def topics(sinks: tuple[str, ...], *, timeseries: bool = False) -> tuple[Topic, ...]:
    """Every topic of a pipeline with these sinks, in the order data goes through them.

    `timeseries`: with the worker of the time-series store.
    """
    out = [_with_timeseries(topic) for topic in _STREAM] if timeseries else list(_STREAM)
    for sink in sinks:
        worker = "archive" if sink == LAKE else f"deliver-{sink}"
        if sink != LAKE:
            out.append(
                Topic(
                    name=parked_topic(sink),
                    key="device id and offset",
                    schema="parked_event.v1",
                    producers=(worker,),
                    consumers=(worker, "reconciler"),
                    retention_ms=-1,
                    cleanup=Cleanup.COMPACT,
                )
            )
        out.append(
            Topic(
                name=sink_topic(sink),
                key="device id",
                schema="business_event.v2",
                producers=("fanout", "operator"),
                consumers=(worker, "reconciler"),
                retention_ms=30 * _DAY_MS,
            )
        )
        out.append(
            Topic(
                name=dlq_topic(sink),
                key="device id",
                schema="dead_letter.v2",
                producers=(worker, "operator"),
                consumers=("operator",),
                retention_ms=-1,
                keyed_by_device=False,
            )
        )
    out.append(
        Topic(
            name=RESULTS,
            key="device id",
            schema="delivery_result.v2",
            producers=(*(f"deliver-{s}" for s in sinks if s != LAKE), "operator"),
            consumers=("archive", "operator", "reconciler"),
            retention_ms=90 * _DAY_MS,
        )
    )
    out += (
        Topic(
            name=IDENTITY,
            key="kind/id of a device, asset or customer",
            schema="identity_record.v1",
            producers=("operator",),
            consumers=("detect", *(f"deliver-{s}" for s in sinks if s != LAKE), "operator"),
            retention_ms=-1,
            cleanup=Cleanup.COMPACT,
            keyed_by_device=False,
        ),
        Topic(
            name=AUDIT,
            key="event id",
            schema="operator_action.v1",
            producers=("operator",),
            consumers=("operator", "reconciler"),
            retention_ms=-1,
            keyed_by_device=False,
        ),
        Topic(
            name=REVIEW,
            key="id of the mismatch",
            schema="review_item.v1",
            producers=("reconciler", "operator"),
            consumers=("operator", "reconciler"),
            retention_ms=-1,
            keyed_by_device=False,
        ),
        Topic(
            name=BALANCE,
            key="sink/tenant/partition",
            schema="balance_line.v1",
            producers=("reconciler",),
            consumers=("operator",),
            retention_ms=-1,
            cleanup=Cleanup.COMPACT,
            keyed_by_device=False,
        ),
    )
    return tuple(out)


def _with_timeseries(topic: Topic) -> Topic:
    if topic.name == DEDUPLICATED:
        return replace(topic, consumers=(*topic.consumers, TIMESERIES))
    if topic.name == QUARANTINE:
        return replace(topic, producers=(*topic.producers, TIMESERIES))
    return topic
