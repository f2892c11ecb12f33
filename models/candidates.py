"""Which candidate voxels are sampled, and in which patches they are decoded."""

from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

REACH_MM: Final = 8.0
"""Candidates within this distance of a predicted region or lesion, in the slice, can matter."""

LARGEST_LESION_MM3: Final = 5000.0
"""Connected candidates of a larger volume are bone, metal or contrast, not coronary calcium.

In a published collection of lesions the largest has 962 mm³ and 95 % have less than 294 mm³.
"""

_TOUCHING: Final = 26
"""Voxels of one component touch by a face, an edge or a corner."""

_CALL_PIXELS: Final = 256
"""Pixels whose decoding takes as long as the calls for one more patch."""

_LONGEST_SIDE: Final = 48
"""Longer boxes are cut even where that saves nothing yet: scattered points need several cuts."""


def large_components(
    candidates: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Mark the candidates whose connected component is larger than any coronary lesion.

    Args:
        candidates: Shape (Z, Y, X).
        spacing_mm: Distance between voxel centres along (Z, Y, X).
    """
    components = cc3d.connected_components(candidates, connectivity=_TOUCHING)
    volume_mm3 = np.bincount(components.ravel()) * float(np.prod(spacing_mm))
    is_large = volume_mm3 > LARGEST_LESION_MM3
    is_large[0] = False
    marked: NDArray[np.bool_] = is_large[components]
    return marked


def widen(mask: NDArray[np.bool_], reach: tuple[int, int]) -> NDArray[np.bool_]:
    """Widen a mask, shape (Y, X), by ``reach`` pixels along each axis, to a rectangle."""
    wide = mask.view(np.uint8)
    for axis, pixels in enumerate(reach):
        wide = ndimage.maximum_filter1d(wide, 2 * pixels + 1, axis=axis, mode="constant")
    return wide > 0


def group_into_patches(points: NDArray[np.int64], margin: int) -> list[NDArray[np.intp]]:
    """Group pixels so that the boxes around the groups hold few pixels in all.

    A box is cut in two where that saves most, as long as it is long or the cut saves more
    than the calls for another box cost.

    Args:
        points: Rows and columns, shape (2, N).
        margin: Pixels that every box holds around its points on each side.

    Returns:
        Indices of the points of each group; every point is in exactly one.
    """
    if points.shape[1] == 0:
        return []
    groups, waiting = [], [np.arange(points.shape[1])]
    while waiting:
        group = waiting.pop()
        cut = _best_cut(points[:, group], margin)
        if cut is None:
            groups.append(group)
        else:
            waiting += [group[cut], group[~cut]]
    return groups


def _best_cut(points: NDArray[np.int64], margin: int) -> NDArray[np.bool_] | None:
    """Mark the points on one side of the best cut; None when the box is better whole."""
    sides = np.ptp(points, axis=1) + 1
    whole = np.prod(sides + 2 * margin) - _CALL_PIXELS
    best, marked = (np.inf if sides.max() > _LONGEST_SIDE else float(whole)), None
    for axis in (0, 1):
        along, across = points[axis], points[1 - axis]
        order = np.argsort(along, kind="stable")
        along, across = along[order], across[order]
        before = _areas(along, across, margin)[:-1]
        after = _areas(-along[::-1], across[::-1], margin)[::-1][1:]
        costs = np.where(along[1:] > along[:-1], before + after, np.inf)
        if costs.size and costs.min() < best:
            place = int(costs.argmin())
            best = float(costs[place])
            marked = points[axis] <= along[place]
    return marked


def _areas(along: NDArray[np.int64], across: NDArray[np.int64], margin: int) -> NDArray[np.int64]:
    """Return the area of the box around the first n points, for every n from 1."""
    across_side = np.maximum.accumulate(across) - np.minimum.accumulate(across) + 1 + 2 * margin
    areas: NDArray[np.int64] = (along - along[0] + 1 + 2 * margin) * across_side
    return areas
