"""SenML in JSON (RFC 8428): a pack of records, resolved, then grouped by time to samples.

What is taken: base name, time, unit, value and version; name, unit, time; numeric and
Boolean values (as 1 and 0). Strings, opaque data and sums are no readings of ours and are
refused one by one. Units are read and not carried on: a metric's unit is its rule's.

The device is the MQTT topic's. A base name that names the device (a URN, or a text ending
in ':' or '/') is therefore left out of the metric's name; any other is put before it.

SenML has no sequence numbers. It allows further labels, so a device that numbers its
samples puts our "session" and "seq" on one or all records of an instant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.bridge.decoders.fields import (
    Bad,
    RefusedError,
    count_of,
    in_range,
    number,
    quoted,
    value_of,
)
from pipeline.core.quarantine import Reason
from pipeline.core.telemetry import NO_SEQUENCE, Sample

VERSION = 10
"""RFC 8428 section 4.1, bver: the version of this specification, and the default."""
RELATIVE_BELOW_S = 2**28
"""RFC 8428 section 4.5.3: smaller times are seconds relative to now, others since 1970."""

_BASE = frozenset({"bn", "bt", "bu", "bv", "bs", "bver"})
_VALUES = ("v", "vs", "vb", "vd")
_LABELS = _BASE | {"n", "u", "v", "vs", "vb", "vd", "s", "t", "ut"}


@dataclass(slots=True)
class _Base:
    """Base fields in force: each holds from its record on, until given again."""

    name: str = ""
    time_s: float = 0.0
    value: float = 0.0


@dataclass(slots=True)
class _Instant:
    """What the records of one time give together: a sample."""

    session: int | None = None
    sequence: int | None = None
    readings: dict[str, float] = field(default_factory=dict)

    def take(self, record: dict[str, Any], metric: str, value: float) -> None:
        """Add one reading; refused where it contradicts what is there."""
        session = count_of("session", record, None)
        sequence = count_of("seq", record, None)
        if metric in self.readings:
            raise RefusedError(
                Reason.INVALID_FIELD, f"Metric {metric} is given twice for one instant."
            )
        if _differ(session, self.session) or _differ(sequence, self.sequence):
            raise RefusedError(
                Reason.INVALID_FIELD, f"Metric {metric} has another number than its instant."
            )
        self.session = self.session if session is None else session
        self.sequence = self.sequence if sequence is None else sequence
        self.readings[metric] = value


def _differ(new: int | None, old: int | None) -> bool:
    return new is not None and old is not None and new != old


def is_senml(item: Any) -> bool:  # noqa: ANN401 - JSON gives anything
    """Whether a JSON value has the shape of a SenML record."""
    return type(item) is dict and not _LABELS.isdisjoint(item)


def decode_pack(
    device_id: str, records: list[Any], received_ms: int, samples: list[Sample], bad: list[Bad]
) -> None:
    """Append what a pack gives, one sample per instant in order of first use.

    Raises RefusedError where the pack as a whole cannot be read: an unusable base field or
    a label that must be understood and is not would make every later record wrong.
    """
    base = _Base()
    instants: dict[int, _Instant] = {}
    refused: list[Bad] = []
    for record in records:
        if type(record) is not dict:
            refused.append(
                Bad(Reason.UNKNOWN_FORMAT, f"A SenML record is {quoted(record)}, not an object.")
            )
            continue
        _update(base, record)
        if record.keys() <= _BASE:
            continue
        try:
            time_ms, metric, value = _resolve(base, record, received_ms)
            instants.setdefault(time_ms, _Instant()).take(record, metric, value)
        except RefusedError as error:
            refused.append(error.bad)
    samples.extend(
        Sample(
            device_id,
            instant.session or 0,
            NO_SEQUENCE if instant.sequence is None else instant.sequence,
            time_ms,
            received_ms,
            tuple(instant.readings.items()),
        )
        for time_ms, instant in instants.items()
        if instant.readings
    )
    bad.extend(refused)


def _update(base: _Base, record: dict[str, Any]) -> None:
    for label in record:
        if label.endswith("_"):
            raise RefusedError(
                Reason.INVALID_FIELD,
                f"SenML label {quoted(label)} must be understood (RFC 8428, 4.4) and is not.",
            )
    if record.get("bver", VERSION) != VERSION or type(record.get("bver")) is bool:
        raise RefusedError(
            Reason.INVALID_FIELD,
            f"SenML version 'bver' is {quoted(record['bver'])}: only {VERSION} is taken.",
        )
    if type(record.get("bn", "")) is not str or type(record.get("bu", "")) is not str:
        raise RefusedError(Reason.INVALID_FIELD, "SenML fields 'bn' and 'bu' must be texts.")
    base.name = record.get("bn", base.name)
    base.time_s = _number(record, "bt", base.time_s)
    base.value = _number(record, "bv", base.value)


def _number(record: dict[str, Any], label: str, default: float) -> float:
    value = number(record.get(label, default))
    if value is None:
        raise RefusedError(
            Reason.INVALID_FIELD,
            f"SenML field '{label}' is {quoted(record[label])}: it must be a number.",
        )
    return value


def _resolve(base: _Base, record: dict[str, Any], received_ms: int) -> tuple[int, str, float]:
    name = record.get("n", "")
    if type(name) is not str or type(record.get("u", "")) is not str:
        raise RefusedError(Reason.INVALID_FIELD, "SenML fields 'n' and 'u' must be texts.")
    names_device = base.name.startswith("urn:") or base.name.endswith((":", "/"))
    metric = name if names_device else base.name + name
    if not metric:
        raise RefusedError(Reason.MISSING_FIELD, "A SenML record has no name 'n' of a metric.")
    given = [label for label in _VALUES if label in record]
    if not given:
        raise RefusedError(
            Reason.MISSING_FIELD,
            f"SenML record {quoted(metric)} has no value 'v' or 'vb' (sums are not taken).",
        )
    if len(given) > 1:
        raise RefusedError(
            Reason.INVALID_FIELD, f"SenML record {quoted(metric)} has more than one value."
        )
    value = value_of(metric, _raw_value(given[0], record[given[0]], base))
    if isinstance(value, Bad):
        raise RefusedError(value.reason, value.detail)
    return _time_ms(base.time_s + _number(record, "t", 0.0), received_ms), metric, value


def _raw_value(label: str, raw: Any, base: _Base) -> Any:  # noqa: ANN401 - as above
    """What `value_of` judges: a number, or whatever stood in a number's place."""
    if label == "v":
        value = number(raw)
        return raw if value is None else base.value + value
    if label == "vb" and type(raw) is bool:
        return float(raw)
    raise RefusedError(
        Reason.NOT_NUMERIC, f"SenML field '{label}' is {quoted(raw)}, which is not numeric."
    )


def _time_ms(seconds: float, received_ms: int) -> int:
    # The bound keeps an absurd number finite; in_range refuses it.
    milliseconds = round(min(max(seconds * 1000, -1e18), 1e18))
    if seconds < RELATIVE_BELOW_S:
        return in_range(received_ms + milliseconds, received_ms)
    return in_range(milliseconds, received_ms)
