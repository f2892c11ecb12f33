"""Connected components of a sparse set of voxels.

Calcium fills a few thousand of fifteen million voxels. Joining the voxels as a graph costs
what the calcium costs, not what the volume costs, and lets many stochastic samples of one
volume share the search for neighbours.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_MOST_STEPS = {4: 1, 8: 2, 6: 1, 26: 3}
"""Axes along which neighbours of a connectivity may differ by one, at most."""

_PLANAR = (4, 8)
"""Connectivities that stay within an axial slice."""


@dataclass(frozen=True)
class VoxelPairs:
    """Pairs of neighbouring voxels, as positions in a list of voxels.

    Attributes:
        first: Position of one voxel of each pair, shape (E,).
        second: Position of the other, shape (E,).
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]


def neighbour_offsets(connectivity: int) -> tuple[tuple[int, int, int], ...]:
    """Return one (z, y, x) offset of each pair of opposite neighbour directions."""
    most_steps = _MOST_STEPS[connectivity]
    depth = (0,) if connectivity in _PLANAR else (0, 1)
    return tuple(
        offset
        for offset in product(depth, (-1, 0, 1), (-1, 0, 1))
        if offset > (0, 0, 0) and sum(map(abs, offset)) <= most_steps
    )


def voxel_pairs(voxels: NDArray[np.intp], connectivity: int) -> VoxelPairs:
    """Find the pairs of neighbours in a list of voxels.

    Args:
        voxels: Distinct voxel indices (z, y, x), shape (3, N).
        connectivity: 4 or 8 within axial slices, 6 or 26 in space.

    Returns:
        Every pair once; empty for fewer than two voxels.
    """
    count = voxels.shape[1]
    if count == 0:
        return VoxelPairs(np.empty(0, np.intp), np.empty(0, np.intp))
    low = voxels.min(axis=1, keepdims=True)
    # A margin of one voxel on every side keeps each neighbour inside the table.
    shape = tuple(int(side) for side in (voxels.max(axis=1) - low[:, 0] + 3))
    flat = np.ravel_multi_index(tuple(voxels - low + 1), shape)
    positions = np.full(shape, -1, np.int32).ravel()
    positions[flat] = np.arange(count, dtype=np.int32)
    strides = (shape[1] * shape[2], shape[2], 1)
    firsts, seconds = [], []
    for offset in neighbour_offsets(connectivity):
        step = sum(length * stride for length, stride in zip(offset, strides, strict=True))
        neighbour = positions[flat + step]
        first = np.flatnonzero(neighbour >= 0)
        firsts.append(first)
        seconds.append(neighbour[first].astype(np.intp))
    return VoxelPairs(np.concatenate(firsts), np.concatenate(seconds))


def label_components(count: int, pairs: VoxelPairs) -> NDArray[np.int32]:
    """Number the connected components of ``count`` voxels from 0, shape (N,)."""
    joined = np.ones(pairs.first.size, np.int8)
    graph = coo_array((joined, (pairs.first, pairs.second)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    return component.astype(np.int32, copy=False)
