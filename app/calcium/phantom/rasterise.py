"""Continuous calcium to voxels, with the partial volume of a slice kept."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.calcium.phantom.geometry import Body, Floats, between
from app.calcium.phantom.plaques import Deposit, Sampling

SUB_PIXELS = 4
"""Least number of samples along each side of a pixel."""

SUB_SLICES = 8
"""Least number of samples through a slice; partial volume in z is what makes scores unstable."""

_SAMPLES_PER_REACH = 4.0
"""Samples from the middle of a body to its surface."""


@dataclass(frozen=True)
class Frame:
    """Where the voxels of a phantom lie.

    Attributes:
        x: Pixel centres to the left, shape (X,), in mm.
        y: Pixel centres to the back, shape (Y,), in mm.
        z: Slice centres to the head, shape (Z,), in mm.
        thickness_mm: Width of a slice; above the increment the slices overlap.
        increment_mm: Distance between slice centres.
    """

    x: Floats
    y: Floats
    z: Floats
    thickness_mm: float
    increment_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (Z, Y, X)."""
        return self.z.size, self.y.size, self.x.size

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel."""
        return float(self.x[1] - self.x[0])

    @property
    def sampling(self) -> Sampling:
        """How finely the voxels see calcium."""
        return Sampling(self.pixel_mm, self.thickness_mm)


@dataclass(frozen=True)
class CalciumMap:
    """Calcium by voxel.

    Attributes:
        covered: Part of each voxel that is calcified, shape (Z, Y, X), 0 and up.
        density_mg_cm3: Mean density of each voxel, shape (Z, Y, X).
    """

    covered: NDArray[np.float32]
    density_mg_cm3: NDArray[np.float32]


def rasterise_deposits(
    deposits: Iterable[Deposit], frame: Frame, offsets_mm: Sequence[Floats]
) -> CalciumMap:
    """Spread deposits over the voxels they touch, keeping their mass.

    Args:
        deposits: Calcium to draw.
        frame: Voxels to draw on.
        offsets_mm: Places (3,) taken during the acquisition, in equal shares of time.

    Returns:
        Covered part and density of each voxel.
    """
    covered = np.zeros(frame.shape, dtype=np.float32)
    density = np.zeros(frame.shape, dtype=np.float32)
    for deposit in deposits:
        for offset in offsets_mm:
            window, part = _cover(deposit.body.moved(offset), frame)
            if part.size == 0:
                continue
            share = part / len(offsets_mm)
            covered[window] += share
            density[window] += deposit.density_mg_cm3 * share
    return CalciumMap(covered, density)


def _cover(body: Body, frame: Frame) -> tuple[tuple[slice, slice, slice], NDArray[np.float32]]:
    """Return the voxels around a body and the part of each that it covers."""
    centre, reach = body.centre, body.reach_mm
    half = frame.thickness_mm / 2.0
    window = (
        between(frame.z, float(centre[2]), reach[2] + half),
        between(frame.y, float(centre[1]), reach[1] + frame.pixel_mm),
        between(frame.x, float(centre[0]), reach[0] + frame.pixel_mm),
    )
    pixels = _sample_count(SUB_PIXELS, frame.pixel_mm, float(reach[:2].min()))
    slices = _sample_count(SUB_SLICES, frame.thickness_mm, float(reach[2]))
    z = _subdivide(frame.z[window[0]], frame.thickness_mm, slices)
    y = _subdivide(frame.y[window[1]], frame.pixel_mm, pixels)
    x = _subdivide(frame.x[window[2]], frame.pixel_mm, pixels)
    distance = body.distance(x[None, None, :], y[None, :, None], z[:, None, None])
    # A ramp as wide as the samples counts small bodies evenly wherever they lie.
    fine = min(frame.pixel_mm / pixels, frame.thickness_mm / slices)
    inside = np.clip(0.5 - distance / fine, 0.0, 1.0)
    depth, height, width = (side.stop - side.start for side in window)
    shape = (depth, slices, height, pixels, width, pixels)
    part: NDArray[np.float32] = inside.reshape(shape).mean(axis=(1, 3, 5)).astype(np.float32)
    return window, part


def _sample_count(least: int, width_mm: float, reach_mm: float) -> int:
    """Return how many samples a cell of a width needs for a body."""
    return max(least, math.ceil(_SAMPLES_PER_REACH * width_mm / reach_mm))


def _subdivide(centres: Floats, width_mm: float, count: int) -> Floats:
    """Return ``count`` evenly spaced samples through each cell."""
    inner = ((np.arange(count) + 0.5) / count - 0.5) * width_mm
    return np.asarray((centres[:, None] + inner).ravel())
