from __future__ import annotations

from collections import Counter
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from pipeline.bridge.decoders import decode
from pipeline.state import rules_file
from tests.bench.latency import Heard, latencies
from tests.bench.publish import (
    BREACH,
    BREACH_SAMPLES,
    BREACH_VALUE,
    PublishPlan,
    breach_starts,
    device,
    messages,
)

NOW_MS = 1_800_000_000_000
PLAN = PublishPlan(url="mqtt://127.0.0.1", messages=20_000, devices=100)


def test_the_bridge_reads_every_message_as_one_sample_of_so_many_readings() -> None:
    for readings in (1, 20):
        plan = PublishPlan(url="", messages=250, devices=100, readings=readings)
        found = list(messages(plan))
        assert len(found) == 250
        for sent in found:
            decoded = decode(sent.topic, sent.payload, NOW_MS, 10_000)
            assert not decoded.bad
            [sample] = decoded.samples
            assert len(sample.readings) == readings


def test_devices_take_turns_and_number_their_samples() -> None:
    plan = PublishPlan(url="", messages=250, devices=100, first_seq=5)
    samples = [decode(m.topic, m.payload, NOW_MS, 10_000).samples[0] for m in messages(plan)]
    assert [s.device_id for s in samples[:100]] == [device(i) for i in range(100)]
    assert Counter(s.sequence for s in samples) == {5: 100, 6: 100, 7: 50}


def test_each_breach_is_a_row_of_samples_below_the_limit_of_the_default_rules() -> None:
    plan = PublishPlan(url="", messages=20_000, devices=100, breaches=40, breach_from=30)
    starts = breach_starts(plan, laps=200)
    assert len(starts) == 40
    assert min(starts.values()) == 30
    assert max(starts.values()) + BREACH_SAMPLES <= 200
    marked: Counter[str] = Counter()
    for sent in messages(plan):
        [sample] = decode(sent.topic, sent.payload, NOW_MS, 10_000).samples
        value = dict(sample.readings)[BREACH]
        assert (value == BREACH_VALUE) == (sent.breach is not None)
        if sent.breach is not None:
            assert sent.breach == (sample.device_id, sample.sequence)
            marked[sample.device_id] += 1
    assert set(marked.values()) == {BREACH_SAMPLES}
    assert len(marked) == 40


def test_the_default_rules_have_a_limit_that_only_a_breach_passes() -> None:
    text = Path("infra/config/rules.yaml").read_text(encoding="utf-8")
    assert f"{BREACH}:" in text
    assert "low: 551.7" in text
    assert rules_file.load(Path("infra/config/rules.yaml")).version >= 1
    calm = [
        dict(decode(m.topic, m.payload, NOW_MS, 10_000).samples[0].readings)[BREACH]
        for m in messages(PLAN)
    ]
    assert min(calm) > 551.7 > BREACH_VALUE


def test_latency_is_from_the_sample_that_the_event_names(tmp_path: Path) -> None:
    journal = tmp_path / "breaches.jsonl"
    journal.write_text('["a/b", 7, 1000000000]\n["a/b", 8, 1200000000]\n', encoding="utf-8")
    heard = Heard(client=AIOKafkaConsumer.__new__(AIOKafkaConsumer))
    heard.at = {("a/b", 8): 1_250_000_000, ("c/d", 1): 5}
    assert latencies(journal, heard) == [50.0]
