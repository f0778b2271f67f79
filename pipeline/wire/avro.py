"""Avro on the wire, with the bundled schemas.

Without a schema registry: Avro 1.12 specification, "Single-object encoding": the two bytes
C3 01, the CRC-64-AVRO fingerprint of the writer's schema in little-endian order, then the
binary record. With one: Confluent's format (00, then the four-byte big-endian schema id).
The first byte tells them apart, and a reader with a registry takes both.
"""

from __future__ import annotations

import io
import json
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol, cast

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MARKER = b"\xc3\x01"
CONFLUENT_MAGIC = 0
_HEADER_BYTES = len(MARKER) + 8

SCHEMAS = (
    "telemetry_batch.v1",
    "deduplicated_batch.v1",
    "business_event.v1",
    "business_event.v2",
    "delivery_result.v1",
    "delivery_result.v2",
    "dead_letter.v1",
    "dead_letter.v2",
    "parked_event.v1",
    "operator_action.v1",
    "review_item.v1",
    "balance_line.v1",
    "identity_record.v1",
    "quarantined.v1",
)
"""Every bundled schema: files of schemas/avro without their ending."""


class UnreadableError(ValueError):
    """A message value that is no record of the expected schema; the text says why."""


class SchemaRegistry(Protocol):
    """What Confluent's format needs of a registry (pipeline.wire.registry has the client)."""

    def id_of(self, name: str) -> int:
        """Id under which schema `name` is registered."""
        ...

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        """Parsed writer's schema with that id; raises KeyError where there is none."""
        ...


def schema_text(name: str) -> str:
    """The schema's JSON as bundled."""
    return (files("schemas") / "avro" / f"{name}.avsc").read_text(encoding="utf-8")


@cache
def schema(name: str) -> dict[str, Any]:
    """Parsed schema `name`, one of SCHEMAS."""
    return cast("dict[str, Any]", fastavro.parse_schema(json.loads(schema_text(name))))


@cache
def _single_object_header(name: str) -> bytes:
    # fastavro gives the fingerprint as hex of its little-endian bytes, as the format wants it.
    canonical = to_parsing_canonical_form(json.loads(schema_text(name)))
    return MARKER + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


@cache
def _names_by_header() -> dict[bytes, str]:
    return {_single_object_header(name): name for name in SCHEMAS}


