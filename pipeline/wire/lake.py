"""Messages of the lake's row datasets, with all that their producer wrote.

Elsewhere a record is read as the schema that this version knows, and what a newer producer added
is dropped. Here it is read as it was written, and what only this version knows stands beside
it with its default (Avro 1.12, "Schema Resolution", without the dropping).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import fastavro

from pipeline.core.lake_columns import TELEMETRY, Column, Dataset, columns
from pipeline.core.lake_records import Record, RecordSchema, unfit
from pipeline.wire.avro import Codec, UnreadableError, schema_text

NEWEST: Mapping[Dataset, str] = {
    Dataset.EVENTS: "business_event.v2",
    Dataset.DELIVERIES: "delivery_result.v2",
    Dataset.QUARANTINE: "quarantined.v1",
}
"""Schema of each row dataset, the newest that this version knows."""

_NAMED: Final = frozenset({"record", "error", "enum", "fixed"})


def columns_of(dataset: Dataset) -> tuple[Column, ...]:
    """Columns of a dataset as this version knows it."""
    if dataset is Dataset.TELEMETRY:
        return TELEMETRY
    return columns(plain_schema(NEWEST[dataset]))


class RecordReader:
    """Reads one dataset's messages; keeps what it learnt of each writer's schema."""

    def __init__(self, codec: Codec, dataset: Dataset) -> None:
        self._codec = codec
        self._dataset = dataset
        self._name = NEWEST[dataset]
        self._known: dict[int, _Writer] = {}

    def read(self, topic: str, partition: int, offset: int, value: bytes | None) -> Record:
        """The record in a message's value; UnreadableError where it is none."""
        found, start = self._codec.written_as(self._name, value)
        # By identity: codec and registry give one object for one schema, kept here with it.
        writer = self._known.get(id(found))
        if writer is None:
            writer = self._known[id(found)] = _Writer(self._name, found)
        try:
            values: Any = fastavro.schemaless_reader(
                io.BytesIO(memoryview(value or b"")[start:]), writer.reads, None
            )
        except Exception as error:
            msg = f"the bytes do not follow schema {self._name}: {type(error).__name__}"
            raise UnreadableError(msg) from error
        record = Record(
            values=writer.defaults | values,
            schema=writer.told,
            topic=topic,
            partition=partition,
            offset=offset,
        )
        trouble = unfit(self._dataset, record)
        if trouble is not None:
            raise UnreadableError(trouble)
        return record


class _Writer:
    """A writer's schema: `reads` its bytes, `told` and `defaults` say what its rows hold."""

    def __init__(self, name: str, found: Mapping[str, Any]) -> None:
        if found.get("type") != "record":
            msg = f"it was written as {found.get('type')}, not as a record like {name}"
            raise UnreadableError(msg)
        self.found = found
        # Values stay what they are on the wire: a date or a decimal is not what a column holds.
        self.reads = fastavro.parse_schema(without_logical_types(found))
        known = plain_schema(name)
        written = inlined(found)
        whole = together(known, written)
        self.told = RecordSchema(whole, known=known)
        theirs = {field["name"] for field in written["fields"]}
        self.defaults = {
            field["name"]: field["default"]
            for field in whole["fields"]
            if field["name"] not in theirs
        }


@cache
def plain_schema(name: str) -> dict[str, Any]:
    """Schema `name` as its file has it."""
    found: dict[str, Any] = json.loads(schema_text(name))
    return found


def together(known: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """A record schema with the fields of both; where both have one, as it was written.

    Fields that only `known` has are there where they have a default. A field that either
    of the two renamed (aliases) stands once.
    """
    of_writer = {field["name"]: field for field in written["fields"]}
    by_alias = {alias: field for field in written["fields"] for alias in field.get("aliases", ())}
    fields: dict[str, Any] = {}
    for field in known["fields"]:
        names = (field["name"], *field.get("aliases", ()))
        theirs = next((of_writer[name] for name in names if name in of_writer), None)
        theirs = theirs or by_alias.get(field["name"])
        if theirs is not None:
            fields.setdefault(theirs["name"], theirs)
        elif "default" in field:
            fields[field["name"]] = field
    for name, field in of_writer.items():
        fields.setdefault(name, field)
    return {"type": "record", "name": written["name"], "fields": list(fields.values())}


def without_logical_types(schema: Any) -> Any:  # noqa: ANN401 - an Avro schema: text, list or object
    """The same bytes, read as what they are underneath (Avro 1.12, "Logical Types")."""
    if isinstance(schema, list):
        return [without_logical_types(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: one for key, one in schema.items() if not key.startswith("__fastavro")}
    kept.pop("logicalType", None)
    for key in ("type", "items", "values"):
        if key in kept:
            kept[key] = without_logical_types(kept[key])
    if "fields" in kept:
        kept["fields"] = [without_logical_types(field) for field in kept["fields"]]
    return kept


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A record schema with its named types written out wherever they are named.

    One that holds itself stays a name there: no column type could hold it.
    """
    found: dict[str, Any] = _inlined(schema, {}, frozenset())
    return found


def _inlined(schema: Any, names: dict[str, Any], inside: frozenset[str]) -> Any:  # noqa: ANN401 - the same
    if isinstance(schema, str):
        return schema if schema in inside else names.get(schema, schema)
    if isinstance(schema, list):
        return [_inlined(one, names, inside) for one in schema]
    kind, name = schema["type"], schema.get("name", "")
    if kind in _NAMED:
        inside |= {name}
    out = {key: one for key, one in schema.items() if not key.startswith("__fastavro")}
    for key in ("items", "values"):
        if key in out:
            out[key] = _inlined(out[key], names, inside)
    if kind in {"record", "error"}:
        out["fields"] = [
            field | {"type": _inlined(field["type"], names, inside)} for field in schema["fields"]
        ]
    elif isinstance(kind, Mapping | list):
        out["type"] = _inlined(kind, names, inside)
    if kind in _NAMED:
        names[name] = out
    return out
