"""The files themselves: names, footer, order, statistics, filters; three readers read them."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from connectors.lake import mapping
from connectors.lake.commit import Prepared
from connectors.lake.writer import Message, prepare
from pipeline.core.archive import Claim, Seen, Selection
from pipeline.core.lake_columns import LAYOUTS, Dataset
from pipeline.core.lake_records import Record, Shape
from pipeline.core.lake_size import message_size
from pipeline.core.lake_times import DAY_MS
from pipeline.core.telemetry import DeduplicatedBatch, Sample
from pipeline.wire.avro import Codec
from pipeline.wire.lake import RecordReader, columns_of
from pipeline.wire.records import encode_event, encode_quarantined
from tests.unit.examples import event
from tests.unit.test_lake_rows import deduplicated

NOW = 20_000 * DAY_MS
CODEC = Codec()


def batch(offset: int, samples: int = 50) -> DeduplicatedBatch:
    """Two metrics of five devices, one reading each second."""
    told = [
        Sample(
            device_id=f"acme/pump-{at % 5}",
            session=1,
            sequence=offset * samples + at,
            time_ms=NOW + offset * samples * 1000 + at * 1000,
            received_ms=NOW + offset * samples * 1000 + at * 1000 + 40,
            readings=(("temperature", 50 + at / 8), ("vibration", at / 4)),
        )
        for at in range(samples)
    ]
    return deduplicated(told, offset)


def record(offset: int) -> Record:
    told = event(id=f"event-{offset:04d}", entity_id=f"entity-{offset:04d}", occurred_at_ms=NOW)
    return RecordReader(CODEC, Dataset.EVENTS).read(
        "sink.lake", 3, offset, encode_event(CODEC, told)
    )


def prepared(dataset: Dataset, messages: tuple[Message, ...]) -> Prepared:
    return prepare(
        dataset,
        "t",
        3,
        Selection(
            first=4, last=3 + len(messages), messages=messages, seen_before=Seen(), seen=Seen()
        ),
        Shape(columns=columns_of(dataset)),
    )


@pytest.mark.parametrize("dataset", [Dataset.TELEMETRY, Dataset.EVENTS])
def test_a_file_says_what_its_columns_mean(dataset: Dataset) -> None:
    messages: tuple[Message, ...] = (batch(0),) if dataset is Dataset.TELEMETRY else (record(0),)
    (file,) = prepared(dataset, messages).files
    told = pq.read_metadata(pa.BufferReader(file.data)).metadata[mapping.COLUMNS_KEY.encode()]
    meant = {column.name: column for column in columns_of(dataset)}
    assert json.loads(told) == {
        name: {"doc": column.doc} | ({"unit": column.unit} if column.unit else {})
        for name, column in meant.items()
    }


def test_a_unit_stands_beside_its_column() -> None:
    columns = columns_of(Dataset.DELIVERIES)
    data = mapping.parquet(
        Dataset.DELIVERIES, Shape(columns=columns).schema().empty_table(), "t/0/0-0"
    )
    told = json.loads(
        pq.read_metadata(pa.BufferReader(data)).metadata[mapping.COLUMNS_KEY.encode()]
    )
    assert told["latency_ms"]["unit"] == "ms"


def test_a_file_says_what_range_it_is_of() -> None:
    made = prepared(Dataset.TELEMETRY, (batch(0), batch(1)))
    (file,) = made.files
    footer = mapping.footer(file.data)
    assert footer is not None
    assert (footer.range, footer.rows) == ("t/3/4-5", 200)
    assert mapping.range_note(made.claim) == "t/3/4-5"
    assert mapping.footer(file.data[-50:]) is None
    assert mapping.footer(b"") is None
    assert file.key == "telemetry/date=2024-10-04/t-00003-00000000000000000004.parquet"
    key = mapping.claim_key(Dataset.TELEMETRY, "t", 3, 4)
    assert key == "telemetry/_ranges/t/00003/00000000000000000004.json"
    assert mapping.first_of_claim(key) == 4


def test_the_same_messages_make_the_same_bytes() -> None:
    for dataset, messages in (
        (Dataset.TELEMETRY, (batch(0), batch(1))),
        (Dataset.EVENTS, (record(0), record(1))),
    ):
        first, second = prepared(dataset, messages), prepared(dataset, messages)
        assert [file.data for file in first.files] == [file.data for file in second.files]
        assert first.claim == second.claim


def test_a_claim_larger_than_its_limit_is_never_made() -> None:
    """8 MB, Kafka's largest message here, of samples that each lie on a date of their own."""
    most = 8 * 1024 * 1024 // 41 + 64
    made = prepared(Dataset.TELEMETRY, (batch(0),)).claim
    part = mapping.encode_claim(made)
    two = Claim(
        **{name: getattr(made, name) for name in made.__slots__ if name != "files"},
        files=(*made.files, made.files[0]._replace(date="2024-10-05")),
    )
    a_date = len(mapping.encode_claim(two)) - len(part)
    assert len(part) + most * a_date < mapping.MAX_CLAIM_BYTES


