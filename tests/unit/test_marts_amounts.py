"""Deliveries, usage and data quality over tables made by hand."""

from __future__ import annotations

from datetime import date

from tests.unit.marts_world import at, delivery, event, mart, parameters, reading, refused

DAY = 24 * 60


def test_the_last_result_of_an_event_at_a_sink_holds() -> None:
    deliveries = [
        delivery("a", 0, "dead_lettered", attempts=5),
        delivery("a", DAY, attempts=6, latency_ms=900),
        delivery("b", 0, kafka_offset=1),
        delivery("b", 0, "rejected", kafka_offset=2),
        delivery("b", 0, sink="webhook", attempts=2),
        delivery("c", 0, "lost"),
    ]
    first, second, webhook = mart("deliveries_by_sink", deliveries=deliveries)
    assert (first["day"], first["ended"], first["delivered"]) == (date(2026, 3, 1), 2, 0)
    assert (first["rejected"], first["other"], first["latency_p50_ms"]) == (1, 1, None)
    assert (second["day"], second["ended"], second["delivered"]) == (date(2026, 3, 2), 1, 1)
    assert (second["dead_lettered"], second["attempts"], second["latency_p95_ms"]) == (0, 6, 900)
    assert (webhook["sink"], webhook["attempts"], webhook["delivered"]) == ("webhook", 2, 1)


def test_latency_is_of_delivered_ones_by_nearest_rank() -> None:
    deliveries = [delivery(f"a{n}", 0, latency_ms=n * 10) for n in range(1, 41)]
    deliveries += [delivery(f"r{n}", 0, "rejected", latency_ms=99_999) for n in range(9)]
    [row] = mart("deliveries_by_sink", deliveries=deliveries)
    # 40 values: the 20th and the 38th.
    assert (row["latency_p50_ms"], row["latency_p95_ms"], row["ended"]) == (200, 380, 49)


def test_a_day_ends_at_midnight_utc() -> None:
    before = delivery("a", 12 * 60 - 0.001)
    after = delivery("b", 12 * 60)
    rows = mart("deliveries_by_sink", deliveries=[before, after])
    assert [row["day"] for row in rows] == [date(2026, 3, 1), date(2026, 3, 2)]


def test_usage_counts_a_reading_in_the_month_it_arrived() -> None:
    end = 31 * DAY - 12 * 60  # 2026-04-01 00:00
    telemetry = [
        reading(0),
        reading(1),
        reading(2, device_id="acme/press-2"),
        reading(end - 1),
        reading(end - 1, received_at=at(end), late=True),
        reading(end, device_id="acme/press-3"),
        reading(5, tenant="bolt", device_id="bolt/x"),
    ]
    rows = mart(
        "usage_by_month",
        telemetry=telemetry,
        events=[event("a", 0), event("a", 0), event("a", end, "clear")],
        deliveries=[delivery("a", 1), delivery("a", end + 5), delivery("b", 1, "rejected")],
        asked=parameters(to_time=at(end + DAY)),
    )
    told_rows = [tuple(row.values()) for row in rows]
    assert told_rows == [
        ("acme", date(2026, 3, 1), 2, 4, 0, 1, 1),
        ("acme", date(2026, 4, 1), 2, 2, 1, 1, 0),
        ("bolt", date(2026, 3, 1), 1, 1, 0, 0, 0),
    ]


def test_quality_counts_what_was_late_flagged_or_refused_by_day_of_arrival() -> None:
    telemetry = [
        reading(0),
        reading(-600, received_at=at(1), late=True, flag="past"),
        reading(2, flag="not_finite"),
        reading(12 * 60),
    ]
    quarantine = [
        refused(0, "not_json"),
        refused(1, "not_json", readings=7),
        refused(2, "bad_topic", device_id=None),
        refused(3, "bad_topic", device_id="nonsense"),
    ]
    rows = mart(
        "data_quality",
        telemetry=telemetry,
        quarantine=quarantine,
        events=[event("a", 0, flag="clamped")],
        deliveries=[delivery("a", 0)],
    )
    first = {
        (r["tenant"], r["dataset"], r["problem"], r["reason"]): r["amount"]
        for r in rows
        if r["day"] == date(2026, 3, 1)
    }
    assert first == {
        ("acme", "telemetry", "none", ""): 3,
        ("acme", "telemetry", "late", ""): 1,
        ("acme", "telemetry", "flagged", "past"): 1,
        ("acme", "telemetry", "flagged", "not_finite"): 1,
        ("acme", "events", "none", ""): 1,
        ("acme", "events", "flagged", "clamped"): 1,
        ("acme", "deliveries", "none", ""): 1,
        ("acme", "quarantine", "quarantined", "not_json"): 8,
        ("", "quarantine", "quarantined", "bad_topic"): 2,
    }
    assert len(rows) == len(first) + 1
