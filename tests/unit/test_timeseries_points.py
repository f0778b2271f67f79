"""Readings as points: nothing lost, each key once, the last of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.timeseries.points import Points, keyed, points_of, split_off
from connectors.timeseries.postgres import copy_rows, insert_of, table_of
from pipeline.core.telemetry import Sample
from tests.contract.timeseries_examples import batch

SAMPLES = st.lists(
    st.builds(
        lambda device, at, sequence, readings: Sample(
            device_id=f"t/{device}",
            session=1,
            sequence=sequence,
            time_ms=at,
            received_ms=at,
            readings=tuple(readings),
        ),
        st.sampled_from("abc"),
        st.integers(0, 3),
        st.integers(-1, 2),
        st.lists(st.tuples(st.sampled_from("xyz"), st.floats(-9, 9)), max_size=4),
    ),
    max_size=12,
)
Row = tuple[str, str, int, int, int, float]


def rows(points: Points) -> list[Row]:
    return [
        (points.devices[d], points.metrics[m], at, session, sequence, value)
        for d, m, at, session, sequence, value in zip(
            points.device.tolist(),
            points.metric.tolist(),
            points.time_ms.tolist(),
            points.session.tolist(),
            points.sequence.tolist(),
            points.value.tolist(),
            strict=True,
        )
    ]


def told(batches: Sequence[Sequence[Sample]]) -> list[Row]:
    return [
        (one.device_id, metric, one.time_ms, one.session, one.sequence, value)
        for samples in batches
        for one in samples
        for metric, value in one.readings
    ]


@given(st.lists(SAMPLES, max_size=4))
def test_points_are_the_readings_of_all_messages_in_their_order(
    batches: list[list[Sample]],
) -> None:
    assert rows(points_of([batch(samples) for samples in batches])) == told(batches)


@given(st.lists(SAMPLES, max_size=4), st.booleans())
def test_of_each_key_the_last_is_kept(batches: list[list[Sample]], by_sequence: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    points = keyed(points_of([batch(samples) for samples in batches]), by_sequence=by_sequence)
    size = 5 if by_sequence else 3
    wanted = {row[:size]: row for row in told(batches)}
    assert sorted(rows(points)) == sorted(wanted.values())
    order = list(zip(points.device.tolist(), points.time_ms.tolist(), strict=True))
    assert order == sorted(order)


@given(SAMPLES)
def test_a_store_gets_what_it_can_keep_and_the_rest_is_named(samples: list[Sample]) -> None:
    everything = points_of([batch(samples)])
    good, refused = split_off(
        everything, takes=lambda name: name not in {"t/a", "x"}, first_ms=1, last_ms=2
    )
    assert all(row[0] != "t/a" and row[1] != "x" and 1 <= row[2] <= 2 for row in rows(good))
    assert len(good) + sum(len(points) for _, points in refused) == len(everything)
    assert len({reason for reason, _ in refused}) == len(refused)


def test_the_binary_rows_are_as_postgresql_documents_them() -> None:
    one = Sample(
        device_id="t/a",
        session=1,
        sequence=-1,
        time_ms=946_684_800_001,
        received_ms=0,
        readings=(("x", 0.5),),
    )
    data = copy_rows(points_of([batch([one])]))
    assert data[:19] == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    row = data[19:-2]
    assert row[:10] == bytes.fromhex("0007 00000004 00000000")
    assert row[18:30] == bytes.fromhex("00000008 00000000000003e8")
    assert row[30:42] == bytes.fromhex("00000008 3fe0000000000000")
    assert row[54:66] == bytes.fromhex("00000008 ffffffffffffffff")
    assert row[66:] == bytes.fromhex("00000001 00")
    assert data[-2:] == b"\xff\xff"


@pytest.mark.parametrize("sql", [insert_of("telemetry"), table_of("telemetry")])
def test_the_sql_names_the_whole_key(sql: str) -> None:
    assert "(device_id, metric, time, session, sequence)" in sql


def test_no_points_are_no_rows() -> None:
    nothing = points_of([])
    assert len(keyed(nothing, by_sequence=True)) == 0
    assert nothing.device.dtype == np.int32
