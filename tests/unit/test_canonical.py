"""The canonical model against what goes by it: sources of mappings, connectors, schemas, tables."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import registry, sources
from pipeline.core import detectors
from pipeline.core.canonical import MILLISECONDS, MONEY, Care, Kind
from pipeline.core.canonical_objects import BY_NAME, MAP, OBJECTS
from pipeline.core.identity import Entry
from pipeline.ops import docs_export
from pipeline.state.identities_record import SCHEMA
from pipeline.wire.avro import schema_text

WANTED = {
    *("Device", "Asset", "Installation", "Ownership", "Customer", "Site", "Driver", "Trip"),
    *("FuelTransaction", "ServiceOrder", "Document", "Product", "Order", "Invoice", "Payment"),
    *("Shipment", "Event", "Opportunity"),
}
UNITS = {"", "1", "B", "J", "deg", "kg", "m", "m³", MILLISECONDS, MONEY}
BOOKKEEPING = {"kind", "version", "log"}
"""Fields of a record of the map that are no fact about a device, an asset or a customer."""


def test_the_model_has_every_object_once_with_all_that_an_integrator_asks() -> None:
    assert set(BY_NAME) == WANTED
    assert len(OBJECTS) == len(WANTED)
    for one in OBJECTS:
        assert one.doc
        assert one.record
        assert one.key
        assert one.conflict
        assert one.fields
        names = [field.name for field in one.fields]
        assert len(names) == len(set(names)), one.name


@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: one.name)
def test_units_and_references_are_right(one: object) -> None:
    for field in one.fields:  # type: ignore[attr-defined]  # an Object
        assert field.doc
        assert field.unit in UNITS
        assert (field.kind is Kind.TIME) == (field.unit == MILLISECONDS), field.name
        assert (field.kind is Kind.NUMBER) <= bool(field.unit), field.name
        assert (field.kind is Kind.REFERENCE) == bool(field.of)
        assert not field.of or field.of in WANTED
    money = any(field.unit == MONEY for field in one.fields)  # type: ignore[attr-defined]
    assert money == any(field.name == "currency" for field in one.fields)  # type: ignore[attr-defined]


def test_every_value_that_a_mapping_can_take_is_a_field_of_the_model() -> None:
    fields = {one.source(field): field for one in OBJECTS for field in one.fields}
    for name, source in sources.SOURCES.items():
        assert name in fields, f"{name} is no field of the canonical model"
        assert fields[name].care is source.care, name
        assert fields[name].unit == source.unit, name


def test_every_object_that_a_connector_writes_is_one_of_the_model() -> None:
    for name in registry.names():
        for target, spec in registry.system(name).objects.items():
            assert spec.canonical in BY_NAME, f"{name} {target}"


def test_the_map_and_its_schema_keep_what_the_model_says_and_nothing_else() -> None:
    record = json.loads(schema_text(SCHEMA))
    fields = {field["name"]: field for field in record["fields"]}
    [period] = [f for f in record["fields"] if f["name"] == "periods"]
    inner = {f"periods.{field['name']}": field for field in period["type"]["items"]["fields"]}
    stored = {
        field.stored: field
        for one in OBJECTS
        if one.carried == MAP
        for field in one.fields
        if field.stored
    }
    assert set(stored) == {*(fields.keys() - BOOKKEEPING - {"periods"}), *inner}
    for name, field in stored.items():
        doc = {**fields, **inner}[name]["doc"]
        if field.unit == MILLISECONDS:
            assert "milliseconds since the Unix epoch" in doc, name
    assert [field["name"] for field in record["fields"]] == list(Entry.__slots__)
    for field in [*record["fields"], *inner.values()]:
        assert "nit" in field["doc"] or isinstance(field["type"], dict), field["name"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    folder = tmp_path_factory.mktemp("docs") / "new" / "folder"
    command = [str(Path(sys.executable).with_name("fieldline")), "docs", "export", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return {
        path.name: list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        for path in folder.glob("*.csv")
    }


def test_the_tables_tell_every_system_and_every_field_of_its(
    exported: dict[str, list[dict[str, str]]],
) -> None:
    names = set(registry.names())
    assert set(exported) == {
        *("canonical_model.csv", "data_map.csv", "event_catalogue.csv", "systems.csv"),
        *(f"fields_{name}.csv" for name in names),
    }
    assert {row["system"] for row in exported["systems.csv"]} == names
    told = {(r["system"], r["object"], r["field"]) for r in exported["data_map.csv"]}
    wanted = {
        (name, target, field.target)
        for name in names
        for target, spec in registry.system(name).objects.items()
        for field in spec.fields
    }
    assert told == wanted
    known = {f"{one.name}.{field.name}" for one in OBJECTS for field in one.fields}
    for row in exported["data_map.csv"]:
        assert row["canonical"].partition("[")[0] in known
        assert row["care"] in set(Care)
        assert row["owner"]
    for name in names:
        assert exported[f"fields_{name}.csv"], name


def test_the_event_catalogue_has_each_type_with_each_field_and_its_meaning(
    exported: dict[str, list[dict[str, str]]],
) -> None:
    rows = exported["event_catalogue.csv"]
    source = Path(detectors.__file__).parent.parent
    types = {row["type"] for row in rows}
    assert types == set(docs_export.event_types())
    written = "".join(path.read_text(encoding="utf-8") for path in source.rglob("*.py"))
    for kind in types:
        assert f'"{kind}"' in written
    fields = {row["field"] for row in rows if row["type"] == "fieldline.limit.exceeded"}
    assert {"occurred_at_ms", "source.offset", "snapshot.value", "severity"} <= fields
    assert all(row["meaning"] for row in rows)
    assert len(rows) == len(types) * len(fields)


@given(st.text(max_size=20))
def test_no_cell_begins_a_formula_whatever_stands_in_it(text: str) -> None:
    made = docs_export.cell(text)
    assert not made.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert "\n" not in made
    assert (
        not made.startswith("'")
        or text.strip().startswith(("'", "=", "+", "-", "@"))
        or (text.strip()[:1] in "\uff1d\uff0b\uff0d\uff20")
    )
