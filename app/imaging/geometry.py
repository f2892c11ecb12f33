"""Whether two grids are one, and how a label finds its place on the grid of its image."""

from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import ImagingError, LabelError
from app.imaging.corners import MAX_CORNER_SHIFT, corner_shift
from app.imaging.labelmap import LabelMap
from app.imaging.orientation import axis_map
from app.imaging.volume import Grid


def same_grid(a: Grid, b: Grid) -> bool:
    """Tell whether two grids have the same shape and put every voxel at the same place."""
    return a.shape == b.shape and corner_shift(a, b) <= MAX_CORNER_SHIFT


def match_label_to_grid(label: LabelMap, grid: Grid) -> LabelMap:
    """Bring a label onto the grid of its image without interpolation.

    Accepted are the same voxels in another axis order, and a part of them (a viewer crops to
    what is painted), also one that reaches beyond the image where nothing is painted.

    Args:
        label: Label as submitted.
        grid: Grid of the image.

    Returns:
        The label on exactly ``grid``, segments unchanged.

    Raises:
        LabelError: If no shift by whole voxels, flip or permutation does it, or if labeled
            voxels lie outside the image.
    """
    if _is_empty(label):
        return LabelMap(_empty(label.array, grid), grid, label.segments)
    to_image = np.linalg.inv(grid.affine) @ label.grid.affine
    try:
        mapping = axis_map(to_image[:3, :3])
    except ImagingError:
        raise LabelError("the label is rotated against its image") from None
    moved = mapping.map_grid(label.grid)
    index = (np.linalg.inv(grid.affine) @ moved.affine)[:3, 3]
    offset = np.rint(index)
    if corner_shift(moved, grid, offset) > MAX_CORNER_SHIFT:
        raise LabelError(_difference(moved, grid, index))
    array = _embed(mapping.map_array(label.array), grid, offset.astype(np.int64))
    return LabelMap(array, grid, label.segments)


def _difference(label: Grid, image: Grid, index: NDArray[np.float64]) -> str:
    """Say in one sentence what keeps the label from its image."""
    if not np.allclose(label.spacing_mm, image.spacing_mm, rtol=1e-3):
        return (
            f"expected voxels of {_millimetres(image)} mm as in the image, "
            f"the label has {_millimetres(label)} mm"
        )
    directions = label.affine[:3, :3] / np.linalg.norm(label.affine[:3, :3], axis=0)
    image_directions = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    if not np.allclose(directions, image_directions, atol=1e-3):
        return "the label is rotated against its image"
    shift = ", ".join(f"{fraction:.2f}" for fraction in index - np.rint(index))
    return f"the label lies between the voxels of its image, off by ({shift}) voxels in (x, y, z)"


def _millimetres(grid: Grid) -> str:
    return " x ".join(f"{length:.4g}" for length in reversed(grid.spacing_mm))


def _is_empty(label: LabelMap) -> bool:
    # 3D Slicer saves a segmentation without any voxel as one voxel at an arbitrary place.
    return label.grid.shape == (1, 1, 1) and not label.array.any()


def _empty(array: NDArray[Any], grid: Grid) -> NDArray[Any]:
    return np.zeros(array.shape[:-3] + grid.shape, array.dtype)


def _embed(array: NDArray[Any], grid: Grid, offset: NDArray[np.int64]) -> NDArray[Any]:
    """Copy an array into a zero one of the image's size, at an (x, y, z) offset."""
    image = _empty(array, grid)
    to_image: list[EllipsisType | slice] = [...]
    from_label: list[EllipsisType | slice] = [...]
    for start, size, extent in zip(offset[::-1], array.shape[-3:], grid.shape, strict=True):
        first, end = max(int(start), 0), min(int(start) + size, extent)
        to_image.append(slice(first, max(end, first)))
        from_label.append(slice(first - int(start), max(end, first) - int(start)))
    part = array[tuple(from_label)]
    outside = int(np.count_nonzero(array)) - int(np.count_nonzero(part))
    if outside or not part.size:
        raise LabelError(f"the label has {outside} labeled voxels outside its image")
    image[tuple(to_image)] = part
    return image
