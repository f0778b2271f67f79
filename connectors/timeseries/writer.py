"""Points into a store: in requests of its size, bad ones found and set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from connectors.timeseries.base import Done, Refused, Retry, Store, Written
from connectors.timeseries.config import TimeseriesSettings
from connectors.timeseries.influx import InfluxStore
from connectors.timeseries.points import Points, keyed, points_of, split_off
from connectors.timeseries.postgres import PostgresStore
from pipeline.core.telemetry import DeduplicatedBatch

SEARCHES = 200
"""Most requests that look for bad points in one write; what is refused after that is set aside
as a whole, though the store may have taken some of it."""
_SHOWN = 20
"""Most points of an example."""


@dataclass(slots=True, kw_only=True)
class Counters:
    """Totals of one writer since it started. `repeated` were left out for a later one's key."""

    requests: int = 0
    points: int = 0
    repeated: int = 0
    refused: int = 0
    retries: int = 0


def make_store(settings: TimeseriesSettings) -> Store:
    """The store that the settings name, not connected yet."""
    return PostgresStore(settings) if settings.kind == "postgresql" else InfluxStore(settings)


class TimeseriesWriter:
    """Writes messages of telemetry.deduplicated to one store.

    Delivery guarantee: `Written` means that every point is there or among the refused, however
    often it was called before with the same messages; each key is there once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.counters = Counters()

    async def write(self, batches: Sequence[DeduplicatedBatch]) -> Written | Retry:
        """All readings of these messages. Where it gives a Retry, call again with the same."""
        store = self._store
        everything = points_of(batches)
        good, unfit = split_off(
            everything, takes=store.takes, first_ms=store.first_ms, last_ms=store.last_ms
        )
        refused = [_refused(reason, points) for reason, points in unfit]
        points = keyed(good, by_sequence=store.by_sequence)
        left = [points.take(slice(at, at + store.most)) for at in range(0, len(points), store.most)]
        left.reverse()
        written = searches = 0
        while left:
            part = left.pop()
            answer = await store.put(part)
            self.counters.requests += 1
            if isinstance(answer, Retry):
                self.counters.retries += 1
                return answer
            if isinstance(answer, Done):
                written += len(part)
            elif len(part) > 1 and searches < SEARCHES:
                searches += 1
                half = len(part) // 2
                left += (part.take(slice(half, None)), part.take(slice(0, half)))
            else:
                refused.append(_refused(answer.reason, part))
        self.counters.points += written
        self.counters.repeated += len(good) - len(points)
        self.counters.refused += sum(one.points for one in refused)
        return Written(points=written, refused=tuple(refused))

    async def close(self) -> None:
        """Let the store go."""
        await self._store.close()


def _refused(reason: str, points: Points) -> Refused:
    shown = points.take(slice(0, _SHOWN))
    devices = [points.devices[place] for place in shown.device.tolist()]
    example = [
        {"device_id": device, "metric": points.metrics[metric], "time_ms": at, "value": value}
        for device, metric, at, value in zip(
            devices,
            shown.metric.tolist(),
            shown.time_ms.tolist(),
            shown.value.tolist(),
            strict=True,
        )
    ]
    return Refused(points=len(points), reason=reason, device_id=devices[0], example=_json(example))


def _json(example: object) -> bytes:
    try:
        return orjson.dumps(example)
    except orjson.JSONEncodeError:
        return repr(example).encode("utf-8", "replace")
