"""Why input could not become a reading: a closed set of reasons.

A reason is a code for machines (counted, alerted on); the sentence beside it is for the
person who mends the device. Nothing is dropped without one of these.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reason codes of schema quarantined.v1."""

    BAD_TOPIC = "bad_topic"
    """The MQTT topic does not name a tenant and a device by the rules of ids."""
    OVERSIZED = "oversized"
    """The payload is longer than the bridge decodes."""
    NOT_JSON = "not_json"
    """The payload is no JSON text (RFC 8259), or nested too deep to be telemetry."""
    UNKNOWN_FORMAT = "unknown_format"
    """It is JSON, and none of the forms of schemas/json."""
    TOO_MANY_READINGS = "too_many_readings"
    """The message holds more readings than one message may."""
    MISSING_FIELD = "missing_field"
    """A field that its form needs is not there."""
    INVALID_FIELD = "invalid_field"
    """A field has a type or value that its form does not allow."""
    NOT_NUMERIC = "not_numeric"
    """The value is no number."""
    NOT_FINITE = "not_finite"
    """The value is beyond what a 64-bit float holds."""
    INVALID_TIME = "invalid_time"
    """The timestamp is neither milliseconds nor RFC 3339."""
    TIME_IN_FUTURE = "time_in_future"
    """The timestamp is more than a day after arrival: the device's clock is wrong."""
    TIME_TOO_OLD = "time_too_old"
    """The timestamp is before 2000-01-01: the device's clock was never set."""
    UNREADABLE_BATCH = "unreadable_batch"
    """A message of telemetry.readings that is no TelemetryBatch (another producer's)."""
    UNREADABLE_EVENT = "unreadable_event"
    """A message of events.business that is no BusinessEvent (another producer's)."""
    UNREADABLE_RECORD = "unreadable_record"
    """A message of delivery.results or of the quarantine itself that is no such record."""


DETAIL_CHARACTERS = 500
"""Greatest length of the sentence for a person: it may quote input."""
