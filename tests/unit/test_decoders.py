# ruff: noqa: ANN401 - JSON may be anything
from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.bridge.decoders import MAX_READINGS, Bad, Decoded, decode, device_of
from pipeline.bridge.decoders.fields import EARLIEST_MS, FUTURE_MS
from pipeline.core.quarantine import DETAIL_CHARACTERS, Reason
from pipeline.core.telemetry import NO_SEQUENCE, Sample

TOPIC = "telemetry/acme/engine-001"
DEVICE = "acme/engine-001"
NOW = 1_767_225_600_000


def read(document: Any, *, topic: str = TOPIC, limit: int = 262_144) -> Decoded:
    payload = document if isinstance(document, bytes) else orjson.dumps(document)
    return decode(topic, payload, NOW, limit)


def only_bad(document: Any, **options: Any) -> Bad:
    decoded = read(document, **options)
    assert decoded.samples == ()
    (bad,) = decoded.bad
    return bad


def sample(*readings: tuple[str, float], **other: Any) -> Sample:
    fields = {"session": 0, "sequence": NO_SEQUENCE, "time_ms": NOW, "received_ms": NOW} | other
    return Sample(device_id=DEVICE, readings=readings, **fields)


def test_one_reading_is_a_sample_of_one() -> None:
    decoded = read({"metric": "T24", "value": 641.82, "ts": NOW - 5, "session": 7, "seq": 3})
    expected = sample(("T24", 641.82), session=7, sequence=3, time_ms=NOW - 5)
    assert decoded == Decoded((expected,), ())


def test_many_metrics_are_one_sample_in_their_order() -> None:
    decoded = read({"ts": "2025-12-31T23:59:59.5Z", "metrics": {"b": 1, "a": -2.5}})
    assert decoded.samples == (sample(("b", 1.0), ("a", -2.5), time_ms=NOW - 500),)


def test_an_array_gives_its_items_in_order_and_a_broken_one_stands_alone() -> None:
    decoded = read([{"seq": 1, "metrics": {"a": 1}}, 17, {"metric": "a", "value": 2, "seq": 2}])
    assert [s.sequence for s in decoded.samples] == [1, 2]
    assert [b.reason for b in decoded.bad] == [Reason.UNKNOWN_FORMAT]


def test_a_bad_metric_does_not_take_the_good_ones_with_it() -> None:
    decoded = read({"metrics": {"a": 1, "b": "hot", "c": True, "d": None, "e e": 1, "f": 2}})
    assert decoded.samples == (sample(("a", 1.0), ("f", 2.0)),)
    reasons = [b.reason for b in decoded.bad]
    assert reasons == [Reason.NOT_NUMERIC] * 3 + [Reason.INVALID_FIELD]
    assert sum(b.readings for b in decoded.bad) == 4


def test_without_a_time_it_is_that_of_arrival() -> None:
    assert read({"metric": "a", "value": 1}).samples[0].time_ms == NOW


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2026-01-01T00:00:00Z", NOW),
        ("2026-01-01t01:30:00.123456789+01:30", NOW + 123),
        ("2025-12-31 19:00:00-05:00", NOW),
        ("2000-01-01T00:00:00Z", EARLIEST_MS),
    ],
)
def test_rfc_3339_times_are_taken(text: str, milliseconds: int) -> None:
    assert read({"metric": "a", "value": 1, "ts": text}).samples[0].time_ms == milliseconds


