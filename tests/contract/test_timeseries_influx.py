"""InfluxDB: what is written as lines is read back, and every answer means what it should."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.settings import make as make_settings
from connectors.timeseries.base import Retry, Written
from connectors.timeseries.config import TimeseriesSettings, wanted
from connectors.timeseries.influx import InfluxStore, lines
from connectors.timeseries.points import keyed, points_of, split_off
from connectors.timeseries.writer import SEARCHES, TimeseriesWriter, make_store
from pipeline.core.telemetry import DeduplicatedBatch
from pipeline.settings import SettingsError
from tests.contract.timeseries_examples import START_MS, batch, fleet, sample
from tests.sandboxes.box import Box
from tests.sandboxes.influx import BUCKET, ORG, TOKEN, Influx, lines_of, make, point_of
from tests.sandboxes.serve import running


@pytest.fixture
def influx() -> Iterator[Influx]:
    sandbox = make()
    with running(sandbox):
        yield sandbox


def settings(base: str, **changes: Any) -> TimeseriesSettings:  # noqa: ANN401 - any field
    told = {"url": base, "org": ORG, "bucket": BUCKET, "token": TOKEN, "timeout_s": 1.0}
    return make_settings(TimeseriesSettings, told | changes)


@pytest.fixture
async def writer(influx: Influx) -> AsyncIterator[TimeseriesWriter]:
    made = TimeseriesWriter(make_store(settings(influx.base)))
    yield made
    await made.close()


async def write(influx: Influx, *batches: DeduplicatedBatch, **changes: Any) -> Written | Retry:  # noqa: ANN401 - settings
    made = TimeseriesWriter(make_store(settings(influx.base, **changes)))
    try:
        return await made.write(batches)
    finally:
        await made.close()


def there(influx: Influx) -> dict[tuple[str, str, int], float]:
    """(device, metric, time in ms) → value."""
    return {
        (dict(tags)["device"], name, at // 1_000_000): value
        for (_, tags, at), fields in influx.points.items()
        for name, value in fields.items()
    }


def told(*batches: DeduplicatedBatch) -> dict[tuple[str, str, int], float]:
    """The same of batches, the last of each key."""
    points = points_of(batches)
    return {
        (points.devices[device], points.metrics[metric], at): value
        for device, metric, at, value in zip(
            points.device.tolist(),
            points.metric.tolist(),
            points.time_ms.tolist(),
            points.value.tolist(),
            strict=True,
        )
    }


# -- lines

NAMES = st.text(st.sampled_from("ab ,=\\\"'#_é過-/"), min_size=1, max_size=8)


@given(
    samples=st.lists(
        st.builds(
            lambda device, at, metric, value: replace(
                sample(f"t/{device}", at), readings=((metric, value),)
            ),
            NAMES,
            st.integers(-3, 3),
            NAMES,
            st.floats(allow_nan=False, allow_infinity=False),
        ),
        max_size=12,
    )
)
def test_what_is_written_as_lines_is_read_back(samples: list[Any]) -> None:
    store = InfluxStore
    good, _ = split_off(
        points_of([batch(samples)]),
        takes=lambda name: store.takes(store, name),  # type: ignore[arg-type]  # it needs no instance
        first_ms=store.first_ms,
        last_ms=store.last_ms,
    )
    points = keyed(good, by_sequence=False)
    read = [point_of(line, 1_000_000) for line in lines_of(lines("m", points))]
    made = {
        (dict(one.tags)["device"], name, (one.time_ns or 0) // 1_000_000): value
        for one in read
        for name, value in one.fields.items()
    }
    kept = {k: v for k, v in told(batch(samples)).items() if k[0] in points.devices}
    assert made == {
        k: v
        for k, v in kept.items()
        if all(store.takes(store, n) for n in k[:2])  # type: ignore[arg-type]  # as above
    }
    assert all(dict(one.tags)["tenant"] == "t" for one in read)


def test_a_sample_is_one_line_with_a_field_for_each_metric() -> None:
    points = keyed(points_of([batch([sample(at=1, a=1.5, b=-2e300)])]), by_sequence=False)
    assert lines("telemetry", points) == (
        f"telemetry,device=acme/truck-1,tenant=acme a=1.5,b=-2e+300 {START_MS + 1}"
    )
    assert lines("telemetry", points.take(slice(0, 0))) == ""


# -- writing


async def test_every_reading_is_there_once_however_often_it_is_written(
    influx: Influx, writer: TimeseriesWriter
) -> None:
    messages = [fleet(offset=n) for n in range(3)]
    for _ in range(3):
        assert await writer.write(messages) == Written(points=72)
    assert there(influx) == told(*messages)
    assert {effect.op for effect in influx.journal.effects} == {"create"}


async def test_of_two_values_for_one_millisecond_the_later_stays(influx: Influx) -> None:
    first, second = sample(sequence=1, a=1.0), sample(sequence=2, a=2.0)
    for _ in range(2):
        assert await write(influx, batch([first, second])) == Written(points=1)
    assert list(there(influx).values()) == [2.0]


async def test_a_bad_point_is_set_aside_and_its_neighbours_are_there(influx: Influx) -> None:
    influx.knobs.set_errors([{"code": "no such field here", "key": "'rpm'", "times": None}])
    outcome = await write(influx, fleet())
    assert isinstance(outcome, Written)
    assert outcome.points == 12
    assert sum(one.points for one in outcome.refused) == 12
    assert all("no such field here" in one.reason for one in outcome.refused)
    assert {metric for _, metric, _ in there(influx)} == {"coolant_c"}


async def test_a_store_that_refuses_everything_is_not_asked_for_ever(influx: Influx) -> None:
    influx.knobs.set_errors([{"code": "full", "times": None}])
    made = TimeseriesWriter(make_store(settings(influx.base)))
    outcome = await made.write([fleet(devices=40, samples=10)])
    await made.close()
    assert isinstance(outcome, Written)
    assert (outcome.points, sum(one.points for one in outcome.refused)) == (0, 800)
    assert made.counters.requests <= 2 * SEARCHES + 1


async def test_what_the_store_can_never_keep_is_not_sent_at_all(influx: Influx) -> None:
    unfit = (
        sample("acme/a\nb"),
        sample("acme/a\\"),
        replace(sample(), readings=(("time", 1.0), ("_x", 1.0), ("a\nb", 1.0))),
        replace(sample(at=1), time_ms=2**62),
        replace(sample(at=2), readings=(("a", math.nan), ("b", math.inf))),
    )
    outcome = await write(influx, batch([*unfit, sample(at=3)]))
    assert isinstance(outcome, Written)
    assert outcome.points == 1
    assert sum(one.points for one in outcome.refused) == 8
    assert len(influx.points) == 1
    assert influx.requests == 1


async def test_many_points_go_in_several_requests_and_one_that_is_too_large_is_halved(
    influx: Influx,
) -> None:
    message = fleet(devices=30, samples=10)
    assert await write(influx, message, batch=100) == Written(points=600)
    assert influx.requests == 6
    influx.forget()
    influx.knobs.set_faults([{"status": 413, "times": 1}])
    assert await write(influx, message) == Written(points=600)
    assert there(influx) == told(message)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 401},
        {"status": 404},
        {"status": 500},
        {"status": 502},
        {"status": 503},
        {"status": 200, "body_text": "<html>"},
        {"status": 302},
        {"mode": "hang"},
        {"mode": "drop_before"},
        {"mode": "drop_after"},
    ],
    ids=repr,
)
async def test_whatever_else_it_says_the_caller_waits_and_nothing_is_lost(
    influx: Influx, writer: TimeseriesWriter, fault: dict[str, Any]
) -> None:
    influx.knobs.set_faults([{"times": 1, **fault}])
    outcome = await writer.write([fleet()])
    assert isinstance(outcome, Retry)
    assert outcome.reason.endswith(".")
    assert await writer.write([fleet()]) == Written(points=24)
    assert there(influx) == told(fleet())


async def test_a_wish_to_wait_is_passed_on(influx: Influx, writer: TimeseriesWriter) -> None:
    influx.knobs.set_faults([{"status": 429, "headers": {"retry-after": "7"}}])
    outcome = await writer.write([fleet()])
    assert isinstance(outcome, Retry)
    assert outcome.wait_s == 7.0


async def test_a_dead_store_is_waited_for() -> None:
    with running(make()) as base:
        gone = base
    made = TimeseriesWriter(make_store(settings(gone)))
    outcome = await made.write([fleet()])
    await made.close()
    assert isinstance(outcome, Retry)
    assert "unreachable" in outcome.reason


async def test_a_wrong_token_is_told_and_the_right_one_does_not_come_back(influx: Influx) -> None:
    outcome = await write(influx, fleet(), token="another-token")
    assert isinstance(outcome, Retry)
    assert "401" in outcome.reason
    influx.knobs.set_faults([{"mode": "echo", "status": status} for status in (400, 500)])
    for _ in range(2):
        assert TOKEN not in repr(await write(influx, batch([sample()])))
    assert TOKEN not in repr(settings(influx.base))


async def test_writers_side_by_side_leave_each_point_once(influx: Influx) -> None:
    messages = [fleet(offset=n) for n in range(4)]
    outcomes = await asyncio.gather(*(write(influx, *messages) for _ in range(4)))
    assert all(one == Written(points=96) for one in outcomes)
    assert there(influx) == told(*messages)


# -- settings


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "http://influx.example:8086"}, "TIMESERIES_URL"),
        ({"url": "postgresql://h"}, "names no database"),
        ({"url": "postgresql://u:secret@h/db"}, "TIMESERIES_URL"),
        ({"url": "postgresql://h/db"}, "TIMESERIES_USERNAME"),
        ({"token": None}, "TIMESERIES_TOKEN"),
        ({"bucket": ""}, "TIMESERIES_BUCKET"),
        ({"table": "a; drop"}, "TIMESERIES_TABLE"),
        ({"measurement": "a b"}, "TIMESERIES_MEASUREMENT"),
        ({"ca_file": "/nowhere"}, "TIMESERIES_CA_FILE"),
    ],
    ids=repr,
)
def test_what_cannot_be_used_is_refused_in_a_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        settings("https://influx.example:8086", **changes)
    assert "secret" not in str(caught.value)


def test_without_an_address_there_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIMESERIES_URL", raising=False)
    assert wanted() is None
    monkeypatch.setenv("TIMESERIES_URL", "https://influx.example:8086")
    with pytest.raises(SettingsError, match="TIMESERIES_TOKEN"):
        wanted()
    monkeypatch.setenv("TIMESERIES_TOKEN", TOKEN)
    monkeypatch.setenv("TIMESERIES_BUCKET", BUCKET)
    made = wanted()
    assert made is not None
    assert made.kind == "influxdb"


def test_the_sandbox_can_be_held_as_any_other(influx: Influx) -> None:
    import httpx  # noqa: PLC0415 - beside its only use

    with httpx.Client() as client:
        assert Box(influx.base, client).stats()["requests"] == 0
