"""Our own forms: one reading, one sample of many metrics, and arrays of both."""

from __future__ import annotations

from typing import Any

from pipeline.bridge.decoders.fields import (
    Bad,
    RefusedError,
    count_of,
    quoted,
    time_of,
    value_of,
)
from pipeline.core.quarantine import Reason
from pipeline.core.telemetry import NO_SEQUENCE, Sample


def is_native(item: Any) -> bool:  # noqa: ANN401 - JSON gives anything
    """Whether a JSON value has the shape of our own forms, be it complete or not."""
    return type(item) is dict and ("metrics" in item or "metric" in item or "value" in item)


def size_of(item: Any) -> int:  # noqa: ANN401 - the same
    """How many readings an item claims to hold; 1 where it is none of ours."""
    metrics = item.get("metrics") if type(item) is dict else None
    return len(metrics) if type(metrics) is dict else 1


def decode_item(
    device_id: str,
    item: Any,  # noqa: ANN401 - the same
    received_ms: int,
    samples: list[Sample],
    bad: list[Bad],
) -> None:
    """Append what one item gives: at most one sample, and what was refused of it."""
    try:
        metrics = _metrics(item)
        sample = (
            count_of("session", item, 0),
            count_of("seq", item, NO_SEQUENCE),
            time_of(item, received_ms),
        )
    except RefusedError as error:
        bad.append(error.bad)
        return
    readings: list[tuple[str, float]] = []
    for metric, raw in metrics.items():
        value = value_of(metric, raw)
        if isinstance(value, Bad):
            bad.append(value)
        else:
            readings.append((metric, value))
    if readings:
        samples.append(Sample(device_id, *sample, received_ms, tuple(readings)))


def _metrics(item: Any) -> dict[str, Any]:  # noqa: ANN401 - the same
    if not is_native(item):
        raise RefusedError(
            Reason.UNKNOWN_FORMAT,
            f"An item is {quoted(item)}: it needs 'metric' and 'value', or 'metrics'.",
        )
    if "metrics" in item:
        metrics = item["metrics"]
        if "metric" in item or "value" in item:
            raise RefusedError(
                Reason.UNKNOWN_FORMAT, "An item has both 'metrics' and 'metric' or 'value'."
            )
        if type(metrics) is not dict:
            raise RefusedError(
                Reason.INVALID_FIELD,
                f"Field 'metrics' is {quoted(metrics)}: it must be an object of numbers.",
            )
        if not metrics:
            raise RefusedError(Reason.MISSING_FIELD, "Field 'metrics' has no metric in it.")
        return metrics
    for name in ("metric", "value"):
        if name not in item:
            raise RefusedError(Reason.MISSING_FIELD, f"Field '{name}' is missing.")
    metric = item["metric"]
    if type(metric) is not str:
        raise RefusedError(
            Reason.INVALID_FIELD, f"Field 'metric' is {quoted(metric)}: it must be a text."
        )
    return {metric: item["value"]}
