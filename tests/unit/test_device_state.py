from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.detect import At, Detection
from pipeline.core.registry import Registry
from pipeline.core.telemetry import NO_SEQUENCE, Sample, pack
from pipeline.state.device_restore import Decoder
from pipeline.state.device_state import Encoder, StateError
from pipeline.state.rules_file import load

RULES = load(Path("infra/config/rules.yaml"))


def detection() -> Detection:
    return Detection(RULES, Registry(), window=128)


def apply(found: Detection, samples: list[Sample], offset: int) -> None:
    found.apply([(At(topic="telemetry.readings", partition=0, offset=offset), pack(samples))])


def rows(found: Detection) -> dict[str, bytes]:
    return Encoder(found.fleet, found.plans, 0).encode(range(found.fleet.devices))


def restored(stored: dict[str, bytes]) -> Detection:
    found = detection()
    decoder = Decoder(found, 0)
    for device, row in stored.items():
        decoder.decode(device, row)
    return found


@st.composite
def fleets(draw: st.DrawFn) -> Detection:
    """Devices after some samples: episodes, reboots, gaps, samples without numbers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    found = detection()
    names = draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=9), max_size=5))
    for offset in range(draw(st.integers(1, 60))):
        device = int(rng.integers(0, 4))
        shift = 50.0 * (offset > 40)
        readings = [(n, float(rng.normal(10.0, 1.0) + shift)) for n in names]
        number = NO_SEQUENCE if device == 3 else offset * int(rng.integers(1, 9))
        sample = Sample(f"t/{device}", offset // 20, number, offset, offset, tuple(readings))
        apply(found, [sample], offset)
    return found


@given(fleets())
def test_what_is_stored_comes_back_equal(found: Detection) -> None:
    stored = rows(found)
    assert rows(restored(stored)) == stored


@given(fleets(), st.data())
def test_damaged_bytes_are_refused_and_never_crash_otherwise(
    found: Detection, data: st.DataObject
) -> None:
    device, good = next(iter(rows(found).items()))
    cut = data.draw(st.integers(0, len(good) - 1))
    with pytest.raises(StateError):
        Decoder(detection(), 0).decode(device, good[:cut])
    with pytest.raises(StateError):
        Decoder(detection(), 0).decode(device, good + b"\x00")


def test_an_unknown_version_is_said_clearly() -> None:
    with pytest.raises(StateError, match="version 9 and this program knows 2 and 3"):
        Decoder(detection(), 0).decode("t/d", b"\x09")


def test_a_restored_device_goes_on_as_if_it_had_never_been_stored() -> None:
    straight, stored = detection(), dict[str, bytes]()
    for offset in range(60):
        sample = Sample("t/d", 1, offset, offset, offset, (("T24", 640.0 + offset % 3),))
        apply(straight, [sample], offset)
        again = restored(stored)
        apply(again, [sample], offset)
        stored = rows(again)
    assert stored == rows(straight)


def test_memory_and_row_of_a_series_are_bounded_whatever_was_seen() -> None:
    found = detection()
    rng = np.random.default_rng(1)
    names = [f"m{n}" for n in range(10)]
    sizes = []
    for offset in range(300):
        readings = tuple(zip(names, rng.normal(500, 2, 10).tolist(), strict=True))
        apply(found, [Sample("t/d", 1, offset, offset, offset, readings)], offset)
        sizes.append(len(rows(found)["t/d"]))
    assert max(sizes[1:]) - min(sizes[1:]) <= 200, "only an open episode adds to a row"
