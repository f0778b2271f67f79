"""The decoders and the JSON Schemas of schemas/json judge every payload alike."""

# ruff: noqa: ANN401 - JSON may be anything
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from pipeline.bridge.decoders import Bad, Decoded, decode
from pipeline.bridge.decoders.fields import EARLIEST_MS
from pipeline.core.quarantine import Reason

NOW = 1_767_225_600_000
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "json"


def read(document: Any) -> Decoded:
    return decode("telemetry/acme/engine-001", json.dumps(document).encode(), NOW, 262_144)


def validators() -> dict[str, Draft202012Validator]:
    documents = {
        path.name.split(".")[0]: json.loads(path.read_text()) for path in SCHEMAS.iterdir()
    }
    registry: Registry[Any] = Registry().with_resources(
        (d["$id"], Resource.from_contents(d)) for d in documents.values()
    )
    return {
        name: Draft202012Validator(document, registry=registry)
        for name, document in documents.items()
    }


VALIDATORS = validators()


def by_schema(document: Any) -> bool:
    return any(validator.is_valid(document) for validator in VALIDATORS.values())


def test_there_is_a_schema_for_every_form() -> None:
    assert set(VALIDATORS) == {"reading", "sample", "array", "senml"}
    for validator in VALIDATORS.values():
        Draft202012Validator.check_schema(validator.schema)


def examples() -> Iterator[Any]:
    for validator in VALIDATORS.values():
        assert isinstance(validator.schema, dict)
        yield from validator.schema["examples"]


@pytest.mark.parametrize("document", examples())
def test_the_schemas_examples_are_read_whole(document: Any) -> None:
    assert read(document).bad == ()
    assert by_schema(document)


def fields(schema: Any) -> Iterator[tuple[str, Any]]:
    for name, field in schema.get("properties", {}).items():
        yield name, field
        yield from fields(field)
    if isinstance(schema.get("items"), dict):
        yield from fields(schema["items"])


def test_every_field_of_the_schemas_is_described() -> None:
    for validator in VALIDATORS.values():
        for name, field in fields(validator.schema):
            assert "description" in field or "$ref" in field, name


IDS = st.from_regex(re.compile(r"[A-Za-z0-9_.:/-]{1,12}"), fullmatch=True)
NUMBERS = st.floats(-1e9, 1e9) | st.integers(-(2**53), 2**53)
TIMES = st.integers(EARLIEST_MS, NOW) | st.integers(EARLIEST_MS, NOW).map(
    lambda ms: datetime.fromtimestamp(ms / 1000, tz=UTC).isoformat()
)
COUNTS = st.integers(0, 2**63 - 1)
OPTIONAL = {"ts": TIMES, "session": COUNTS, "seq": COUNTS}
READING = st.fixed_dictionaries({"metric": IDS, "value": NUMBERS}, optional=OPTIONAL)
SAMPLE = st.fixed_dictionaries(
    {"metrics": st.dictionaries(IDS, NUMBERS, min_size=1, max_size=5)}, optional=OPTIONAL
)
RECORD = st.fixed_dictionaries(
    {"n": IDS}, optional={"u": st.text(max_size=3), "t": st.integers(-1000, 0)}
).flatmap(
    lambda r: st.one_of(
        st.floats(-1e9, 1e9).map(lambda v: r | {"v": v}), st.booleans().map(lambda v: r | {"vb": v})
    )
)
PACK = st.lists(RECORD, min_size=1, max_size=5, unique_by=lambda r: (r["n"], r.get("t", 0)))
VALID = st.one_of(READING, SAMPLE, st.lists(READING | SAMPLE, min_size=1, max_size=4), PACK)


@given(VALID)
def test_what_the_schemas_allow_is_read_whole(document: Any) -> None:
    assert by_schema(document)
    assert read(document).bad == ()


WRONG = st.sampled_from([None, True, "x", "", -1, 2.5, 2**64, [], {}, [1], {"a": 1}, {"a": "b"}])


@given(VALID, st.data())
def test_what_the_decoders_refuse_the_schemas_forbid(document: Any, data: st.DataObject) -> None:
    """One field of a good document is replaced or taken out; both must judge alike."""
    item = document
    if isinstance(document, list):
        item = document[data.draw(st.integers(0, len(document) - 1))]
    name = data.draw(st.sampled_from(sorted(item)))
    if data.draw(st.booleans()):
        item[name] = data.draw(WRONG)
    else:
        del item[name]
    decoded = read(document)
    senml = type(document) is list and not any("metric" in i or "metrics" in i for i in document)
    if not any(beyond_schemas(bad, senml=senml) for bad in decoded.bad):
        assert by_schema(document) == (decoded.bad == ()), decoded.bad


def beyond_schemas(bad: Bad, *, senml: bool) -> bool:
    """What hangs on arrival, or on several SenML records at once, no schema can say."""
    several = ("given twice", "another number", "no name 'n'", "Metric '")
    return bad.reason is Reason.TIME_IN_FUTURE or (
        senml and any(words in bad.detail for words in several)
    )
