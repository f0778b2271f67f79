from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.dedup import Verdict
from pipeline.core.remainder import without_duplicates
from pipeline.core.telemetry import DeduplicatedBatch, Sample, TelemetryBatch, pack
from pipeline.wire.avro import Codec, UnreadableError
from pipeline.wire.records import (
    decode_batch,
    decode_deduplicated,
    decode_event,
    encode_batch,
    encode_deduplicated,
    encode_event,
)
from tests.unit.examples import event

samples = st.builds(
    Sample,
    st.sampled_from(["acme/a", "acme/b", "other/ü"]),
    st.integers(0, 2**40),
    st.integers(-1, 2**62),
    st.integers(0, 2**45),
    st.integers(0, 2**45),
    st.lists(
        st.tuples(st.sampled_from(["T30", "P30", "x"]), st.floats(allow_nan=False)), max_size=5
    ).map(tuple),
)


def same(one: TelemetryBatch, other: TelemetryBatch) -> bool:
    return (one.devices, one.metrics) == (other.devices, other.metrics) and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in TelemetryBatch.__slots__
        if name not in {"devices", "metrics"}
    )


@given(st.lists(samples, max_size=20))
def test_a_batch_comes_back_as_it_went(given_samples: list[Sample]) -> None:
    batch = pack(given_samples)
    assert same(decode_batch(Codec(), encode_batch(Codec(), batch)), batch)


@given(st.lists(samples, min_size=1, max_size=20), st.data())
def test_what_dedup_leaves_keeps_its_readings_and_flags(
    given_samples: list[Sample], data: st.DataObject
) -> None:
    verdicts = [data.draw(st.sampled_from([*Verdict, 254])) for _ in given_samples]
    batch = pack(given_samples)
    kept, late, duplicates = without_duplicates(batch, np.array(verdicts, dtype=np.uint8))
    chosen = [
        (s, v)
        for s, v in zip(given_samples, verdicts, strict=True)
        if v in {Verdict.FRESH, Verdict.TOO_LATE}
    ]
    assert late.tolist() == [v == Verdict.TOO_LATE for _, v in chosen]
    assert kept.sample_seq.tolist() == [s.sequence for s, _ in chosen]
    values = [v for s, _ in chosen for _, v in s.readings]
    assert kept.reading_value.tolist() == values
    names = [kept.metrics[i] for i in kept.reading_metric]
    assert names == [m for s, _ in chosen for m, _ in s.readings]
    repeated = zip(given_samples, verdicts, strict=True)
    assert duplicates == sum(len(s.readings) for s, v in repeated if v == Verdict.DUPLICATE)


def test_a_deduplicated_batch_comes_back_and_counts_its_readings() -> None:
    batch = pack(
        [
            Sample("a/b", 1, 1, 1, 1, (("x", 1.0), ("y", 2.0))),
            Sample("a/b", 1, 2, 1, 1, (("x", 1.0),)),
        ]
    )
    result = DeduplicatedBatch(
        source_topic="t",
        source_partition=2,
        source_offset=9,
        batch=batch,
        late=np.array([False, True]),
        duplicates=4,
    )
    back = decode_deduplicated(Codec(), encode_deduplicated(Codec(), result))
    assert same(back.batch, batch)
    assert (back.accepted_readings, back.late_readings, back.duplicates) == (2, 1, 4)
    assert (back.source_topic, back.source_partition, back.source_offset) == ("t", 2, 9)


def test_an_event_comes_back_as_it_went() -> None:
    assert decode_event(Codec(), encode_event(Codec(), event())) == event()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sample_seq": np.array([1, 2])}, "differ in length"),
        ({"reading_value": np.array([])}, "reading columns differ"),
        ({"sample_readings": np.array([2], dtype=np.int32)}, "do not add up"),
        ({"sample_readings": np.array([-1], dtype=np.int32)}, "do not add up"),
        ({"sample_device": np.array([1], dtype=np.int32)}, "device index"),
        ({"sample_device": np.array([-1], dtype=np.int32)}, "device index"),
        ({"reading_metric": np.array([5], dtype=np.int32)}, "metric index"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(
    changes: dict[str, object], says: str
) -> None:
    batch = pack([Sample("a/b", 1, 1, 1, 1, (("x", 1.0),))])
    value = encode_batch(Codec(), replace(batch, **changes))  # type: ignore[arg-type]
    with pytest.raises(UnreadableError, match=says):
        decode_batch(Codec(), value)
