from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.wire.avro import (
    CONFLUENT_MAGIC,
    MARKER,
    SCHEMAS,
    Codec,
    UnreadableError,
    schema,
    schema_text,
)

RECORD = {
    "reason": "not_json",
    "detail": "It is no JSON.",
    "mqtt_topic": "telemetry/acme/e1",
    "device_id": "acme/e1",
    "payload": b"\x00{",
    "payload_size": 2,
    "readings": 1,
    "received_ms": 5,
}


class OneSchema:
    """A registry that knows one schema."""

    def id_of(self, name: str) -> int:
        assert name == "quarantined.v1"
        return 7

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        return {7: schema("quarantined.v1")}[schema_id]


def test_a_record_comes_back_as_it_went() -> None:
    codec = Codec()
    assert codec.decode("quarantined.v1", codec.encode("quarantined.v1", RECORD)) == RECORD


def test_the_fingerprint_is_that_of_the_specification() -> None:
    # Avro specification, Schema Fingerprints: CRC-64-AVRO of "null" is 63dd24e7cc258f8a.
    assert fastavro.schema.fingerprint('"null"', "CRC-64-AVRO") == "8a8f25cce724dd63"
    value = Codec().encode("quarantined.v1", RECORD)
    assert value[:2] == MARKER


def test_every_schema_has_a_fingerprint_of_its_own() -> None:
    codec, heads = Codec(), set()
    for name in SCHEMAS:
        text = json.loads(schema_text(name))
        assert text["doc"], name
        for field in text["fields"]:
            assert field["doc"], f"{name}.{field['name']} says nothing of its meaning and unit"
        heads.add(fastavro.schema.fingerprint(json.dumps(text), "CRC-64-AVRO"))
    assert len(heads) == len(SCHEMAS)
    assert codec


def test_a_reader_with_a_registry_takes_both_formats() -> None:
    with_registry, without = Codec(OneSchema()), Codec()
    confluent = with_registry.encode("quarantined.v1", RECORD)
    assert confluent[:5] == bytes((CONFLUENT_MAGIC, 0, 0, 0, 7))
    for value in (confluent, without.encode("quarantined.v1", RECORD)):
        assert with_registry.decode("quarantined.v1", value) == RECORD


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"hello, world", "schema marker"),
        (b"\xc3\x01" + b"\x11" * 8 + b"x", "not one of ours"),
        (b"\x00\x00\x00\x00\x07data", "no schema registry"),
        (Codec().encode("quarantined.v1", RECORD)[:-1], "do not follow"),
    ],
)
def test_what_cannot_be_read_says_why(value: bytes | None, says: str) -> None:
    with pytest.raises(UnreadableError, match=says):
        Codec().decode("quarantined.v1", value)


def test_a_record_of_another_schema_is_refused() -> None:
    with pytest.raises(UnreadableError, match="not a business_event"):
        Codec().decode("business_event.v2", Codec().encode("quarantined.v1", RECORD))


def test_an_id_that_the_registry_does_not_know_is_refused() -> None:
    with pytest.raises(UnreadableError, match="does not know id 8"):
        Codec(OneSchema()).decode("quarantined.v1", b"\x00\x00\x00\x00\x08data")


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_unreadable(tail: bytes) -> None:
    for head in (b"", Codec().encode("business_event.v2", _event())[:10]):
        try:
            Codec().decode("business_event.v2", head + tail)
        except UnreadableError:
            continue


def _event() -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415 - only here

    from tests.unit.examples import event  # noqa: PLC0415

    return asdict(event())


@pytest.mark.parametrize("samples", [0, 1, 40, 5_000])
def test_columns_are_the_same_bytes_that_fastavro_writes_and_reads(samples: int) -> None:
    rng = np.random.default_rng(samples)
    names = [field["name"] for field in schema("telemetry_batch.v1")["fields"]][2:]
    record = {"devices": ["a/b", "c/ü"], "metrics": ["m"]} | {
        name: rng.bytes(8 * samples) for name in names
    }
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema("telemetry_batch.v1"), record)
    ours = Codec().encode("telemetry_batch.v1", record)
    assert ours[10:] == out.getvalue()
    back = Codec().decode("telemetry_batch.v1", ours)
    assert {name: bytes(v) if name in names else v for name, v in back.items()} == record


@given(st.lists(st.text(max_size=90), max_size=80), st.integers(-(1 << 40), 1 << 40))
def test_a_head_is_read_as_fastavro_wrote_it(devices: list[str], duplicates: int) -> None:
    fields_ = [field["name"] for field in schema("deduplicated_batch.v1")["fields"]]
    record = dict.fromkeys(fields_, b"") | {
        "source_topic": "t/ö",
        "source_partition": 3,
        "source_offset": 1 << 50,
        "duplicates": duplicates,
        "devices": devices,
        "metrics": ["m"] * 70,
    }
    encoded = Codec().encode("deduplicated_batch.v1", record)
    back = Codec().decode("deduplicated_batch.v1", encoded)
    whole = schema("deduplicated_batch.v1")
    assert back == fastavro.schemaless_reader(io.BytesIO(encoded[10:]), whole, whole)


@given(st.data())
def test_damaged_columns_are_refused(data: st.DataObject) -> None:
    names = [field["name"] for field in schema("telemetry_batch.v1")["fields"]][2:]
    record = {"devices": ["a/b"], "metrics": []} | dict.fromkeys(names, bytes(100))
    good = Codec().encode("telemetry_batch.v1", record)
    cut = data.draw(st.integers(10, len(good) - 1))
    with pytest.raises(UnreadableError):
        Codec().decode("telemetry_batch.v1", good[:cut])
