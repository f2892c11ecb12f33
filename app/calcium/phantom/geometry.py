"""Continuous shapes in millimetres and how much of a pixel they cover.

Coordinates are LPS: x to the patient's left, y to the back, z to the head. Only sums,
products and square roots are used on pixels, so that every machine paints the same bits.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Floats = NDArray[np.float64]

_TINY = 1e-6
"""Keeps a division by a distance of zero finite."""

_BALLS_AT_ONCE: Final = 32
"""Neighbouring balls of a tube that are painted together."""


@dataclass(frozen=True)
class Plane:
    """Pixel centres of one infinitely thin axial plane.

    Attributes:
        x: Pixel centres to the left, shape (X,), in mm.
        y: Pixel centres to the back, shape (Y,), in mm.
        z: Height, in mm.
    """

    x: Floats
    y: Floats
    z: float

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel."""
        return float(self.x[1] - self.x[0])

    def window(self, centre: Floats, reach_mm: float) -> tuple[slice, slice]:
        """Return the (Y, X) slices of the pixels within ``reach_mm`` of a point."""
        rows = between(self.y, float(centre[1]), reach_mm)
        return rows, between(self.x, float(centre[0]), reach_mm)

    def crop(self, window: tuple[slice, slice]) -> "Plane":
        """Return the part of the plane inside a window."""
        return Plane(self.x[window[1]], self.y[window[0]], self.z)


