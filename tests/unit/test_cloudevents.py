from __future__ import annotations

import re

from pipeline.core.events import episode_id, fingerprint, tenant_of
from pipeline.wire.cloudevents import headers, trace_parent
from tests.unit.examples import event


def test_the_headers_are_those_of_the_kafka_binding_in_binary_mode() -> None:
    given = {name: value.decode() for name, value in headers(event()).items()}
    assert given["ce_specversion"] == "1.0"
    assert given["ce_id"] == event().id
    assert given["ce_type"] == "fieldline.limit.exceeded"
    assert given["ce_source"] == "/fieldline/acme"
    assert given["ce_subject"] == given["ce_partitionkey"] == "acme/engine-001"
    assert given["ce_time"] == "2025-11-21T04:40:00.123Z"
    assert given["content-type"] == "application/avro"


def test_an_events_trace_is_the_same_in_every_replay_and_its_own() -> None:
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", trace_parent("e1"))
    assert trace_parent("e1") == trace_parent("e1") != trace_parent("e2")


def test_an_events_id_comes_from_its_episode_alone() -> None:
    episode = {"device_id": "a/b", "session": 1, "metric": "T", "detector": "limit", "sequence": 9}
    first = episode_id(**episode)  # type: ignore[arg-type]  # a table of arguments
    # Golden: a change here makes new keys for old events, and so second orders.
    assert first == "ghikjmzrryzg2ee4xfelxzjc"
    assert re.fullmatch(r"[a-z2-7]{24}", first)
    for name, other in (
        ("device_id", "a/c"),
        ("session", 2),
        ("metric", "P"),
        ("detector", "z"),
        ("sequence", 8),
    ):
        assert episode_id(**{**episode, name: other}) != first  # type: ignore[arg-type]  # the same


def test_the_tenant_is_the_first_part_of_a_device_id() -> None:
    assert tenant_of("acme/engine-001") == "acme"


def test_the_fingerprint_is_of_what_happened_and_not_of_how_it_is_told() -> None:
    # Golden: a change here makes every event in the ledger a conflict when it comes again.
    first = fingerprint(event())
    assert first == "0bf4c3405e258d9daa0dccb7a97766a8bf5830ae03431c1d395a5407de8e8a18"
    told = event(asset_id="ESN-2", customer_id="C-9", summary="other words", rule="default@2")
    assert fingerprint(told) == first
    for change in ({"metric": "P30"}, {"occurred_at_ms": 1}, {"detector": "zscore"}):
        assert fingerprint(event(**change)) != first
