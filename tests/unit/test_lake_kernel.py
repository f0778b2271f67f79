from __future__ import annotations

import hashlib
import math
import struct
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import lake_rows, lake_sum
from pipeline.core.lake_columns import TELEMETRY, Dataset, arrow_schema
from pipeline.core.lake_times import DAY_MS, LAST_MS
from pipeline.core.telemetry import DeduplicatedBatch, Sample, pack

SCHEMA = arrow_schema(TELEMETRY)
SAMPLES = st.lists(
    st.builds(
        Sample,
        device_id=st.sampled_from(["acme/a", "beta/ü"]),
        session=st.integers(0, 3),
        sequence=st.integers(-1, 5),
        time_ms=st.integers(-(2**63), 2**63 - 1),
        received_ms=st.integers(0, 9),
        readings=st.lists(
            st.tuples(st.sampled_from(["x", "y"]), st.floats(width=64)), max_size=3
        ).map(tuple),
    ),
    max_size=8,
)


def deduplicated(samples: list[Sample], offset: int = 7) -> DeduplicatedBatch:
    return DeduplicatedBatch(
        source_topic="telemetry.readings",
        source_partition=2,
        source_offset=offset,
        batch=pack(samples),
        late=np.array([s.sequence == 0 for s in samples], dtype=np.bool_),
        duplicates=0,
    )


def test_a_device_that_empties_its_memory_backwards_is_put_in_order() -> None:
    times = [*range(5_000, 0, -1), *range(5_000)]
    samples = [Sample("acme/a", 1, n, t, t, (("x", float(n)),)) for n, t in enumerate(times)]
    ((_, table),) = lake_rows.telemetry_tables([deduplicated(samples)], SCHEMA)
    order = sorted(range(len(times)), key=times.__getitem__)
    assert table["value"].to_pylist() == [float(n) for n in order]


def test_a_range_of_more_dates_and_series_than_can_be_dealt_out_is_sorted() -> None:
    far = [LAST_MS, 5, DAY_MS * 1_000_000]
    samples = [
        Sample(f"acme/{n}", 1, n, time_ms, time_ms, (("x", 1.0), ("y", 2.0)))
        for n, time_ms in enumerate(far)
    ]
    days = LAST_MS // DAY_MS + 1
    assert days * len(far) * 2 > lake_rows.DEALT_BUCKETS
    tables = lake_rows.telemetry_tables([deduplicated(samples)], SCHEMA)
    found = [(date, table["device_id"].to_pylist()) for date, table in tables]
    assert found == [
        ("1970-01-01", ["acme/1", "acme/1"]),
        ("4707-11-29", ["acme/2", "acme/2"]),
        ("9999-12-31", ["acme/0", "acme/0"]),
    ]


def mixed(value: int) -> int:
    """splitmix64's finaliser, with Python's numbers."""
    out = (value + 0x9E3779B97F4A7C15) % 2**64
    out = (out ^ (out >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    out = (out ^ (out >> 27)) * 0x94D049BB133111EB % 2**64
    return out ^ (out >> 31)


def hashed(value: object) -> int:
    if value is None:
        return 0x9E3779B97F4A7C15
    if isinstance(value, str):
        return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little")
    if isinstance(value, float):
        plain = math.nan if math.isnan(value) else value + 0.0
        return int.from_bytes(struct.pack("<d", plain), "little")
    if isinstance(value, datetime):
        whole = value - datetime(1970, 1, 1, tzinfo=UTC)
        return (whole.days * 86_400 + whole.seconds) * 1_000_000 + whole.microseconds
    assert isinstance(value, int)
    return value % 2**64


def plain_sum(table: pa.Table) -> int:
    out = 0
    for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
        of_row = sum(
            mixed(hashed(value) + place * 0xD1B54A32D192ED03) for place, value in enumerate(row)
        )
        out += mixed(of_row % 2**64)
    return out % 2**64


@given(st.lists(SAMPLES, max_size=3))
def test_the_sum_is_that_of_a_plain_loop_and_adds_up_over_parts(
    messages: list[list[Sample]],
) -> None:
    results = [deduplicated(samples, offset) for offset, samples in enumerate(messages)]
    tables = [table for _, table in lake_rows.telemetry_tables(results, SCHEMA)]
    sums = [lake_sum.row_sum(Dataset.TELEMETRY, table) for table in tables]
    summed = list(lake_sum.SUMMED[Dataset.TELEMETRY])
    assert sums == [plain_sum(table.select(summed)) for table in tables]
    if tables:
        whole = pa.concat_tables([table.cast(SCHEMA) for table in tables])
        assert lake_sum.row_sum(Dataset.TELEMETRY, whole) == sum(sums) % lake_sum.MODULUS


WORDS = st.lists(st.sampled_from(["a", "ü", "", None]), max_size=9)


@given(WORDS, st.sampled_from(["codes", "text"]), st.integers(0, 9))
def test_words_count_the_same_as_codes_as_text_and_in_chunks(
    words: list[str | None], kind: str, cut: int
) -> None:
    table = pa.table({"numbers": list(range(len(words))), "words": pa.array(words, pa.string())})
    found = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    if kind == "codes":
        found = found.set_column(1, "words", found["words"].dictionary_encode())
    assert lake_sum.column_sum(found) == plain_sum(table)
