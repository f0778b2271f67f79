"""Producers of events whose schemas differ: real Avro bytes in Confluent's format."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from typing import Any

import fastavro

from connectors.lake import base
from connectors.lake.writer import LakeWriter
from pipeline.core.lake_columns import Dataset
from pipeline.wire.avro import Codec
from pipeline.wire.lake import NEWEST, RecordReader, plain_schema
from pipeline.wire.records import encode_event
from tests.unit.examples import event
from tests.waiting import until

TOPIC = "sink.lake"


class Registry:
    """The schemas that producers registered, by id."""

    def __init__(self) -> None:
        self._schemas: dict[int, dict[str, Any]] = {}

    def id_of(self, name: str) -> int:
        raise KeyError(name)

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        return self._schemas[schema_id]

    def register(self, schema: Any) -> int:  # noqa: ANN401 - any Avro schema
        parsed: Any = fastavro.parse_schema(copy.deepcopy(schema))
        self._schemas[len(self._schemas) + 1] = parsed
        return len(self._schemas)


class Producer:
    """Writes events as one schema has them; `drop`, `add` and `change` say how it differs.

    `change` gives a field's new form: of its other keys those that are named.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        drop: tuple[str, ...] = (),
        add: tuple[Mapping[str, Any], ...] = (),
        change: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        schema = copy.deepcopy(plain_schema(NEWEST[Dataset.EVENTS]))
        kept = [field for field in schema["fields"] if field["name"] not in drop]
        changed = [field | dict((change or {}).get(field["name"], {})) for field in kept]
        self.schema = schema | {"fields": [*changed, *map(dict, add)]}
        self._id = registry.register(self.schema)
        self._parsed = registry.schema_of(self._id)

    def message(self, offset: int, **values: Any) -> bytes:  # noqa: ANN401 - of any field
        """An event from source offset `offset`, whose id tells it, with other values than usual."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._parsed, example(offset) | values)
        return b"\0" + self._id.to_bytes(4, "big") + out.getvalue()


def example(offset: int) -> dict[str, Any]:
    """An event as its newest schema has it."""
    codec = Codec()
    record = codec.decode(NEWEST[Dataset.EVENTS], encode_event(codec, event()))
    return record | {
        "id": f"{offset:024d}",
        "source": record["source"] | {"offset": offset},
    }


class Feed:
    """Messages on their way through a reader and a writer, as the archive agent has them."""

    def __init__(self, registry: Registry, writer: LakeWriter, partition: int = 0) -> None:
        self._reader = RecordReader(Codec(registry), Dataset.EVENTS)
        self._writer = writer
        self._partition = partition

    def offer(self, offset: int, value: bytes) -> None:
        record = self._reader.read(TOPIC, self._partition, offset, value)
        self._writer.offer(self._partition, offset, record)

    async def flush(self) -> base.Flushed:
        """Again where the lake says so: a catalogue may be busy with another's commit."""

        async def brought() -> base.Flushed | None:
            answer = await self._writer.flush(self._partition)
            assert isinstance(answer, base.Flushed | base.Retry), answer
            return answer if isinstance(answer, base.Flushed) else None

        flushed: base.Flushed = await until(brought)
        return flushed
