from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.anomaly import FIELDS
from pipeline.core.dedup import Bucket, Seen, SessionWindow
from pipeline.core.detect import At, DeviceState, decide
from pipeline.core.episodes import Episodes
from pipeline.core.registry import Registry
from pipeline.core.rules import GROUPS, LANES
from pipeline.core.telemetry import Sample, pack
from pipeline.state.device_state import StateError, decode, encode
from pipeline.state.rules_file import load

longs = st.integers(-(1 << 63), (1 << 63) - 1)


@st.composite
def windows(draw: st.DrawFn) -> SessionWindow:
    depth = draw(st.integers(1, 3_000))
    high = draw(st.integers(depth - 1, (1 << 63) - 1))
    holes = draw(st.sets(st.integers(1, depth), max_size=20))
    everything = (1 << depth) - 1
    bits = everything if draw(st.booleans()) else draw(st.integers(0, everything))
    for hole in holes:
        bits &= ~(1 << hole)
    return SessionWindow(draw(longs), high, high - depth + 1, bits & everything)


@st.composite
def states(draw: st.DrawFn) -> DeviceState:
    metrics = tuple(draw(st.lists(st.text(st.characters(codec="utf-8")), max_size=6, unique=True)))
    shape = (len(LANES), len(metrics))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    busy = draw(st.booleans())
    hashes = st.frozensets(st.integers(0, (1 << 64) - 1), max_size=10)
    return DeviceState(
        partition=draw(st.integers(-1, 1 << 20)),
        offset=draw(st.integers(-1, 1 << 62)),
        seen=Seen(
            tuple(draw(st.lists(windows(), max_size=4))),
            draw(longs),
            tuple(draw(st.lists(st.builds(Bucket, longs, hashes), max_size=4))),
            draw(longs),
        ),
        metrics=metrics,
        series=numbers.normal(0, 1e3, (FIELDS, len(metrics))),
        episodes=Episodes(
            (numbers.integers(0, 10_000, shape) * busy).astype(np.int16),
            (numbers.integers(0, 2, shape) * busy).astype(np.bool_),
            draw(st.lists(st.integers(0, 2), min_size=len(GROUPS), max_size=len(GROUPS))),
            draw(st.lists(st.integers(0, 10_000), min_size=len(GROUPS), max_size=len(GROUPS))),
            draw(st.sampled_from(["", "a" * 24])),
        ),
    )


@given(states())
def test_a_state_comes_back_equal(state: DeviceState) -> None:
    back = decode(encode(state))
    assert back == state
    assert back.episodes.idle == state.episodes.idle
    assert encode(back) == encode(state)


@given(states(), st.data())
def test_damaged_bytes_are_refused_and_never_crash_otherwise(
    state: DeviceState, data: st.DataObject
) -> None:
    good = encode(state)
    cut = data.draw(st.integers(0, len(good) - 1))
    with pytest.raises(StateError):
        decode(good[:cut])
    with pytest.raises(StateError):
        decode(good + b"\x00")


def test_an_unknown_version_is_said_clearly() -> None:
    with pytest.raises(StateError, match="version 9 and this program knows only 1"):
        decode(b"\x09" + encode(DeviceState())[1:])


def test_a_decoded_state_can_be_worked_on() -> None:
    rules = load(Path("infra/config/rules.yaml"))
    known: dict[str, DeviceState] = {}
    for offset in range(40):
        sample = Sample("t/d", 1, offset, offset, offset, (("T24", 640.0 + offset % 3),))
        at = At(topic="telemetry.readings", partition=0, offset=offset)
        known = decide(known, pack([sample]), at, rules, Registry(), 128).states
        known = {device: decode(encode(state)) for device, state in known.items()}
    assert known["t/d"].series[0, 0] == 40


def test_a_device_with_21_metrics_takes_less_than_a_kilobyte_whatever_the_window() -> None:
    rules = load(Path("infra/config/rules.yaml"))
    names = tuple(rules.metrics)
    assert len(names) == 21
    rng = np.random.default_rng(1)
    samples = [
        Sample("t/d", 1, n, n, n, tuple(zip(names, rng.normal(500, 2, 21).tolist(), strict=True)))
        for n in range(100)
    ]
    at = At(topic="telemetry.readings", partition=0, offset=0)
    decision = decide({}, pack(samples), at, rules, Registry(), 65_536)
    assert len(encode(decision.states["t/d"])) < 1_024
