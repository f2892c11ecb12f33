"""NRRD and MetaImage files through SimpleITK, with the traps of both closed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from app.errors import ImagingError
from app.imaging.parsing import PARSER_ERRORS, simpleitk_name
from app.imaging.plausibility import check_grid, check_shape
from app.imaging.volume import Grid

_IMAGE_IO: Final = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
"""ITK's reader by file ending, so that no other one is tried on foreign bytes."""

SUFFIXES: Final = frozenset(_IMAGE_IO)
"""File endings that are read here."""

_PATIENT_SPACE: Final = "left-posterior-superior"
"""The space that ITK reports once it has converted RAS, LAS and LPS."""

_DATA_FILE: Final = re.compile(rb"^\s*(data ?file|elementdatafile)\s*[:=]\s*(.*?)\s*$", re.I | re.M)
"""Header line that names the file with the voxels, in NRRD and in MetaImage."""

_EMPTY_LINE: Final = re.compile(rb"\r?\n\r?\n")
"""End of a NRRD header."""

_MAX_HEADER_BYTES: Final = 2**20
"""Longest header searched for that line."""


@dataclass(frozen=True)
class ItkImage:
    """A file's header, and the way to its voxels.

    Attributes:
        path: The file.
        grid: Place of the voxels, plausible.
        components: Values per voxel: layers of a segmentation, 1 for an image.
        metadata: Key-value pairs of the header.
    """

    path: Path
    grid: Grid
    components: int
    metadata: Mapping[str, str]


def read_header(path: Path) -> ItkImage:
    """Read and check the header of a NRRD or MetaImage file.

    Raises:
        ImagingError: If it is damaged, not three-dimensional, in no patient space, names a
            file elsewhere as its voxels, or its geometry is implausible.
    """
    try:
        _check_data_file(path)
        reader = _reader(path)
        reader.ReadImageInformation()
        metadata = {key: _text(reader.GetMetaData(key)) for key in reader.GetMetaDataKeys()}
    except PARSER_ERRORS as error:
        raise ImagingError("the header cannot be read") from error
    if metadata.get("NRRD_space", _PATIENT_SPACE) != _PATIENT_SPACE or (
        path.suffix.lower() in (".nrrd", ".nhdr") and "NRRD_space" not in metadata
    ):
        raise ImagingError(
            "expected the patient space left-posterior-superior, "
            f"got {metadata.get('NRRD_space', 'none')}"
        )
    return ItkImage(path, _grid(reader), int(reader.GetNumberOfComponents()), metadata)


def read_values(image: ItkImage) -> NDArray[Any]:
    """Read the voxels, shape (Z, Y, X), or (L, Z, Y, X) with L > 1 components.

    Raises:
        ImagingError: If the file is damaged or ends early.
    """
    try:
        values = SimpleITK.GetArrayFromImage(_reader(image.path).Execute())
    except PARSER_ERRORS as error:
        raise ImagingError("the voxels cannot be read: the file is damaged") from error
    if image.components > 1:
        values = np.moveaxis(values, -1, 0)
    layers = (image.components,) if image.components > 1 else ()
    # Four dimensions with a single frame are a volume with one axis too many.
    return np.ascontiguousarray(values).reshape(layers + image.grid.shape)


def write(
    path: Path,
    array: NDArray[Any],
    grid: Grid,
    *,
    compress: bool,
    metadata: Mapping[str, str],
) -> None:
    """Write an array (Z, Y, X) as NRRD or MetaImage in LPS, by the ending of ``path``."""
    image = SimpleITK.GetImageFromArray(array)
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    image.SetSpacing([float(length) for length in spacing])
    image.SetOrigin([float(offset) for offset in grid.affine[:3, 3]])
    image.SetDirection([float(cosine) for cosine in (grid.affine[:3, :3] / spacing).ravel()])
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    SimpleITK.WriteImage(image, str(path), compress, 1)


def _reader(path: Path) -> SimpleITK.ImageFileReader:
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(_IMAGE_IO[path.suffix.lower()])
    reader.SetFileName(simpleitk_name(path))
    return reader


def _text(value: str) -> str:
    """Replace what is no UTF-8, which SimpleITK hands on as lone surrogates."""
    return value.encode("utf-8", "replace").decode("utf-8")


def _check_data_file(path: Path) -> None:
    """Refuse headers that would make us read a file outside their folder."""
    with path.open("rb") as stream:
        header = stream.read(_MAX_HEADER_BYTES)
    is_nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    if is_nrrd:
        # A NRRD header ends at an empty line; behind it are voxels or nothing.
        header = _EMPTY_LINE.split(header, maxsplit=1)[0]
    found = _DATA_FILE.search(header)
    if found is None and (not is_nrrd or len(header) == _MAX_HEADER_BYTES):
        raise ImagingError("the header is too long or does not say where the voxels are")
    name = found.group(2).decode("utf-8", "replace") if found else "LOCAL"
    if name == "LOCAL":
        return
    detached = path.suffix.lower() in (".nhdr", ".mhd")
    if not detached or name != Path(name).name or not (path.parent / name).is_file():
        raise ImagingError("expected the voxels in the same folder as their header")


def _grid(reader: SimpleITK.ImageFileReader) -> Grid:
    size, dimension = reader.GetSize(), reader.GetDimension()
    if dimension < 3 or any(length != 1 for length in size[3:]):
        raise ImagingError(f"expected a volume of 3 dimensions, got {dimension}")
    direction = np.asarray(reader.GetDirection(), np.float64).reshape(dimension, dimension)
    affine = np.eye(4)
    affine[:3, :3] = direction[:3, :3] * np.asarray(reader.GetSpacing()[:3])
    affine[:3, 3] = reader.GetOrigin()[:3]
    check_shape(tuple(size[:3]))
    grid = Grid((size[2], size[1], size[0]), affine)
    check_grid(grid)
    return grid
