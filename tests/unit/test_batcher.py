from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from pipeline.bridge.batcher import Batch, Batcher, Held
from pipeline.core.telemetry import NO_SEQUENCE, Sample


def sample(device: str, number: int, readings: int = 1) -> Sample:
    return Sample(device, 0, number, 0, 0, tuple((f"m{i}", 0.0) for i in range(readings)))


def batcher(most: int = 10, linger_s: float = 1.0) -> Batcher[str]:
    return Batcher(max_readings=most, linger_s=linger_s)


def test_a_batch_closes_when_it_is_full() -> None:
    box, held = batcher(most=3), Held("m")
    assert box.add(held, [sample("a", 1), sample("a", 2)], 0, 0.0) == []
    (batch,) = box.add(Held("n"), [sample("a", 3)], 0, 0.0)
    assert [s.sequence for s in batch.samples] == [1, 2, 3]
    assert [o.message for o in batch.origins] == ["m", "n"]
    assert box.next_due_s() is None


def test_a_batch_is_due_when_its_oldest_sample_has_lingered() -> None:
    box = batcher(linger_s=1.0)
    box.add(Held("m"), [sample("a", 1)], 0, 5.0)
    box.add(Held("n"), [sample("a", 2)], 0, 5.9)
    assert box.next_due_s() == 6.0
    assert box.due(5.99) == []
    (batch,) = box.due(6.0)
    assert len(batch.samples) == 2
    assert box.due(100.0) == []


def test_a_sample_that_does_not_fit_closes_what_is_open_and_stays_whole() -> None:
    box = batcher(most=10)
    box.add(Held("m"), [sample("a", 1, 8)], 0, 0.0)
    closed = box.add(Held("n"), [sample("a", 2, 25)], 0, 0.0)
    assert [b.readings for b in closed] == [8, 25]


def test_partitions_do_not_mix() -> None:
    box = batcher()
    box.add(Held("m"), [sample("a", 1)], 0, 0.0)
    box.add(Held("n"), [sample("b", 1)], 1, 0.0)
    assert sorted((b.partition, len(b.samples)) for b in box.drain()) == [(0, 1), (1, 1)]
    assert box.drain() == []


def test_a_message_waits_for_every_batch_that_holds_some_of_it() -> None:
    box, held = batcher(most=2), Held("m")
    closed = box.add(held, [sample("a", n) for n in range(5)], 0, 0.0)
    assert [len(b.samples) for b in closed] == [2, 2]
    assert held.parts == 3
    (rest,) = box.drain()
    assert rest.origins == [held]


MESSAGES = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(1, 7), min_size=1, max_size=6)), max_size=30
)


@given(MESSAGES, st.integers(1, 12), st.data())
def test_nothing_is_lost_and_order_per_partition_holds(
    messages: list[tuple[int, list[int]]], most: int, data: st.DataObject
) -> None:
    box = batcher(most=most)
    sent: dict[int, list[Sample]] = defaultdict(list)
    batches: list[Batch[str]] = []
    helds: list[Held[str]] = []
    for n, (partition, sizes) in enumerate(messages):
        samples = [sample(f"d{partition}", n, size) for size in sizes]
        sent[partition] += samples
        helds.append(Held(f"m{n}"))
        batches += box.add(helds[-1], samples, partition, float(n))
        if data.draw(st.booleans()):
            batches += box.due(n + data.draw(st.floats(0, 3)))
    batches += box.drain()
    for partition, samples in sent.items():
        assert [s for b in batches if b.partition == partition for s in b.samples] == samples
    for batch in batches:
        assert batch.readings == sum(len(s.readings) for s in batch.samples)
        assert batch.readings <= most or len(batch.samples) == 1
    for held in helds:
        assert held.parts == sum(held in b.origins for b in batches)


def test_samples_without_numbers_are_batched_like_others() -> None:
    box = batcher(most=1)
    assert len(box.add(Held("m"), [sample("a", NO_SEQUENCE)], 0, 0.0)) == 1