def between(centres: Floats, middle: float, reach_mm: float) -> slice:
    """Return the slice of evenly spaced ``centres`` within ``reach_mm`` of ``middle``."""
    first, count = float(centres[0]), centres.size
    step = float(centres[1]) - first if count > 1 else 1.0
    start = math.ceil((middle - reach_mm - first) / step)
    stop = math.floor((middle + reach_mm - first) / step) + 1
    start = min(max(start, 0), count)
    return slice(start, min(max(stop, start), count))


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid anywhere in space.

    Attributes:
        centre: Shape (3,), in mm.
        axes: Orthonormal rows, shape (3, 3).
        semi: Half lengths along the rows of ``axes``, shape (3,), in mm.
    """

    centre: Floats
    axes: Floats
    semi: Floats

    def distance(self, x: Floats, y: Floats, z: Floats | float) -> Floats:
        """Approximate the signed distance in mm, negative inside; inputs broadcast."""
        offsets = x - self.centre[0], y - self.centre[1], z - self.centre[2]
        near = _square_form(self._form(1), *offsets)
        steep = _square_form(self._form(2), *offsets)
        radius = np.sqrt(np.maximum(near, 0.0))
        distance: Floats = radius * (radius - 1.0) / np.sqrt(np.maximum(steep, _TINY))
        return distance

    def gradient(self, points: Floats) -> Floats:
        """Return the gradient of `distance` at points (N, 3), shape (N, 3)."""
        offsets = points - self.centre
        first, second = offsets @ self._form(1), offsets @ self._form(2)
        near = np.maximum((offsets * first).sum(axis=1, keepdims=True), _TINY)
        steep = np.maximum((offsets * second).sum(axis=1, keepdims=True), _TINY)
        radius = np.sqrt(near)
        rise = (2.0 - 1.0 / radius) * first / np.sqrt(steep)
        slope: Floats = rise - (near - radius) / (steep * np.sqrt(steep)) * second
        return slope

    def _form(self, power: int) -> Floats:
        """Return the matrix that weighs directions by half length to the ``-2 power``."""
        form: Floats = (self.axes.T / self.semi ** (2 * power)) @ self.axes
        return form

    def on_plane(self, plane: Plane) -> Floats:
        """Return the signed distance of each pixel, shape (Y, X)."""
        return self.distance(plane.x[None, :], plane.y[:, None], plane.z)

    def moved(self, offset: Floats) -> "Ellipsoid":
        """Return the ellipsoid displaced by ``offset`` (3,) in mm."""
        return Ellipsoid(self.centre + offset, self.axes, self.semi)

    @property
    def reach_mm(self) -> Floats:
        """Largest distance of the surface from the centre along x, y and z, shape (3,)."""
        reach: Floats = np.sqrt(((self.axes * self.semi[:, None]) ** 2).sum(axis=0))
        return reach

    @property
    def volume_mm3(self) -> float:
        """Volume of the ellipsoid."""
        return float(4.0 / 3.0 * np.pi * np.prod(self.semi))


@dataclass(frozen=True)
class Cylinder:
    """A cylinder upright in the scanner, as the inserts of calibration phantoms are.

    Attributes:
        centre: Shape (3,), in mm.
        radius_mm: Radius.
        length_mm: Length along z.
    """

    centre: Floats
    radius_mm: float
    length_mm: float

    def distance(self, x: Floats, y: Floats, z: Floats | float) -> Floats:
        """Return the distance of the nearer wall in mm, negative inside; inputs broadcast."""
        across = np.sqrt((x - self.centre[0]) ** 2 + (y - self.centre[1]) ** 2) - self.radius_mm
        upright: Floats = np.abs(z - self.centre[2]) - self.length_mm / 2.0
        distance: Floats = np.maximum(across, upright)
        return distance

    def moved(self, offset: Floats) -> "Cylinder":
        """Return the cylinder displaced by ``offset`` (3,) in mm."""
        return Cylinder(self.centre + offset, self.radius_mm, self.length_mm)

    @property
    def reach_mm(self) -> Floats:
        """Largest distance of the surface from the centre along x, y and z, shape (3,)."""
        return np.array([self.radius_mm, self.radius_mm, self.length_mm / 2.0])

    @property
    def volume_mm3(self) -> float:
        """Volume of the cylinder."""
        return float(np.pi * self.radius_mm**2 * self.length_mm)


Body: TypeAlias = Ellipsoid | Cylinder
"""Shapes that calcium can have."""


def _square_form(form: Floats, x: Floats, y: Floats, z: Floats | float) -> Floats:
    """Return the square form of broadcast offsets, with few passes over large arrays."""
    value: Floats = (
        x * (form[0, 0] * x + 2.0 * form[0, 2] * z)
        + y * (form[1, 1] * y + 2.0 * form[1, 2] * z)
        + form[2, 2] * z * z
    ) + (2.0 * form[0, 1] * x) * y
    return value


def box_ellipsoid(
    centre: tuple[float, float, float], semi: tuple[float, float, float]
) -> Ellipsoid:
    """Return an ellipsoid along the axes of the patient."""
    return Ellipsoid(np.array(centre), np.eye(3), np.array(semi))


def smooth_union(first: Floats, second: Floats, width_mm: float) -> Floats:
    """Join two signed distances, rounding the crease over ``width_mm``."""
    blend = np.clip(0.5 + 0.5 * (second - first) / width_mm, 0.0, 1.0)
    joined: Floats = second + (first - second) * blend - width_mm * blend * (1.0 - blend)
    return joined


def coverage(distance: Floats, width_mm: float) -> Floats:
    """Turn a signed distance into the covered part of a pixel, 0 to 1."""
    covered: Floats = np.clip(0.5 - distance / width_mm, 0.0, 1.0)
    return covered


@dataclass(frozen=True)
class Tube:
    """A bent tube.

    Attributes:
        points: Centreline, shape (N, 3), in mm, dense against the radius.
        radii: Radius at each point, shape (N,), in mm.
        step_mm: Distance between the points, about.
    """

    points: Floats
    radii: Floats
    step_mm: float = 0.5

    @property
    def length_mm(self) -> float:
        """Length along the centreline."""
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())

    def moved(self, offset: Floats) -> "Tube":
        """Return the tube displaced by ``offset`` (3,) in mm."""
        return Tube(self.points + offset, self.radii, self.step_mm)

    @cached_property
    def _balls(self) -> tuple[Floats, Floats]:
        """Points and radii of the balls that make up the tube."""
        # Half a radius apart they leave the wall smooth to 3 % of the radius.
        stride = max(1, round(0.5 * float(self.radii.min()) / self.step_mm))
        return self.points[::stride], self.radii[::stride]

    @cached_property
    def _heights(self) -> tuple[float, float]:
        """Lowest and highest point of the wall along z, in mm."""
        points, radii = self._balls
        return float((points[:, 2] - radii).min()), float((points[:, 2] + radii).max())

    def cover(self, plane: Plane, covered: Floats) -> None:
        """Raise ``covered`` (Y, X) to the part of each pixel inside the tube.

        Args:
            plane: Plane that ``covered`` belongs to.
            covered: Changed in place, 0 to 1.
        """
        width = plane.pixel_mm
        lowest, highest = self._heights
        if not lowest - width < plane.z < highest + width:
            return
        points, radii = self._balls
        height = points[:, 2] - plane.z
        touched = np.flatnonzero(np.abs(height) < radii + width)
        for balls in _runs(touched):
            _cover_by_balls(plane, covered, points[balls, :2], height[balls], radii[balls])
        np.minimum(covered, 1.0, out=covered)


def _runs(numbers: NDArray[np.intp]) -> Iterator[slice]:
    """Yield runs of rising numbers, none longer than a few: neighbours share a small window."""
    ends = np.flatnonzero(np.diff(numbers) > 1) + 1
    for first, stop in pairwise((0, *ends.tolist(), numbers.size)):
        for start in range(first, stop, _BALLS_AT_ONCE):
            last = min(start + _BALLS_AT_ONCE, stop) - 1
            yield slice(int(numbers[start]), int(numbers[last]) + 1)


def _cover_by_balls(
    plane: Plane, covered: Floats, centres: Floats, height: Floats, radii: Floats
) -> None:
    """Raise ``covered`` to the part of each pixel inside one of N balls, perhaps over 1.

    Args:
        plane: Plane that ``covered`` belongs to.
        covered: Changed in place, shape (Y, X).
        centres: Shape (N, 2), x and y in mm.
        height: Height of each ball's centre over the plane, shape (N,), in mm.
        radii: Shape (N,), in mm.
    """
    width = plane.pixel_mm
    reach = (radii + width)[:, None]
    low, high = (centres - reach).min(axis=0).tolist(), (centres + reach).max(axis=0).tolist()
    columns = between(plane.x, (low[0] + high[0]) / 2.0, (high[0] - low[0]) / 2.0)
    rows = between(plane.y, (low[1] + high[1]) / 2.0, (high[1] - low[1]) / 2.0)
    dx = plane.x[columns] - centres[:, :1]
    dy = plane.y[rows] - centres[:, 1:]
    squared = (dx * dx)[:, None, :] + ((dy * dy) + (height**2)[:, None])[:, :, None]
    part = covered[rows, columns]
    inside = (radii[:, None, None] - np.sqrt(squared)) / width + 0.5
    np.maximum(part, inside.max(axis=0), out=part)


def bend_tube(
    points: NDArray[np.float64], radii: tuple[float, float], *, step_mm: float = 0.5
) -> Tube:
    """Lay a smooth tube through waypoints.

    Args:
        points: Waypoints, shape (N, 3), at least two, in mm.
        radii: Radius at the first and the last waypoint; it changes evenly between.
        step_mm: Distance between the points of the tube.

    Returns:
        The tube through every waypoint.
    """
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(2, int(np.ceil(along[-1] / step_mm)) + 1)
    at = np.linspace(0.0, along[-1], count)
    centreline: Floats = np.asarray(PchipInterpolator(along, points, axis=0)(at), dtype=np.float64)
    return Tube(centreline, np.linspace(radii[0], radii[1], count), step_mm)
