"""How far two grids lie apart, seen at the corners of the first."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.imaging.volume import Grid

MAX_CORNER_SHIFT: Final = 0.1
"""Farthest that corresponding corner voxels may lie apart, in voxels.

Viewers write spacings and offsets with few decimals and average slice distances, which adds
up over hundreds of slices; a tenth of a voxel still leaves no doubt which voxel is meant.
"""


def corner_shift(a: Grid, b: Grid, offset: NDArray[np.float64] | None = None) -> float:
    """Measure how far the corners of one grid lie from where they should be in another.

    Args:
        a: Grid whose eight corner voxels are looked at.
        b: Grid they are looked for in.
        offset: Index in ``b`` of the first voxel of ``a``, in the order (x, y, z); zero if None.

    Returns:
        Largest distance along an axis, in voxels of ``b``.
    """
    last = np.asarray(a.shape[::-1], np.float64) - 1
    corners = np.array(np.meshgrid(*((0.0, end) for end in last))).reshape(3, -1)
    to_b = np.linalg.inv(b.affine) @ a.affine
    seen = to_b[:3, :3] @ corners + to_b[:3, 3:]
    expected = corners if offset is None else corners + offset[:, None]
    return float(np.abs(seen - expected).max())
