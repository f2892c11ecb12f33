"""NRRD and MetaImage files through SimpleITK, with the traps of both closed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from app.errors import ImagingError
from app.imaging.itk_header import (
    TextHeader,
    check_encoding,
    check_geometry,
    check_length,
    has_layers_first,
    is_big_endian,
    is_packed,
    read_text_header,
    unpack,
)
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

_TYPES: Final[Mapping[int, np.dtype[Any]]] = {
    int(getattr(SimpleITK, f"sitk{prefix}{name}")): np.dtype(name.lower())
    for prefix in ("", "Vector")
    for name in (
        *("Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"),
        *("Float32", "Float64"),
    )
}
"""Types of the values by SimpleITK's number for them."""


@dataclass(frozen=True)
class ItkImage:
    """A file's header, and the way to its voxels.

    Attributes:
        path: The file.
        grid: Place of the voxels, plausible.
        components: Values per voxel: layers of a segmentation, 1 for an image.
        dtype: Type of a value.
        metadata: Key-value pairs of the header.
        text: The header as it stands in the file.
    """

    path: Path
    grid: Grid
    components: int
    dtype: np.dtype[Any]
    metadata: Mapping[str, str]
    text: TextHeader


def read_header(path: Path) -> ItkImage:
    """Read and check the header of a NRRD or MetaImage file.

    Raises:
        ImagingError: If it is damaged, not three-dimensional, in no patient space, names a
            file elsewhere as its voxels, or its geometry is implausible.
    """
    try:
        text = read_text_header(path)
        check_encoding(text)
        reader = _reader(path)
        reader.ReadImageInformation()
        metadata = {key: _text(reader.GetMetaData(key)) for key in reader.GetMetaDataKeys()}
    except PARSER_ERRORS as error:
        raise ImagingError("the header cannot be read") from error
    if metadata.get("NRRD_space", _PATIENT_SPACE) != _PATIENT_SPACE or (
        text.is_nrrd and "NRRD_space" not in metadata
    ):
        raise ImagingError(
            "expected the patient space left-posterior-superior, "
            f"got {metadata.get('NRRD_space', 'none')}"
        )
    check_geometry(text)
    dtype = _TYPES.get(int(reader.GetPixelID()))
    if dtype is None:
        raise ImagingError("expected real numbers as voxels")
    components, grid = int(reader.GetNumberOfComponents()), _grid(reader)
    check_shape((components, *grid.shape))
    return ItkImage(path, grid, components, dtype, metadata, text)


def read_values(image: ItkImage) -> NDArray[Any]:
    """Read the voxels, shape (Z, Y, X), or (L, Z, Y, X) with L > 1 components.

    Raises:
        ImagingError: If the file is damaged or ends early.
    """
    layers = (image.components,) if image.components > 1 else ()
    shape = image.grid.shape + layers
    try:
        values = (
            _unpack(image, shape) if is_packed(image.text) else _read_plain(image, math.prod(shape))
        )
    except PARSER_ERRORS as error:
        raise ImagingError("the voxels cannot be read: the file is damaged") from error
    # Four dimensions with a single frame are a volume with one axis too many.
    values = values.reshape(shape)
    return np.ascontiguousarray(np.moveaxis(values, -1, 0) if layers else values)


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


def _unpack(image: ItkImage, shape: tuple[int, ...]) -> NDArray[Any]:
    """Decompress the voxels: SimpleITK returns those of a damaged stream without a word."""
    if image.components > 1 and not has_layers_first(image.text):
        raise ImagingError("expected the layers of a segmentation along the first axis")
    stored = image.dtype
    if stored.itemsize > 1:
        stored = stored.newbyteorder(">" if is_big_endian(image.text) else "<")
    data = unpack(image.text, math.prod(shape) * stored.itemsize)
    return np.frombuffer(data, stored).astype(image.dtype, copy=False)


def _read_plain(image: ItkImage, count: int) -> NDArray[Any]:
    check_length(image.text, count * image.dtype.itemsize)
    return np.asarray(SimpleITK.GetArrayFromImage(_reader(image.path).Execute()))


def _reader(path: Path) -> SimpleITK.ImageFileReader:
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(_IMAGE_IO[path.suffix.lower()])
    reader.SetFileName(simpleitk_name(path))
    return reader


def _text(value: str) -> str:
    """Replace what is no UTF-8, which SimpleITK hands on as lone surrogates."""
    return value.encode("utf-8", "replace").decode("utf-8")


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