def test_the_footer_tells_order_filters_units_and_compression() -> None:
    (file,) = prepared(Dataset.EVENTS, tuple(map(record, range(50)))).files
    found = pq.ParquetFile(pa.BufferReader(file.data))
    group = found.metadata.row_group(0)
    names = found.schema_arrow.names
    order = [names[column.column_index] for column in group.sorting_columns]
    assert order == list(LAYOUTS[Dataset.EVENTS].order)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert all(column.compression == "ZSTD" for column in columns.values())
    for name in ("device_id", "occurred_at", "kafka_offset"):
        assert columns[name].statistics.has_min_max, name
    assert columns["device_id"].has_dictionary_page
    assert not columns["id"].has_dictionary_page


def test_a_bloom_filter_spares_the_reading_of_files_without_an_id(tmp_path: Path) -> None:
    (file,) = prepared(Dataset.EVENTS, tuple(map(record, range(50)))).files
    path = tmp_path / "events.parquet"
    path.write_bytes(file.data)

    def excluded(event_id: str) -> bool:
        [(one,)] = duckdb.execute(
            "SELECT bloom_filter_excludes FROM parquet_bloom_probe(?, 'id', ?)",
            [str(path), event_id],
        ).fetchall()
        return bool(one)

    assert not any(excluded(f"event-{at:04d}") for at in range(50))
    absent = sum(excluded(f"event-{at:04d}") for at in range(1_000, 1_200))
    assert absent >= 180, "one in a hundred may be taken for there"


def test_duckdb_and_pyarrow_read_what_was_written(tmp_path: Path) -> None:
    made = prepared(Dataset.TELEMETRY, tuple(map(batch, range(4))))
    for file in made.files:
        (tmp_path / file.key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.key).write_bytes(file.data)
    query = (
        "SELECT count(*), count(DISTINCT (device_id, metric, sequence)), sum(value), "
        "epoch_ms(min(time)), any_value(date)::VARCHAR "
        "FROM read_parquet(?, hive_partitioning = true)"
    )
    found = duckdb.execute(query, [str(tmp_path / "telemetry/*/*.parquet")]).fetchall()
    values = [50 + at / 8 + at / 4 for _ in range(4) for at in range(50)]
    assert found == [(400, 400, sum(values), NOW, "2024-10-04")]
    table = ds.dataset(tmp_path / "telemetry", partitioning="hive").to_table()
    assert table.num_rows == 400
    assert pa.compute.sum(table["value"]).as_py() == sum(values)
    keys = [(r["device_id"], r["metric"], r["time"]) for r in table.to_pylist()]
    assert keys == sorted(keys)
    # One without hive folders sees the same rows: the date is in the time.
    [(rows,)] = duckdb.execute(
        "SELECT count(*) FROM read_parquet(?)", [str(tmp_path / "telemetry/*/*.parquet")]
    ).fetchall()
    assert rows == 400


@pytest.mark.parametrize("dataset", [Dataset.TELEMETRY, Dataset.EVENTS, Dataset.QUARANTINE])
def test_what_a_message_is_said_to_take_is_what_it_takes(dataset: Dataset) -> None:
    """Against CPython's own count of a thousand of them."""
    import gc  # noqa: PLC0415 - of this test alone
    import tracemalloc  # noqa: PLC0415 - the same

    reader = None if dataset is Dataset.TELEMETRY else RecordReader(CODEC, dataset)
    payload = {
        Dataset.EVENTS: encode_event(CODEC, event()),
        Dataset.QUARANTINE: encode_quarantined(
            CODEC,
            reason="r",
            detail="d" * 300,
            mqtt_topic="t",
            device_id=None,
            payload=b"p" * 3_000,
            readings=1,
            received_ms=NOW,
        ),
    }

    def one(at: int) -> Message:
        return batch(at) if reader is None else reader.read("t", 0, at, payload[dataset])

    one(0)
    gc.collect()
    tracemalloc.start()
    held = [one(at) for at in range(1_000)]
    really, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    counted = sum(map(message_size, held))
    assert 0.8 * really < counted < 2 * really + 2_000 * len(held)
