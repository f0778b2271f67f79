"""Geofences: which areas a position is in, and the crossings that follow from it.

A circle is measured on the sphere by the haversine formula (R. W. Sinnott, "Virtues of the
Haversine", Sky and Telescope, 1984) with the mean radius of the IUGG, 6,371,008.8 m: within
0.6 % of the ellipsoid. A polygon's edges are straight lines in latitude and longitude, as in
GeoJSON (RFC 7946, 3.1.1), and inside is what a ray crosses its edges to an odd number of times
(Shimrat, "Algorithm 112", 1962). Polygons may cross the antimeridian: each edge goes the short
way round. One that holds a pole is refused.

Hysteresis: a fence is entered at its border and left `margin_m` beyond it, so that a position
which flickers on the border is one crossing. Distances to a polygon's edge are measured on a
plane through the position, exact enough for margins far smaller than the Earth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import jit

if TYPE_CHECKING:
    from collections.abc import Mapping

F64 = npt.NDArray[np.float64]

MOST: Final = 62
"""Fences of one rule: they are the bits of an int64 that is never negative."""
UNKNOWN: Final = -1
"""In place of a set of fences: the position is not one."""
MARGIN_M: Final = 20.0

_EARTH_M = 6_371_008.8
_DEGREE_M = _EARTH_M * math.pi / 180.0


@dataclass(frozen=True, slots=True)
class Circle:
    """All within `radius_m` metres of a point (degrees). ValueError where it is none."""

    latitude: float
    longitude: float
    radius_m: float

    def __post_init__(self) -> None:
        _check_corner((self.latitude, self.longitude))
        if not 0.0 < self.radius_m <= math.pi * _EARTH_M:
            raise ValueError(
                f"A circle's radius is {self.radius_m} m: give one above 0 and at most 20,015 km."
            )


@dataclass(frozen=True, slots=True)
class Polygon:
    """The area within `corners`, (latitude, longitude) in degrees, in either direction round.

    The last corner is joined to the first; it may repeat it. ValueError where that has no
    inside that could be told from the outside.
    """

    corners: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        for corner in self.corners:
            _check_corner(corner)
        self.ring()

    def ring(self) -> list[tuple[float, float]]:
        """The corners, closed, with longitudes that go on beyond 180 instead of jumping."""
        corners = list(self.corners)
        if len(corners) > 1 and corners[0] == corners[-1]:
            corners.pop()
        if len(set(corners)) < 3:  # noqa: PLR2004 - fewer have no inside
            raise ValueError("A polygon has fewer than three different corners: add some.")
        ring = corners[:1]
        for latitude, longitude in (*corners[1:], corners[0]):
            east = math.remainder(longitude - ring[-1][1], 360.0)
            if abs(east) == 180.0:  # noqa: PLR2004 - half a turn
                raise ValueError(
                    "A polygon's edge goes half round the Earth, so its way is not clear: "
                    "put a corner between."
                )
            ring.append((latitude, ring[-1][1] + east))
        if abs(ring[-1][1] - ring[0][1]) > 180.0:  # noqa: PLR2004 - it came round the Earth
            raise ValueError("A polygon goes round a pole: cut it in parts that do not.")
        ring[-1] = ring[0]
        return ring


class Compiled(NamedTuple):
    """Fences as arrays for `inside`. Degrees but for circles, which are in radians.

    circles (C, 7): bit, latitude, longitude, cosine of latitude, haversine of the radius, the
    same with the margin, and the latter as an angle. polygons (P, 7): bit, first edge, end of
    its edges, least and greatest latitude, middle longitude, half the width. edges (E, 4):
    latitude and longitude of both ends.
    """

    circles: F64
    polygons: F64
    edges: F64
    margin_m: float


@dataclass(frozen=True, slots=True)
class Fences:
    """Named areas, at most MOST; the n-th is bit n of a set. ValueError where they are not."""

    fences: Mapping[str, Circle | Polygon]
    margin_m: float = MARGIN_M

    def __post_init__(self) -> None:
        if len(self.fences) > MOST:
            raise ValueError(f"There are {len(self.fences)} fences: {MOST} are the most.")
        if not 0.0 <= self.margin_m <= 100_000.0:  # noqa: PLR2004 - the plane ends somewhere
            raise ValueError(f"The margin of the fences is {self.margin_m} m: give 0 to 100,000 m.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of their bits."""
        return tuple(self.fences)

    def remap(self, mask: int, names: tuple[str, ...]) -> int:
        """A set that was made of fences called `names`, as one of these; unknown ones drop out."""
        place = {name: bit for bit, name in enumerate(self.fences)}
        held = (name for bit, name in enumerate(names) if mask >> bit & 1)
        return sum(1 << place[name] for name in held if name in place)

    def compile(self) -> Compiled:
        """The arrays that `inside` takes."""
        circles: list[tuple[float, ...]] = []
        polygons: list[tuple[float, ...]] = []
        edges: list[tuple[float, ...]] = []
        for bit, fence in enumerate(self.fences.values()):
            if isinstance(fence, Circle):
                circles.append((bit, *_circle(fence, self.margin_m)))
                continue
            ring = fence.ring()
            latitudes, longitudes = zip(*ring, strict=True)
            west, east = min(longitudes), max(longitudes)
            first = len(edges)
            edges += [(*one, *other) for one, other in pairwise(ring)]
            middle, half = (west + east) / 2.0, (east - west) / 2.0
            box = (min(latitudes), max(latitudes), middle, half)
            polygons.append((bit, first, len(edges), *box))
        return Compiled(
            circles=np.array(circles, dtype=np.float64).reshape(-1, 7),
            polygons=np.array(polygons, dtype=np.float64).reshape(-1, 7),
            edges=np.array(edges, dtype=np.float64).reshape(-1, 4),
            margin_m=self.margin_m,
        )


