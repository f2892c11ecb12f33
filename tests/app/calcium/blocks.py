"""Small volumes of blocks whose scores can be worked out by hand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPACING_MM = (3.0, 0.5, 0.5)
"""A pixel is 0.25 mm2, a voxel 0.75 mm3, and the score is not scaled."""


@dataclass(frozen=True)
class Block:
    """A cuboid of one attenuation and label; rows and columns as half-open ranges."""

    slice: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    hu: float
    label: int = 2


def volume_of(
    *blocks: Block, dtype: type[np.int16] | type[np.float32] = np.int16
) -> tuple[NDArray[np.int16 | np.float32], NDArray[np.uint8]]:
    """Build three slices of 16 x 16 voxels at 40 HU with the blocks, and their label map."""
    hu = np.full((3, 16, 16), 40, dtype)
    labels = np.zeros(hu.shape, np.uint8)
    for block in blocks:
        where = block.slice, slice(*block.rows), slice(*block.columns)
        hu[where] = block.hu
        labels[where] = block.label
    return hu, labels
