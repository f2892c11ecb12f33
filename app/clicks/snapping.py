"""The candidate voxel that a click means, when it is a little beside."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.clicks.islands import Field

SNAP_MM: Final = 3.0
"""How far beside a candidate a click may be within its slice: about the radius of a vessel."""

_SMALLEST_MM2: Final = 1.0
"""Smallest part in a slice that a click snaps to; the Agatston rule takes less for noise."""

_MARGIN_MM: Final = 2.0
"""How far beyond that the parts are looked at, so that one at the edge is not taken for noise."""


def snap(field: Field, voxel: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """Find the candidate voxel of a click within its slice.

    Args:
        field: Where islands may grow.
        voxel: The click (z, y, x).

    Returns:
        The voxel itself where it is a candidate, however small its part; else the nearest one
        of a part of at least 1 mm²; None where there is none, or the click lies outside.
    """
    if field.is_candidate(voxel):
        return voxel
    z, y, x = voxel
    if not field.low[0] <= z < field.high[0]:
        return None
    window, rows, columns = _window(field, voxel)
    if window.size == 0:
        return None
    _, row_mm, column_mm = field.spacing_mm
    parts, _ = ndimage.label(window >= field.threshold_hu, structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel()) * row_mm * column_mm
    sizes[0] = 0
    distance = np.hypot(
        (np.arange(rows.start, rows.stop) - y)[:, None] * row_mm,
        (np.arange(columns.start, columns.stop) - x) * column_mm,
    )
    distance[(sizes[parts] < _SMALLEST_MM2) | (distance > SNAP_MM)] = np.inf
    at = np.unravel_index(distance.argmin(), distance.shape)
    if not np.isfinite(distance[at]):
        return None
    return z, rows.start + int(at[0]), columns.start + int(at[1])


def _window(field: Field, voxel: tuple[int, int, int]) -> tuple[NDArray[Any], slice, slice]:
    """Cut what lies around a click out of its slice."""
    sides = []
    for axis in (1, 2):
        pixels = int((SNAP_MM + _MARGIN_MM) / field.spacing_mm[axis]) + 1
        first = max(voxel[axis] - pixels, field.low[axis])
        sides.append(slice(first, max(min(voxel[axis] + pixels + 1, field.high[axis]), first)))
    rows, columns = sides
    return field.hu[voxel[0], rows, columns], rows, columns
