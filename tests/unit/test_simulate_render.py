from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.bridge.decoders import decode
from pipeline.core.telemetry import NO_SEQUENCE
from pipeline.settings import SettingsError
from pipeline.simulate.cmapss import SENSORS, load_fleet
from pipeline.simulate.journal import SCHEMA, Journal
from pipeline.simulate.plan import REASONS, Flaw, Form, Kind, Knobs, Send, expect, make_plan
from pipeline.simulate.render import Run

FLEET = load_fleet(engines=6)
START_MS = 1_767_225_600_123


def run(**knobs: float) -> Run:
    chosen = Knobs(engines=6, arrays=0.34, senml=0.34, skewed=0.5, **knobs)  # type: ignore[arg-type] # numbers all
    return Run(
        plan=make_plan(chosen, FLEET.lives, 128),
        fleet=FLEET,
        session=9,
        start_ms=START_MS,
        max_payload=4096 * 4,
    )


@pytest.mark.parametrize("unnumbered", [False, True])
def test_the_decoders_read_every_send_of_a_plan_as_it_was_planned(unnumbered: bool) -> None:  # noqa: FBT001 - a parameter
    playing = run(unnumbered=unnumbered)
    assert set(playing.plan.forms) == set(Form)
    for send in playing.plan.sends:
        topic, payload = playing.topic(send), playing.payload(send)
        decoded = decode(topic, payload, START_MS, playing.max_payload)
        if send.flaw is not None:
            assert [b.reason for b in decoded.bad] == [REASONS[send.flaw]]
            assert (decoded.samples, decoded.bad[0].readings) == ((), send.readings)
            continue
        assert decoded.bad == ()
        assert len(decoded.samples) == len(send.cycles)
        for sample, cycle in zip(decoded.samples, send.cycles, strict=True):
            assert sample.device_id == playing.device(send)
            assert (sample.session, sample.sequence) == playing.identity(send, cycle)
            assert sample.time_ms == playing.event_ms(send, cycle)
            row = FLEET.engines[send.engine][cycle - 1]
            assert sample.readings == tuple(zip(SENSORS, row.tolist(), strict=True))


def test_senml_engines_may_send_without_numbers() -> None:
    playing = run(unnumbered=True)
    engine = playing.plan.forms.index(Form.SENML)
    send = Send(kind=Kind.ON_TIME, engine=engine, cycles=(3,))
    assert playing.identity(send, 3) == (0, NO_SEQUENCE)


def test_a_duplicate_is_the_same_payload() -> None:
    playing = run(duplicates=0.5)
    first = {
        (s.engine, s.cycles): playing.payload(s)
        for s in playing.plan.sends
        if s.kind is not Kind.DUPLICATE and s.flaw is None
    }
    repeated = [s for s in playing.plan.sends if s.kind is Kind.DUPLICATE]
    assert repeated
    for send in repeated:
        assert playing.payload(send) == first[send.engine, send.cycles]


def test_the_journal_has_a_row_for_every_sample_and_adds_up_to_the_plan(tmp_path: Path) -> None:
    playing = run()
    path = tmp_path / "runs" / "journal.parquet"
    with Journal(path) as journal:
        for index, send in enumerate(playing.plan.sends):
            journal.add(playing, send, message=index, sent_ms=START_MS + index, acknowledged=True)
    table = pq.read_table(path)
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    expected = expect(playing.plan.sends)
    by_kind = {k: sum(r["readings"] for r in rows if r["kind"] == k.value) for k in Kind}
    assert sum(by_kind.values()) == expected.published
    assert by_kind[Kind.DUPLICATE] == expected.duplicates
    assert by_kind[Kind.LATE] == expected.too_late
    assert by_kind[Kind.MALFORMED] == expected.quarantined
    bad = [r for r in rows if r["kind"] == Kind.MALFORMED.value]
    assert {r["reason"] for r in bad} == {REASONS[flaw].value for flaw in Flaw}
    assert {r["device_id"] for r in bad if r["reason"] == "bad_topic"} <= {
        f"acme/engine {n:03d}" for n in range(1, 7)
    }


def test_sample_data_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="take it from the repository"):
        load_fleet(tmp_path / "none.txt.gz")
