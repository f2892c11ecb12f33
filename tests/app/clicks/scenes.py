"""Small axial scenes with calcium, bone and blood to click on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.arrays import AxialImage, axial_image
from app.clicks.islands import Field
from app.imaging.volume import Volume
from tests.factories import make_grid

SPACING_MM = (3.0, 0.5, 0.5)
"""Spacing of a typical calcium scan along (Z, Y, X); a voxel has 0.25 mm2 and 0.75 mm3."""

TISSUE_HU = 40

Box = tuple[slice, slice, slice]


def scene(shape: tuple[int, int, int], *boxes: Box, hu: int = 300) -> NDArray[np.int16]:
    """Make soft tissue with boxes of calcium."""
    volume = np.full(shape, TISSUE_HU, np.int16)
    for box in boxes:
        volume[box] = hu
    return volume


def field(hu: NDArray[np.int16], connectivity: int = 26) -> Field:
    """Let islands grow anywhere in a volume."""
    depth, height, width = hu.shape
    return Field(hu, SPACING_MM, 130, (0, 0, 0), (depth, height, width), connectivity)


def image(hu: NDArray[np.int16], *, kvp: float | None = 120.0) -> AxialImage:
    """Make an image whose file has the axial order."""
    return axial_image(Volume(hu, make_grid(hu.shape, spacing_mm=SPACING_MM), kvp))


def mask_of(shape: Sequence[int], voxels: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Mark some voxels."""
    mask = np.zeros(shape, np.bool_)
    mask[tuple(voxels)] = True
    return mask