@pytest.mark.parametrize(
    ("ts", "reason"),
    [
        ("yesterday", Reason.INVALID_TIME),
        ("2026-01-01T00:00:00", Reason.INVALID_TIME),
        ("2026-02-31T00:00:00Z", Reason.INVALID_TIME),
        ("2026-01-01", Reason.INVALID_TIME),
        ("٢٠٢٦-01-01T00:00:00Z", Reason.INVALID_TIME),
        (True, Reason.INVALID_TIME),
        (None, Reason.INVALID_TIME),
        ([NOW], Reason.INVALID_TIME),
        (NOW // 1000, Reason.TIME_TOO_OLD),
        (-1, Reason.TIME_TOO_OLD),
        (-1e300, Reason.TIME_TOO_OLD),
        ("0001-01-01T00:00:00+23:59", Reason.TIME_TOO_OLD),
        (EARLIEST_MS - 1, Reason.TIME_TOO_OLD),
        (NOW + FUTURE_MS + 1, Reason.TIME_IN_FUTURE),
        (1e300, Reason.TIME_IN_FUTURE),
        ("2099-01-01T00:00:00Z", Reason.TIME_IN_FUTURE),
        ("9999-12-31T23:59:59-23:59", Reason.TIME_IN_FUTURE),
    ],
)
def test_a_time_that_cannot_be_is_refused(ts: object, reason: Reason) -> None:
    assert only_bad({"metric": "a", "value": 1, "ts": ts}).reason is reason


def test_a_clock_may_be_a_day_ahead_and_not_more() -> None:
    (taken,) = read({"metric": "a", "value": 1, "ts": NOW + FUTURE_MS}).samples
    assert taken.time_ms == NOW + FUTURE_MS


@pytest.mark.parametrize("raw", [-1, 2**63, 1.5, "1", True, None, [1]])
@pytest.mark.parametrize("name", ["seq", "session"])
def test_numbers_that_do_not_count_are_refused(name: str, raw: object) -> None:
    bad = only_bad({"metric": "a", "value": 1, name: raw})
    assert bad.reason is Reason.INVALID_FIELD
    assert name in bad.detail


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b'{"metric":', Reason.NOT_JSON),
        (b'{"metric":"a","value":NaN}', Reason.NOT_JSON),
        (b'{"metric":"a","value":1e999}', Reason.NOT_JSON),
        (b'{"metric":"\xff","value":1}', Reason.NOT_JSON),
        (b"[" * 100_000, Reason.NOT_JSON),
        (b"[" * 1000 + b"]" * 1000, Reason.UNKNOWN_FORMAT),
        (b"{}", Reason.UNKNOWN_FORMAT),
        (b"[]", Reason.UNKNOWN_FORMAT),
        (b"[[]]", Reason.UNKNOWN_FORMAT),
        (b"null", Reason.UNKNOWN_FORMAT),
        (b"3.5", Reason.UNKNOWN_FORMAT),
        (b'"T24"', Reason.UNKNOWN_FORMAT),
        (b'{"bn":"x"}', Reason.UNKNOWN_FORMAT),
        (b'[{"bn":"x"}]', Reason.UNKNOWN_FORMAT),
        (b'{"metric":"a","value":1,"metrics":{"a":1}}', Reason.UNKNOWN_FORMAT),
        (b'{"metric":"a"}', Reason.MISSING_FIELD),
        (b'{"value":1}', Reason.MISSING_FIELD),
        (b'{"metrics":{}}', Reason.MISSING_FIELD),
        (b'{"metrics":[1]}', Reason.INVALID_FIELD),
        (b'{"metric":5,"value":1}', Reason.INVALID_FIELD),
        (b'{"metric":"","value":1}', Reason.INVALID_FIELD),
        (b'{"metric":"a","value":"1"}', Reason.NOT_NUMERIC),
        (b'{"metric":"a","value":[1]}', Reason.NOT_NUMERIC),
        (b'{"metric":"a","value":null}', Reason.NOT_NUMERIC),
    ],
)
def test_what_cannot_be_read_is_one_bad_reading_with_its_reason(
    payload: bytes, reason: Reason
) -> None:
    bad = only_bad(payload)
    assert (bad.reason, bad.readings) == (reason, 1)


