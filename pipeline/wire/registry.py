"""Confluent's schema registry through its official client (extra 'registry')."""

from __future__ import annotations

import json
from typing import Any, cast

import fastavro
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from pipeline.wire.avro import schema_text


class ConfluentRegistry:
    """Ids and schemas, each asked for once. Subjects are record names (RecordNameStrategy)."""

    def __init__(self, url: str) -> None:
        self._client = SchemaRegistryClient({"url": url})
        self._ids: dict[str, int] = {}
        self._schemas: dict[int, dict[str, Any]] = {}

    def id_of(self, name: str) -> int:
        """Id of schema `name`, registered when the registry does not have it yet."""
        if name not in self._ids:
            text = schema_text(name)
            record = json.loads(text)
            subject = f"{record['namespace']}.{record['name']}"
            self._ids[name] = self._client.register_schema(subject, Schema(text, "AVRO"))
        return self._ids[name]

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        """Parsed schema with that id; KeyError where the registry has none."""
        if schema_id not in self._schemas:
            try:
                text = self._client.get_schema(schema_id).schema_str
            except SchemaRegistryError as error:
                raise KeyError(schema_id) from error
            parsed = fastavro.parse_schema(json.loads(text or "{}"))
            self._schemas[schema_id] = cast("dict[str, Any]", parsed)
        return self._schemas[schema_id]
