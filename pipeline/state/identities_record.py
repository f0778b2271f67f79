"""Entries of the identity map as records of the topic identity.map (schemas/avro/identity_record).

Key: 'device/TENANT/DEVICE', 'asset/ID' or 'customer/ID'. One partition, so that all agree which
of two changes came first.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from pipeline.core.identity import Applied, Entry, Kind, Period
from pipeline.wire.avro import Codec, UnreadableError

SCHEMA: Final = "identity_record.v1"


def encode(codec: Codec, entry: Entry) -> bytes:
    """The message's value."""
    return codec.encode(SCHEMA, {**asdict(entry), "kind": entry.kind.value})


def decode(codec: Codec, value: bytes | None) -> Entry:
    """The entry in a message's value; UnreadableError where it is none."""
    record = codec.decode(SCHEMA, value)
    try:
        kind = Kind(record["kind"])
    except ValueError as error:
        raise UnreadableError(f"there is no kind {record['kind'][:40]!r}") from error
    return Entry(
        **{
            **record,
            "kind": kind,
            "periods": tuple(Period(**one) for one in record["periods"]),
            "devices": tuple(record["devices"]),
            "log": tuple(Applied(**one) for one in record["log"]),
        }
    )
