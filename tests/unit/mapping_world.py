"""What tests of mappings share: facts, tables and anything at all."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from connectors.fields import OPEN, Field, Overlong, Policy, Unit, payload
from connectors.sources import SOURCES, Care, Facts
from pipeline.core.events import Action, BusinessEvent, Severity, SnapshotEntry
from pipeline.core.outcome import Rejected
from pipeline.core.registry import DeviceRecord
from tests.unit.examples import event

RECORD = DeviceRecord(
    device_id="acme/engine-001",
    asset_id="ESN-1",
    asset_name="Engine 1",
    customer_id="C-1",
    customer_name="Acme Air",
    customer_tax_id="BE0403019261",
    active=True,
    device_class="turbofan",
    site="Ghent",
    region="eu",
    ids={"salesforce.account": "001x"},
)


def facts(record: DeviceRecord = RECORD, **changes: object) -> Facts:
    told = event(**changes)
    return Facts(event=told, key=told.id, record=record)


def made(*fields: Field, policy: Policy = OPEN, of: Facts | None = None) -> dict[str, Any]:
    found = payload(fields, of or facts(), policy)
    assert not isinstance(found, Rejected), found
    return found


def refused(*fields: Field, policy: Policy = OPEN, of: Facts | None = None) -> Rejected:
    found = payload(fields, of or facts(), policy)
    assert isinstance(found, Rejected), found
    return found


FIELDS = (
    Field("name", "customer.name"),
    Field("tax", "customer.tax_id", required=True),
    Field("site", "site.id", limit=40),
    Field("key", "event.key", required=True),
)

TEXT = st.text(st.characters(), max_size=40)  # surrogates too
NUMBERS = st.floats() | st.integers(-(2**63), 2**63 - 1).map(float)
ENTRIES = st.builds(
    SnapshotEntry,
    metric=TEXT,
    value=st.floats(),
    baseline=st.none() | st.floats(),
    score=st.none() | st.floats(),
)
LONGS = st.integers(-(2**63), 2**63 - 1)
EVENTS: st.SearchStrategy[BusinessEvent] = st.builds(
    event,
    id=TEXT,
    type=TEXT,
    tenant=TEXT,
    device_id=TEXT,
    asset_id=st.none() | TEXT,
    severity=st.sampled_from(Severity),
    confidence=st.floats(),
    summary=TEXT,
    detector=TEXT,
    metric=TEXT,
    rule=TEXT,
    correlation_id=TEXT,
    occurred_at_ms=LONGS,
    observed_at_ms=LONGS,
    snapshot=st.lists(ENTRIES, max_size=3).map(tuple),
    action=st.sampled_from(Action),
    entity_id=TEXT,
)
RECORDS = st.builds(
    DeviceRecord,
    device_id=TEXT,
    asset_id=TEXT,
    asset_name=TEXT,
    customer_id=TEXT,
    customer_name=TEXT,
    customer_tax_id=TEXT,
    active=st.booleans(),
    device_class=TEXT,
    site=TEXT,
    region=TEXT,
    ids=st.dictionaries(st.just("salesforce.account"), TEXT),
)
NAMES = st.sampled_from([*SOURCES, "ids.salesforce.account"])
TABLES = st.lists(
    st.builds(
        Field,
        st.sampled_from(["a", "b", "c.d", "c.e"]),
        NAMES,
        required=st.booleans(),
        limit=st.none() | st.integers(1, 30),
        overlong=st.sampled_from(Overlong),
        lines=st.booleans(),
        choices=st.none() | st.just({"True": 1, "critical": "c", "raise": None}),
        unit=st.sampled_from(Unit),
        make=st.none() | st.just(lambda value: f"<{value}>"),
    ),
    max_size=4,
)
POLICIES = st.builds(
    Policy,
    masked=st.frozensets(NAMES | st.sampled_from([c.value for c in Care]), max_size=2),
    withheld=st.frozensets(NAMES | st.sampled_from([c.value for c in Care]), max_size=2),
    regions=st.frozensets(TEXT, max_size=1),
)