@cache
def columns_of(name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The schema's head, and the names of its columns: bytes fields at its end, two or more.

    A column of a batch is tens of kilobytes. fastavro would copy each several times on its
    way; here they are put behind the head, and looked at where they lie, in the same bytes.
    """
    whole = schema(name)
    columns: list[str] = []
    for field in reversed(whole["fields"]):
        if field["type"] != "bytes":
            break
        columns.insert(0, field["name"])
    if len(columns) < 2:  # noqa: PLR2004 - a single payload is no column
        return whole, ()
    kept = {f["name"] for f in whole["fields"]} - set(columns)
    text = json.loads(schema_text(name))
    head = text | {"fields": [f for f in text["fields"] if f["name"] in kept]}
    return cast("dict[str, Any]", fastavro.parse_schema(head)), tuple(columns)


def _length(size: int) -> bytes:
    """A length as Avro's long: zig-zag, then seven bits a byte, the lowest first."""
    rest, out = size << 1, bytearray()
    while rest > 0x7F:  # noqa: PLR2004 - seven bits
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _read_long(value: bytes, at: int) -> tuple[int, int]:
    """Avro's long at `at`, and where the next thing begins; IndexError where it ends early."""
    rest = shift = 0
    while True:
        byte = value[at]
        at += 1
        rest |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a long
            return (rest >> 1) ^ -(rest & 1), at
        shift += 7


def _read_text(value: bytes, at: int) -> tuple[str, int]:
    """A string or, the same, the bytes of a column's place; ValueError below a length of 0."""
    size, at = _read_long(value, at)
    if size < 0:
        raise ValueError(size)
    return value[at : at + size].decode(), at + size


def _read_texts(value: bytes, at: int) -> tuple[list[str], int]:
    """An array of strings: blocks with a count each, negative where their size stands there too."""
    out: list[str] = []
    while True:
        count, at = _read_long(value, at)
        if count == 0:
            return out, at
        if count < 0:
            count, (_, at) = -count, _read_long(value, at)
        for _ in range(count):
            size = value[at]
            if size & 0x81:  # negative, or more than one byte: 64 characters or more
                text, at = _read_text(value, at)
            else:
                start, at = at + 1, at + 1 + (size >> 1)
                text = _known_text(value[start:at])
            out.append(text)


@lru_cache(maxsize=65_536)
def _known_text(text: bytes) -> str:
    """Names of devices and metrics come again and again: one string for each, hashed once."""
    return text.decode()


_READ: dict[str, Callable[[bytes, int], tuple[Any, int]]] = {
    "string": _read_text,
    "int": _read_long,
    "long": _read_long,
    "array": _read_texts,
}
"""Readers of a head's fields. fastavro asks its file for every few bytes of every string, which
for the hundred devices of a batch takes longer than all else about a message."""


def _with_columns(name: str, value: bytes, start: int) -> dict[str, Any]:
    """The record in `value` from `start` on; its columns are views of `value`."""
    head, columns = columns_of(name)
    record: dict[str, Any] = {}
    at, view = start, memoryview(value)
    try:
        for field in head["fields"]:
            kind = field["type"]
            read = _READ[kind if isinstance(kind, str) else kind["type"]]
            record[field["name"]], at = read(value, at)
        for column in columns:
            size, at = _read_long(value, at)
            if size < 0:
                raise ValueError(size)  # noqa: TRY301 - as all else that is wrong with the bytes
            record[column] = view[at : at + size]
            at += size
    except Exception as error:
        msg = f"the bytes do not follow schema {name}: {type(error).__name__}"
        raise UnreadableError(msg) from error
    if at > len(value):
        msg = f"the bytes end before schema {name} does"
        raise UnreadableError(msg)
    return record


class Codec:
    """Encodes and decodes records of the bundled schemas. Stateless without a registry."""

    def __init__(self, registry: SchemaRegistry | None = None) -> None:
        self._registry = registry

    def encode(self, name: str, record: Mapping[str, Any]) -> bytes:
        """Bytes of `record` under schema `name`; ValueError where the record does not fit it."""
        out = io.BytesIO()
        if self._registry is None:
            out.write(_single_object_header(name))
        else:
            out.write(bytes((CONFLUENT_MAGIC,)) + self._registry.id_of(name).to_bytes(4, "big"))
        head, columns = columns_of(name)
        fastavro.schemaless_writer(out, head, dict(record))
        parts = [out.getvalue()]
        for column in columns:
            data = record[column]
            parts += (_length(len(data)), data)
        return b"".join(parts) if columns else parts[0]

    def decode(self, name: str, value: bytes | None) -> dict[str, Any]:
        """The record in `value`, read as schema `name`; UnreadableError where it is none."""
        writer, start = self.written_as(name, value)
        value = value or b""
        if writer is schema(name) and columns_of(name)[1]:
            return _with_columns(name, value, start)
        try:
            record = fastavro.schemaless_reader(
                io.BytesIO(memoryview(value)[start:]), writer, schema(name)
            )
        except Exception as error:
            msg = f"the bytes do not follow schema {name}: {type(error).__name__}"
            raise UnreadableError(msg) from error
        return cast("dict[str, Any]", record)

    def written_as(self, name: str, value: bytes | None) -> tuple[dict[str, Any], int]:
        """The schema that a message was written with, and where its record begins.

        UnreadableError where it is none of `name`'s family.
        """
        if not value:
            msg = "the message is empty"
            raise UnreadableError(msg)
        return self._writer_schema(name, value)

    def _writer_schema(self, name: str, value: bytes) -> tuple[dict[str, Any], int]:
        if value[: len(MARKER)] == MARKER:
            written = _names_by_header().get(value[:_HEADER_BYTES])
            if written is None:
                msg = f"schema fingerprint {value[2:10].hex()} is not one of ours"
                raise UnreadableError(msg)
            if written.rpartition(".")[0] != name.rpartition(".")[0]:
                msg = f"it holds a {written}, not a {name}"
                raise UnreadableError(msg)
            return schema(written), _HEADER_BYTES
        if value[0] == CONFLUENT_MAGIC and len(value) > 5:  # noqa: PLR2004 - magic and id
            if self._registry is None:
                msg = "it is in Confluent's format and no schema registry is configured"
                raise UnreadableError(msg)
            try:
                return self._registry.schema_of(int.from_bytes(value[1:5], "big")), 5
            except KeyError as error:
                msg = f"the schema registry does not know id {int.from_bytes(value[1:5], 'big')}"
                raise UnreadableError(msg) from error
        msg = "it does not start with a schema marker (C3 01, or 00 and a schema id)"
        raise UnreadableError(msg)
