"""Label maps in and out: what viewers submit and what is stored and answered."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import ImagingError, LabelError
from app.imaging import itk, nifti
from app.imaging.plausibility import MAX_VOXELS, check_shape
from app.imaging.volume import Grid

_SEGMENT_FIELD: Final = re.compile(r"Segment(\d+)_(ID|Name|LabelValue|Layer)")
"""Key of 3D Slicer's segmentation header, in NRRD files ending in ``.seg.nrrd``."""

_MAX_VALUE: Final = int(np.iinfo(np.uint16).max)
"""Largest label value read; 3D Slicer counts segments from 1."""


@dataclass(frozen=True)
class Segment:
    """One named label of a 3D Slicer segmentation.

    Attributes:
        name: Name as the annotator sees it.
        value: Value of its voxels.
        layer: Layer its voxels are in; 0 where there is only one.
    """

    name: str
    value: int
    layer: int = 0


@dataclass(frozen=True)
class LabelMap:
    """Labels of the voxels of a grid.

    Attributes:
        array: Values, uint8 or uint16, shape (Z, Y, X), or (L, Z, Y, X) with L > 1 layers
            where segments may overlap.
        grid: Place of the voxels.
        segments: Names that the file itself holds; empty for plain label maps.
    """

    array: NDArray[Any]
    grid: Grid
    segments: tuple[Segment, ...] = ()


def read_label_map(path: Path, *, max_voxels: int = MAX_VOXELS) -> LabelMap:
    """Read a label map from NRRD (also ``.seg.nrrd``), NIfTI or MetaImage.

    The place of a cropped segmentation is in its origin; ``match_label_to_grid`` puts it back.

    Args:
        path: The file.
        max_voxels: Most voxels of all layers that are decoded.

    Raises:
        LabelError: If the file cannot be read, its geometry is implausible, or a value is not
            an integer from 0 to 65535.
    """
    try:
        return (_read_nifti if _is_nifti(path) else _read_itk)(path, max_voxels)
    except ImagingError as error:
        raise LabelError(str(error)) from error


def write_label_map(
    path: Path,
    array: NDArray[np.uint8],
    grid: Grid,
    *,
    compress: bool,
    names: Mapping[str, int] | None = None,
) -> None:
    """Write a label map in the format of the ending of ``path``.

    Args:
        path: File to write, ending in ``.nrrd``, ``.nii`` or ``.nii.gz``.
        array: Label values, uint8, shape (Z, Y, X).
        grid: Place of the voxels.
        compress: Whether a NRRD is gzipped; for NIfTI the ending says it.
        names: Value of each label, kept as 3D Slicer segments; NIfTI has no place for them.

    Raises:
        LabelError: If the ending is none of these.
        ValueError: If the array does not fit the grid.
    """
    if array.shape != grid.shape or array.dtype != np.uint8:
        raise ValueError(f"expected uint8 {grid.shape}, got {array.dtype} {array.shape}")
    if _is_nifti(path):
        nifti.write(path, array, grid)
    elif path.suffix.lower() == ".nrrd":
        itk.write(path, array, grid, compress=compress, metadata=_segment_fields(names or {}))
    else:
        raise LabelError(f"expected a label as .nrrd, .nii or .nii.gz, got {path.suffix!r}")


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _read_nifti(path: Path, max_voxels: int) -> LabelMap:
    header = nifti.read_header(path)
    check_shape(header.grid.shape, max_voxels)
    return LabelMap(_to_labels(nifti.read_values(path, header)), header.grid)


def _read_itk(path: Path, max_voxels: int) -> LabelMap:
    if path.suffix.lower() not in itk.SUFFIXES:
        raise LabelError(f"expected a label as NRRD, NIfTI or MetaImage, got {path.suffix!r}")
    image = itk.read_header(path)
    check_shape((image.components, *image.grid.shape), max_voxels)
    array = _to_labels(itk.read_values(image))
    return LabelMap(array, image.grid, _segments(image.metadata, image.components))


def _to_labels(values: NDArray[Any]) -> NDArray[Any]:
    """Turn values of any type into label values, refusing what a label cannot be."""
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise LabelError("the label holds voxels that are not finite")
    if low < 0 or high > _MAX_VALUE:
        raise LabelError(f"expected label values from 0 to {_MAX_VALUE}, got {low:g} to {high:g}")
    labels = values.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)
    if values.dtype.kind == "f" and not np.array_equal(labels, values):
        raise LabelError("expected whole label values, got fractions")
    return labels


def _segments(metadata: Mapping[str, str], layers: int) -> tuple[Segment, ...]:
    fields: dict[int, dict[str, str]] = {}
    for key, text in metadata.items():
        if match := _SEGMENT_FIELD.fullmatch(key):
            fields.setdefault(int(match[1]), {})[match[2]] = text.strip()
    return tuple(_segment(fields[number], layers) for number in sorted(fields))


def _segment(fields: Mapping[str, str], layers: int) -> Segment:
    name = fields.get("Name", fields.get("ID", ""))
    value = _whole(fields.get("LabelValue", "1"))
    layer = _whole(fields.get("Layer", "0"))
    if value is None or not 1 <= value <= _MAX_VALUE or layer is None or not 0 <= layer < layers:
        raise LabelError(
            f"expected a value from 1 to {_MAX_VALUE} and a layer from 0 to {layers - 1} "
            f"of segment {name[:40]!r}"
        )
    return Segment(name, value, layer)


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _segment_fields(names: Mapping[str, int]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for number, (name, value) in enumerate(names.items()):
        prefix = f"Segment{number}_"
        fields |= {prefix + "ID": name, prefix + "Name": name}
        fields |= {prefix + "LabelValue": str(value), prefix + "Layer": "0"}
    return fields