def _check_corner(corner: tuple[float, float]) -> None:
    latitude, longitude = corner
    if not (abs(latitude) <= 90.0 and abs(longitude) <= 180.0):  # noqa: PLR2004 - degrees
        raise ValueError(
            f"({latitude}, {longitude}) is no position: give latitude (-90 to 90) and longitude "
            "(-180 to 180) in degrees."
        )


def _circle(fence: Circle, margin_m: float) -> tuple[float, ...]:
    latitude, longitude = math.radians(fence.latitude), math.radians(fence.longitude)
    angle = fence.radius_m / _EARTH_M
    wider = min((fence.radius_m + margin_m) / _EARTH_M, math.pi)
    return (
        latitude,
        longitude,
        math.cos(latitude),
        math.sin(angle / 2.0) ** 2,
        math.sin(wider / 2.0) ** 2,
        wider,
    )


@jit
def _crossings_of_ray(edges: F64, first: int, end: int, latitude: float, longitude: float) -> bool:
    """Whether a ray to the east from the position crosses an odd number of the edges."""
    odd = False
    for k in range(first, end):
        lat_a, lon_a, lat_b, lon_b = edges[k, 0], edges[k, 1], edges[k, 2], edges[k, 3]
        if (lat_a > latitude) != (lat_b > latitude):
            at = lon_a + (latitude - lat_a) / (lat_b - lat_a) * (lon_b - lon_a)
            if longitude < at:
                odd = not odd
    return odd


@jit
def _near(
    edges: F64, first: int, end: int, latitude: float, longitude: float, margin_m: float
) -> bool:
    """Whether one of the edges is within `margin_m`, on the plane through the position."""
    narrow = _DEGREE_M * math.cos(latitude * math.pi / 180.0)
    for k in range(first, end):
        ax = (edges[k, 1] - longitude) * narrow
        ay = (edges[k, 0] - latitude) * _DEGREE_M
        bx = (edges[k, 3] - longitude) * narrow - ax
        by = (edges[k, 2] - latitude) * _DEGREE_M - ay
        length = bx * bx + by * by
        along = min(max(-(ax * bx + ay * by) / length, 0.0), 1.0) if length > 0.0 else 0.0
        x, y = ax + along * bx, ay + along * by
        if x * x + y * y <= margin_m * margin_m:
            return True
    return False


@jit
def inside(latitude: float, longitude: float, before: int, fences: Compiled) -> int:
    """The set of fences (bits) that a position in degrees is in; UNKNOWN where it is no position.

    `before` is the set for the position before this one (0 where there was none): a fence in it
    is left only beyond the margin. A position on a border may be on either side of it.
    """
    if not (abs(latitude) <= 90.0 and abs(longitude) <= 360.0):  # noqa: PLR2004 - degrees
        return -1
    mask = 0
    circles, polygons = fences.circles, fences.polygons
    phi, theta = latitude * math.pi / 180.0, longitude * math.pi / 180.0
    narrow = math.cos(phi)
    for n in range(circles.shape[0]):
        if abs(phi - circles[n, 1]) > circles[n, 6]:
            continue
        across = math.sin((phi - circles[n, 1]) / 2.0)
        along = math.sin((theta - circles[n, 2]) / 2.0)
        haversine = across * across + narrow * circles[n, 3] * along * along
        bit = 1 << int(circles[n, 0])
        if haversine <= (circles[n, 5] if before & bit else circles[n, 4]):
            mask |= bit
    for n in range(polygons.shape[0]):
        bit = 1 << int(polygons[n, 0])
        held = before & bit != 0
        rim = fences.margin_m / _DEGREE_M if held else 0.0
        if latitude < polygons[n, 3] - rim or latitude > polygons[n, 4] + rim:
            continue
        # The turn of longitude that is nearest to the middle of the polygon.
        turned = longitude - polygons[n, 5]
        turned -= 360.0 * math.floor((turned + 180.0) / 360.0)
        if not held and abs(turned) > polygons[n, 6]:
            continue
        first, end = int(polygons[n, 1]), int(polygons[n, 2])
        turned += polygons[n, 5]
        if _crossings_of_ray(fences.edges, first, end, latitude, turned) or (
            held and _near(fences.edges, first, end, latitude, turned, fences.margin_m)
        ):
            mask |= bit
    return mask


@jit
def masks(latitude: F64, longitude: F64, before: int, fences: Compiled) -> npt.NDArray[np.int64]:
    """`inside` for the positions of one device in their order, shape (positions,).

    `before` as for `inside`; a position that is none leaves what came before it in force.
    """
    out = np.empty(len(latitude), dtype=np.int64)
    now = max(before, 0)
    for n in range(len(latitude)):
        out[n] = inside(latitude[n], longitude[n], now, fences)
        if out[n] >= 0:
            now = out[n]
    return out


def crossings(
    before: int, found: npt.NDArray[np.int64], *, known: bool
) -> list[tuple[int, int, bool]]:
    """(index, fence's bit number, entered) for each border crossed, in order.

    `found` are the sets of one device's positions in order, as `masks` gives them. Where no
    position was `known` before, the first only says where the device is: nothing was crossed.
    """
    indices = np.flatnonzero(found >= 0)
    sets = found[indices]
    earlier = np.empty_like(sets)
    earlier[1:] = sets[:-1]
    if len(sets):
        earlier[0] = before if known else sets[0]
    changed = sets ^ earlier
    out = []
    for n in np.flatnonzero(changed).tolist():
        index, difference, now = int(indices[n]), int(changed[n]), int(sets[n])
        out += [
            (index, bit, bool(now >> bit & 1))
            for bit in range(difference.bit_length())
            if difference >> bit & 1
        ]
    return out
