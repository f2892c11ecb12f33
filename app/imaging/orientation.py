"""Flips and permutations between the stored order of the axes and the axial one.

Axial order: index z grows to the head, y to the back, x to the patient's left. Voxels only
change their place in memory here, never their value or their place in the patient.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.errors import ImagingError
from app.imaging.volume import Grid

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True)
class AxisMap:
    """A signed permutation of the index axes, in the order (x, y, z).

    Attributes:
        order: New axis k runs along the old axis ``order[k]``.
        flips: Whether new axis k runs backwards along it.
    """

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def inverse(self) -> "AxisMap":
        """Return the map that undoes this one."""
        order = tuple(self.order.index(axis) for axis in range(3))
        flips = tuple(self.flips[axis] for axis in order)
        return AxisMap((order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))

    def map_array(self, array: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Reorder the last three axes, (Z, Y, X), of an array; the result is contiguous."""
        last = array.ndim - 1
        leading = tuple(range(array.ndim - 3))
        moved = array.transpose(*leading, *(last - axis for axis in reversed(self.order)))
        backwards = tuple(last - axis for axis in range(3) if self.flips[axis])
        return np.ascontiguousarray(np.flip(moved, backwards))

    def map_grid(self, grid: Grid) -> Grid:
        """Return the grid of the reordered array, with every voxel at its old place."""
        sizes = grid.shape[::-1]
        affine = grid.affine.copy()
        for axis, (old, flip) in enumerate(zip(self.order, self.flips, strict=True)):
            step = grid.affine[:3, old]
            affine[:3, axis] = -step if flip else step
            if flip:
                affine[:3, 3] += step * (sizes[old] - 1)
        x, y, z = (sizes[old] for old in self.order)
        return Grid((z, y, x), affine)

    def map_index(self, index: tuple[int, int, int], grid: Grid) -> tuple[int, int, int]:
        """Return the (x, y, z) index of a voxel of ``grid`` in the reordered array."""
        sizes = grid.shape[::-1]
        x, y, z = (
            sizes[old] - 1 - index[old] if flip else index[old]
            for old, flip in zip(self.order, self.flips, strict=True)
        )
        return x, y, z


def axis_map(linear: NDArray[np.float64]) -> AxisMap:
    """Find the signed permutation nearest to a matrix of directions.

    Args:
        linear: Column i holds the direction of old axis i in new axes, shape (3, 3).

    Raises:
        ImagingError: If two old axes follow the same new axis.
    """
    order = tuple(int(axis) for axis in np.abs(linear).argmax(axis=1))
    if sorted(order) != [0, 1, 2]:
        raise ImagingError("the image axes do not follow the axes of the patient")
    flips = tuple(bool(linear[axis, old] < 0) for axis, old in enumerate(order))
    return AxisMap((order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))


def axial_map(grid: Grid) -> AxisMap:
    """Find the map from the stored order of a grid to the axial one."""
    return axis_map(grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0))


def to_axial(array: NDArray[_Scalar], grid: Grid) -> tuple[NDArray[_Scalar], Grid]:
    """Bring an array into axial order.

    Args:
        array: Voxels on ``grid``; its last three axes are (Z, Y, X).
        grid: Grid as stored.

    Returns:
        The reordered array and the grid of the same voxels in that order.
    """
    mapping = axial_map(grid)
    return mapping.map_array(array), mapping.map_grid(grid)


def from_axial(array: NDArray[Any], stored_grid: Grid) -> NDArray[Any]:
    """Bring an axial array back into the order of the grid it came from.

    Args:
        array: Voxels in axial order; its last three axes are (Z, Y, X).
        stored_grid: Grid that ``to_axial`` was given.
    """
    return axial_map(stored_grid).inverse().map_array(array)
