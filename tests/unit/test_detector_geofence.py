from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.core.detectors.geofence import (
    MOST,
    UNKNOWN,
    Circle,
    Compiled,
    Fences,
    Polygon,
    crossings,
    inside,
    masks,
)

EARTH_M = 6_371_008.8
HARBOUR = Polygon(((53.54, 9.96), (53.54, 9.99), (53.52, 9.99), (53.52, 9.96)))
FIJI = Polygon(((-16.0, 177.0), (-16.0, -178.0), (-20.0, -178.0), (-20.0, 177.0)))


def only(fence: Circle | Polygon, margin_m: float = 0.0) -> Compiled:
    return Fences({"it": fence}, margin_m).compile()


def distance_m(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """By the vectors' dot and cross product: another way than the haversine."""

    def vector(lat: float, lon: float) -> np.ndarray:
        phi, theta = math.radians(lat), math.radians(lon)
        return np.array(
            [math.cos(phi) * math.cos(theta), math.cos(phi) * math.sin(theta), math.sin(phi)]
        )

    a, b = vector(lat_a, lon_a), vector(lat_b, lon_b)
    return EARTH_M * math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))


LATITUDES = st.floats(-90, 90)
LONGITUDES = st.floats(-180, 180)


@settings(deadline=None)  # the first call compiles
@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES, st.floats(1, 2e7))
def test_a_circle_is_all_within_its_radius_anywhere_on_earth(
    lat: float, lon: float, at_lat: float, at_lon: float, radius_m: float
) -> None:
    away = distance_m(lat, lon, at_lat, at_lon)
    assume(abs(away - radius_m) > 1.0)
    assert inside(at_lat, at_lon, 0, only(Circle(lat, lon, radius_m))) == (away < radius_m)


@pytest.mark.parametrize(
    ("lat", "lon", "held"),
    [
        (53.53, 9.97, 1),
        (53.53, 9.95, 0),
        (53.53, 10.0, 0),
        (53.55, 9.97, 0),
        (53.51, 9.97, 0),
        (53.53, 369.97, UNKNOWN),
        (53.53, -350.03, 1),
        (91.0, 9.97, UNKNOWN),
        (math.nan, 9.97, UNKNOWN),
        (53.53, math.inf, UNKNOWN),
    ],
)
def test_positions_in_around_and_nowhere_near_a_polygon(lat: float, lon: float, held: int) -> None:
    assert inside(lat, lon, 0, only(HARBOUR)) == held


@pytest.mark.parametrize(
    ("lon", "held"),
    [(178.5, 1), (180.0, 1), (-180.0, 1), (-179.0, 1), (-177.0, 0), (176.0, 0), (0.0, 0)],
)
def test_a_polygon_across_the_antimeridian_goes_the_short_way(lon: float, held: int) -> None:
    assert inside(-18.0, lon, 0, only(FIJI)) == held
    assert inside(-18.0, lon, 0, only(Polygon(FIJI.corners[::-1]))) == held


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32), st.floats(-170, 170))
def test_a_polygon_is_what_its_winding_number_says(seed: int, turn: float) -> None:
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, 9))
    assume(np.diff(angles, append=angles[0] + 2 * np.pi).max() < np.pi)
    radius = random.uniform(1, 10, 9)
    corners = np.stack([20 + radius * np.sin(angles), radius * np.cos(angles)], axis=1)
    lat, lon = float(random.uniform(8, 32)), float(random.uniform(-12, 12))
    around = np.arctan2(corners[:, 0] - lat, corners[:, 1] - lon)
    steps = np.diff(around, append=around[0])
    winding = round(float(((steps + np.pi) % (2 * np.pi) - np.pi).sum()) / (2 * np.pi))
    turned = [(a, math.remainder(b + turn, 360.0)) for a, b in corners.tolist()]
    fence = only(Polygon(tuple(turned)))
    assert inside(lat, math.remainder(lon + turn, 360.0), 0, fence) == abs(winding)