@pytest.mark.parametrize(
    "topic",
    [
        "telemetry/acme",
        "telemetry/acme/engine/001",
        "telemetry/acme/engine 001",
        "telemetry//engine-001",
        "telemetry/acme/" + "x" * 129,
        "telemetry/acme/motör",
        "telemetry/acme/engine-001\n",
        "other/acme/engine-001",
        "",
    ],
)
def test_a_topic_that_names_no_device_is_refused(topic: str) -> None:
    assert only_bad({"metric": "a", "value": 1}, topic=topic).reason is Reason.BAD_TOPIC
    assert device_of(topic) is None


def test_a_payload_is_taken_to_its_last_allowed_byte() -> None:
    payload = b'{"metric":"a","value":1}'
    assert read(payload, limit=len(payload)).samples
    assert only_bad(payload, limit=len(payload) - 1).reason is Reason.OVERSIZED


def test_ten_thousand_readings_are_taken_and_one_more_is_not() -> None:
    metrics = {f"m{i}": i for i in range(MAX_READINGS)}
    assert len(read({"metrics": metrics}).samples[0].readings) == MAX_READINGS
    for one_more in (
        {"metrics": metrics | {"x": 1}},
        [{"metrics": metrics}, {"metric": "x", "value": 1}],
        [{"n": "a", "v": 1, "t": -i} for i in range(MAX_READINGS + 1)],
        [1] * (MAX_READINGS + 1),
    ):
        assert only_bad(one_more, limit=10**7).reason is Reason.TOO_MANY_READINGS


def test_short_names_made_long_by_a_base_name_cannot_outgrow_a_kafka_record() -> None:
    pack: list[dict[str, Any]] = [{"n": f"{i}", "v": 1} for i in range(MAX_READINGS)]
    pack[0]["bn"] = "x" * 120
    bad = only_bad(pack)
    assert (bad.reason, bad.readings) == (Reason.OVERSIZED, MAX_READINGS)


# SenML, RFC 8428


def test_senml_records_of_one_instant_are_one_sample() -> None:
    # The shape of RFC 8428 section 5.1.3: a base name, a base time, relative times.
    decoded = read(
        [
            {"bn": "urn:dev:ow:10e2073a0108006:", "bt": NOW / 1000, "bu": "A", "bver": 10,
             "n": "voltage", "u": "V", "v": 120.1},
            {"n": "current", "t": -5, "v": 1.2},
            {"n": "current", "t": -4, "v": 1.3},
            {"n": "current", "v": 1.7},
        ]
    )  # fmt: skip
    assert decoded == Decoded(
        (
            sample(("voltage", 120.1), ("current", 1.7)),
            sample(("current", 1.2), time_ms=NOW - 5000),
            sample(("current", 1.3), time_ms=NOW - 4000),
        ),
        (),
    )


@pytest.mark.parametrize(
    ("bn", "n", "metric"),
    [
        ("urn:dev:ow:10e2:", "temp", "temp"),
        ("acme/engine-001/", "temp", "temp"),
        ("engine.", "temp", "engine.temp"),
        ("", "temp", "temp"),
        ("temp", "", "temp"),
    ],
)
def test_a_base_name_names_the_device_or_begins_the_metric(bn: str, n: str, metric: str) -> None:
    (taken,) = read([{"bn": bn, "n": n, "v": 1}]).samples
    assert taken.readings == ((metric, 1.0),)


def test_a_base_value_is_added_to_the_numbers_that_follow() -> None:
    decoded = read(
        [{"bv": 20, "n": "a", "v": 1.5}, {"n": "b", "v": -20}, {"bv": 0, "n": "c", "v": 1}]
    )
    assert decoded.samples == (sample(("a", 21.5), ("b", 0.0), ("c", 1.0)),)


def test_booleans_are_one_and_zero_and_texts_are_no_readings() -> None:
    decoded = read(
        [
            {"n": "open", "vb": True},
            {"n": "shut", "vb": False},
            {"n": "name", "vs": "pump"},
            {"n": "blob", "vd": "aGk"},
        ]
    )
    assert decoded.samples == (sample(("open", 1.0), ("shut", 0.0)),)
    assert [b.reason for b in decoded.bad] == [Reason.NOT_NUMERIC] * 2


