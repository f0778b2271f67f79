from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.shapes import DUPLICATES, MILLION, SINGLE, TEN, Shape
from tests.bench.signals import FLEET, REPEAT_TICKS, Block, join, play

WINDOW = 128


def small(per_sample: int, devices: int) -> Shape:
    return Shape(name="small", devices=devices, per_sample=per_sample, says="")


def played(shape: Shape, readings: int, seed: int = 1) -> Block:
    return join(list(play(shape, readings, seed=seed)))


@settings(max_examples=25, deadline=None)
@given(
    per_sample=st.sampled_from([1, 10]),
    devices=st.integers(1, 40),
    readings=st.integers(1, 20_000),
    seed=st.integers(0, 99),
)
def test_every_sample_comes_first_once_and_again_only_inside_the_dedup_window(
    per_sample: int, devices: int, readings: int, seed: int
) -> None:
    shape = small(per_sample, devices)
    block = played(shape, readings, seed)
    firsts = list(zip(block.device[~block.again], block.tick[~block.again], strict=True))
    assert len(set(firsts)) == len(firsts) == devices * shape.ticks(readings)
    for device in range(devices):
        mine = block.device == device
        ticks, again = block.tick[mine], block.again[mine]
        newest = np.maximum.accumulate(ticks)
        assert int((newest - ticks).max()) <= REPEAT_TICKS < WINDOW
        assert (ticks[~again] == np.arange(shape.ticks(readings))).all()
        seen: set[int] = set()
        for tick, repeated in zip(ticks.tolist(), again.tolist(), strict=True):
            assert (tick in seen) == repeated
            seen.add(tick)


def test_a_repetition_carries_the_same_readings() -> None:
    block = played(small(10, 20), 40_000)
    first = {
        (d, t): v
        for d, t, again, v in zip(
            block.device.tolist(), block.tick.tolist(), block.again, block.value, strict=True
        )
        if not again
    }
    copies = np.flatnonzero(block.again)
    assert len(copies)
    for i in copies.tolist():
        assert (first[int(block.device[i]), int(block.tick[i])] == block.value[i]).all()


@pytest.mark.parametrize("shape", [SINGLE, TEN, MILLION], ids=lambda shape: shape.name)
def test_shapes_have_the_share_of_repetitions_and_about_the_readings_asked_for(
    shape: Shape,
) -> None:
    wanted = 4 * shape.series
    block = played(shape, wanted)
    assert block.again.mean() == pytest.approx(DUPLICATES, abs=0.01)
    assert len(block) * shape.per_sample == pytest.approx(wanted, rel=0.3)


def test_the_same_seed_plays_the_same_readings() -> None:
    one, two = played(small(1, 30), 30_000), played(small(1, 30), 30_000)
    assert (one.device == two.device).all()
    assert (one.value == two.value).all()
    assert not (played(small(1, 30), 30_000, seed=2).value[:100] == one.value[:100]).all()


def test_most_values_lie_near_what_their_metric_measures() -> None:
    block = played(small(10, 100), 100_000)
    for column, metric in enumerate(FLEET):
        distance = np.abs(block.value[:, column] - metric.base) / metric.noise
        assert float((distance < 6).mean()) > 0.99


def test_long_runs_have_faults_and_few_of_them() -> None:
    block = played(small(10, 10), 1_000_000)
    distance = np.abs(block.value - np.array([m.base for m in FLEET]))
    wild = distance > 6 * np.array([m.noise for m in FLEET])
    assert 0 < int(wild.sum()) < block.value.size / 100
