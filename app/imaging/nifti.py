"""NIfTI files: geometry and values, each checked before it is trusted.

nibabel reads the header; the voxels are taken as they lie in the file, because the readers
that would do it for us choose between sform and qform in different ways.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, cast

import nibabel
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from app.errors import ImagingError
from app.imaging.corners import MAX_CORNER_SHIFT, corner_shift
from app.imaging.parsing import PARSER_ERRORS
from app.imaging.plausibility import PORTION_VOXELS, check_grid, check_rescale, check_shape
from app.imaging.volume import Grid

_HEADER_BYTES: Final[Mapping[int, Callable[..., Any]]] = {
    348: nibabel.Nifti1Header,
    540: nibabel.Nifti2Header,
}
"""Header classes of NIfTI-1 and NIfTI-2 by the size they state in their first four bytes."""

_RAS_TO_LPS: Final = np.array([[-1.0], [-1.0], [1.0], [1.0]])
"""Signs of the affine's rows: NIfTI points x to the right and y to the front, DICOM not.

A factor per row, not a matrix, so that infinite values of a damaged header stay in place.
"""

_MAX_HEADER_BYTES: Final = 2**20
"""Farthest place of the first voxel, leaving room for header extensions."""

_GZIP_LEVEL: Final = 1
"""Level of isal: 17 times faster than zlib at level 6 on a CT, and 6 % larger."""


@dataclass(frozen=True)
class NiftiHeader:
    """The facts of a NIfTI header that decide how its voxels are read.

    Attributes:
        grid: Place of the voxels, plausible.
        dtype: Type of the stored values, with its byte order.
        offset: Bytes before the first voxel.
        slope: Factor from stored values to values.
        intercept: Added after the factor.
        description: The free text of the header.
    """

    grid: Grid
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    description: str


def read_header(path: Path) -> NiftiHeader:
    """Read and check the header of a NIfTI file.

    Raises:
        ImagingError: If it is damaged, not three-dimensional, or its geometry implausible,
            absent or contradictory.
    """
    try:
        with _open(path) as stream:
            header = _parse(stream.read(max(_HEADER_BYTES)))
        return _check(header)
    except PARSER_ERRORS as error:
        raise ImagingError("the NIfTI header cannot be read") from error


def read_values(path: Path, header: NiftiHeader) -> NDArray[Any]:
    """Read the voxels of a NIfTI file, scaled, shape (Z, Y, X).

    Raises:
        ImagingError: If the file ends early or cannot be decompressed.
    """
    (values,) = _read(path, header, int(np.prod(header.grid.shape)))
    return values.reshape(header.grid.shape)


def read_portions(path: Path, header: NiftiHeader) -> Iterator[NDArray[Any]]:
    """Read the voxels of a NIfTI file, scaled, flat and portion by portion.

    Raises:
        ImagingError: As ``read_values``.
    """
    return _read(path, header, PORTION_VOXELS)


def _read(path: Path, header: NiftiHeader, at_once: int) -> Iterator[NDArray[Any]]:
    left, come = int(np.prod(header.grid.shape)) * header.dtype.itemsize, 0
    try:
        with _open(path) as stream:
            stream.read(header.offset)
            while left > 0:
                data = stream.read(min(left, at_once * header.dtype.itemsize))
                come, left = come + len(data), left - len(data)
                if not data or len(data) % header.dtype.itemsize:
                    raise ImagingError(
                        f"expected {come + left} bytes of voxels, the file ends after {come}"
                    )
                yield _scaled(np.frombuffer(data, header.dtype), header)
    except PARSER_ERRORS as error:
        raise ImagingError("the voxels cannot be decompressed: the file is damaged") from error


def _scaled(values: NDArray[Any], header: NiftiHeader) -> NDArray[Any]:
    native = values.astype(header.dtype.newbyteorder("="), copy=False)
    if (header.slope, header.intercept) == (1.0, 0.0):
        return native
    return native * header.slope + header.intercept


def encode(array: NDArray[Any], grid: Grid, description: str = "") -> bytes:
    """Encode an array as an uncompressed NIfTI-1 file with equal sform and qform.

    Args:
        array: Voxels, shape (Z, Y, X).
        grid: Place of the voxels.
        description: Free text, at most 79 ASCII characters.
    """
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), _RAS_TO_LPS * grid.affine)
    image.set_sform(image.affine, code="scanner")
    image.set_qform(image.affine, code="scanner")
    image.header["descrip"] = description.encode("ascii")
    image.header.set_xyzt_units("mm")
    return image.to_bytes()


def write(path: Path, array: NDArray[Any], grid: Grid, description: str = "") -> None:
    """Write an array (Z, Y, X) as NIfTI, gzipped where the name ends in ``.gz``."""
    data = encode(array, grid, description)
    compressed = path.name.lower().endswith(".gz")
    # A fixed time stamp keeps equal volumes equal byte for byte.
    path.write_bytes(igzip.compress(data, _GZIP_LEVEL, mtime=0) if compressed else data)


def _open(path: Path) -> BinaryIO:
    compressed = path.name.lower().endswith(".gz")
    return cast(BinaryIO, igzip.open(path) if compressed else path.open("rb"))


def _parse(block: bytes) -> Any:
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        size = int.from_bytes(block[:4], order)
        if size in _HEADER_BYTES and len(block) >= size:
            return _HEADER_BYTES[size](block[:size], check=False)
    raise ImagingError("the file is not NIfTI, or its header is cut off")


def _check(header: Any) -> NiftiHeader:
    offset = int(header["vox_offset"])
    if b"+" not in bytes(header["magic"].item()) or not 0 < offset <= _MAX_HEADER_BYTES:
        raise ImagingError("expected header and voxels in one NIfTI file")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise ImagingError(f"expected real numbers, got voxels of type {dtype.name}")
    slope, intercept = _rescale(header)
    grid = _grid(header)
    description = bytes(header["descrip"].item()).decode("ascii", "replace")
    return NiftiHeader(grid, dtype, offset, slope, intercept, description)


def _rescale(header: Any) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    # The standard lets 0 stand for "not scaled"; nibabel writes NaN for the same.
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    check_rescale(slope, intercept)
    return slope, intercept


def _grid(header: Any) -> Grid:
    shape = tuple(int(length) for length in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise ImagingError(f"expected a volume of 3 dimensions, got {len(shape)}")
    check_shape(shape)
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    if sform is None and qform is None:
        raise ImagingError("expected an orientation, got neither sform nor qform")
    grids = [
        Grid((shape[2], shape[1], shape[0]), _RAS_TO_LPS * np.asarray(form, np.float64))
        for form in (sform, qform)
        if form is not None
    ]
    for grid in grids:
        check_grid(grid)
    if corner_shift(grids[0], grids[-1]) > MAX_CORNER_SHIFT:
        raise ImagingError("its sform and its qform place the voxels differently")
    return grids[0]