def test_times_below_two_to_the_28_are_relative_to_arrival() -> None:
    decoded = read([{"n": "a", "v": 1, "t": -60}, {"n": "a", "v": 2, "t": 60}])
    assert [s.time_ms for s in decoded.samples] == [NOW - 60_000, NOW + 60_000]


def test_our_numbers_may_stand_on_one_record_of_an_instant() -> None:
    decoded = read(
        [
            {"bt": NOW / 1000, "n": "a", "v": 1},
            {"n": "b", "v": 2, "session": 4, "seq": 9},
            {"n": "a", "v": 3, "t": -1, "session": 4, "seq": 8},
            {"n": "c", "v": 3, "seq": 10},
        ]
    )
    assert [(s.session, s.sequence) for s in decoded.samples] == [(4, 9), (4, 8)]
    assert [b.reason for b in decoded.bad] == [Reason.INVALID_FIELD]


@pytest.mark.parametrize(
    "record",
    [
        {"n": "a"},
        {"n": "a", "s": 5},
        {"v": 1},
        {"n": "a", "v": 1, "vb": True},
        {"n": 5, "v": 1},
        {"n": "a", "u": 5, "v": 1},
        {"n": "a", "v": "1"},
        {"n": "a", "vb": 1},
        {"n": "a b", "v": 1},
        {"n": "ok", "v": 1},
        {"n": "a", "v": 1, "t": "now"},
        {"n": "a", "v": 1, "t": 1e300},
        {"n": "a", "v": 1, "t": -1e300},
        {"n": "a", "v": 1, "seq": -1},
        7,
    ],
)
def test_a_bad_senml_record_stands_alone(record: object) -> None:
    decoded = read([{"n": "ok", "v": 1}, record])
    assert decoded.samples == (sample(("ok", 1.0)),)
    assert [b.readings for b in decoded.bad] == [1]


def test_a_sum_beyond_a_float_is_not_finite() -> None:
    assert only_bad([{"bv": 1.7e308, "n": "a", "v": 1.7e308}]).reason is Reason.NOT_FINITE


@pytest.mark.parametrize(
    "base",
    [{"bver": 11}, {"bver": True}, {"bn": 5}, {"bu": 5}, {"bt": "x"}, {"bv": None}, {"must_": 1}],
)
def test_an_unusable_base_makes_the_whole_pack_unreadable(base: dict[str, object]) -> None:
    bad = only_bad([{"n": "a", "v": 1}, base | {"n": "b", "v": 1}])
    assert (bad.reason, bad.readings) == (Reason.INVALID_FIELD, 1)


# Rules for any input

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                "metric metrics value ts session seq bn bt bu bv bver n u v vs vb vd t x_ a".split()  # noqa: SIM905 - a list of words
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(st.one_of(st.binary(max_size=200), JSON.map(lambda d: json.dumps(d).encode())), st.text())
@example(b"[{}]", "telemetry/a/b")
def test_any_message_gives_finite_samples_or_reasons_and_never_raises(
    payload: bytes, anything: str
) -> None:
    for topic in (TOPIC, f"telemetry/{anything}"):
        decoded = decode(topic, payload, NOW, 262_144)
        assert decoded.samples or decoded.bad
        for taken in decoded.samples:
            assert taken.readings
            assert all(math.isfinite(value) for _, value in taken.readings)
            assert EARLIEST_MS <= taken.time_ms <= NOW + FUTURE_MS
            assert len({metric for metric, _ in taken.readings}) == len(taken.readings)
        for bad in decoded.bad:
            assert bad.readings >= 1
            assert 0 < len(bad.detail) <= DETAIL_CHARACTERS
            assert bad.detail.isprintable()