def test_a_fence_is_left_only_beyond_the_margin() -> None:
    depot = only(Circle(52.52, 13.405, 500.0), margin_m=20.0)
    harbour = only(HARBOUR, margin_m=20.0)
    degree = EARTH_M * math.pi / 180
    for fence, border in ((depot, 52.52 + 500 / degree), (harbour, 53.54)):
        lon = 13.405 if fence is depot else 9.97
        metres = np.array([-5, 5, 10, -5, 19, 21, 10, -1], dtype=float)
        found = masks(border + metres / degree, np.full(8, lon), 0, fence)
        assert found.tolist() == [1, 1, 1, 1, 1, 0, 0, 1]
        assert crossings(0, found, known=True) == [(0, 0, True), (5, 0, False), (7, 0, True)]
    east = 9.99 + np.array([-1, 19, 21]) / degree / math.cos(math.radians(53.53))
    assert masks(np.full(3, 53.53), east, 0, harbour).tolist() == [1, 1, 0]


def test_the_margin_holds_across_the_antimeridian() -> None:
    fence = only(Polygon(((1.0, 170.0), (1.0, 180.0), (-1.0, 180.0), (-1.0, 170.0))), 20.0)
    degree = EARTH_M * math.pi / 180
    assert inside(0.0, -180.0 + 10.0 / degree, 1, fence) == 1
    assert inside(0.0, -180.0 + 30.0 / degree, 1, fence) == 0
    assert inside(0.0, -180.0 + 10.0 / degree, 0, fence) == 0


def test_the_first_position_crosses_nothing_and_an_unknown_one_changes_nothing() -> None:
    found = np.array([UNKNOWN, 0b101, UNKNOWN, 0b110, 0b110])
    expected = [(3, 0, False), (3, 1, True)]
    assert crossings(0, found, known=False) == expected
    assert crossings(0, found, known=True) == [(1, 0, True), (1, 2, True), *expected]
    assert crossings(0b101, found, known=True) == expected
    assert crossings(0, np.array([], dtype=np.int64), known=True) == []


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(-1, 15), max_size=30), st.integers(0, 15), st.integers(0, 30))
def test_crossings_do_not_depend_on_how_positions_are_cut(
    found: list[int], before: int, cut: int
) -> None:
    whole = crossings(before, np.array(found, dtype=np.int64), known=True)
    last = next((m for m in reversed(found[:cut]) if m >= 0), before)
    parts = crossings(before, np.array(found[:cut], dtype=np.int64), known=True)
    rest = crossings(last, np.array(found[cut:], dtype=np.int64), known=True)
    assert whole == parts + [(n + min(cut, len(found)), b, e) for n, b, e in rest]
    now = before
    for _, bit, entered in whole:
        assert bool(now >> bit & 1) != entered
        now ^= 1 << bit


def test_sixty_two_fences_have_a_bit_each() -> None:
    fences = Fences({str(n): Circle(0.0, float(n), 1_000.0) for n in range(MOST)})
    for n in (0, 30, 61):
        assert inside(0.0, float(n), 0, fences.compile()) == 1 << n
    assert fences.names[61] == "61"


def test_sets_survive_a_change_of_the_fences() -> None:
    now = Fences({"yard": Circle(0.0, 0.0, 9.0), "depot": Circle(0.0, 1.0, 9.0)})
    assert now.remap(0b111, ("depot", "gone", "yard")) == 0b11
    assert now.remap(0b001, ("depot", "gone", "yard")) == 0b10


def test_no_fences_hold_nothing() -> None:
    assert inside(1.0, 1.0, 0, Fences({}).compile()) == 0


def closed_twice() -> Polygon:
    return Polygon((*HARBOUR.corners, HARBOUR.corners[0]))


def test_a_ring_that_repeats_its_first_corner_is_the_same() -> None:
    assert closed_twice().ring() == HARBOUR.ring()


@pytest.mark.parametrize(
    ("corners", "said"),
    [
        (((0.0, 0.0), (1.0, 1.0), (0.0, 0.0)), "three different corners"),
        (((60.0, 0.0), (60.0, 120.0), (60.0, -120.0)), "round a pole"),
        (((0.0, 0.0), (0.0, 180.0), (1.0, 90.0)), "half round"),
        (((0.0, 0.0), (0.0, 181.0), (1.0, 90.0)), "no position"),
    ],
)
def test_a_polygon_without_a_clear_inside_is_refused(
    corners: tuple[tuple[float, float], ...], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Polygon(corners)


def test_what_is_no_circle_or_too_many_fences_is_refused() -> None:
    with pytest.raises(ValueError, match="radius"):
        Circle(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="no position"):
        Circle(math.nan, 0.0, 1.0)
    with pytest.raises(ValueError, match="62 are the most"):
        Fences({str(n): HARBOUR for n in range(63)})
    with pytest.raises(ValueError, match="margin"):
        Fences({}, margin_m=-1.0)
