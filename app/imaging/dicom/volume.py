"""Checked slices to a volume: pixels are decoded one by one and never resampled."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray

from app.errors import ImagingError
from app.imaging.dicom.expansion import check_packed
from app.imaging.dicom.header import SliceHeader, quiet_pydicom, read_dataset
from app.imaging.dicom.series import order_slices, series_grid, series_kvp
from app.imaging.parsing import PARSER_ERRORS, simpleitk_name
from app.imaging.plausibility import MAX_VOXELS, check_shape, to_hounsfield
from app.imaging.volume import Volume

_PYDICOM_SYNTAXES: Final = (
    pydicom.uid.ImplicitVRLittleEndian,
    pydicom.uid.ExplicitVRLittleEndian,
    pydicom.uid.ExplicitVRBigEndian,
    pydicom.uid.DeflatedExplicitVRLittleEndian,
    pydicom.uid.RLELossless,
)
"""Transfer syntaxes that pydicom decodes alone; the JPEG family is left to GDCM."""


def read_series(slices: Sequence[SliceHeader], *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Read the slices of one series, in any order, into a volume.

    Args:
        slices: Headers of the slices.
        max_voxels: Most voxels that are decoded.

    Raises:
        ImagingError: If they make no regular axial stack, or pixels are cut off, cannot be
            decoded, or are no HU.
    """
    ordered = order_slices(slices)
    grid = series_grid(ordered)
    check_shape(grid.shape, max_voxels)
    return Volume(_read_hounsfield(ordered), grid, series_kvp(ordered), ordered[0].identifiers)


def _read_hounsfield(slices: Sequence[SliceHeader]) -> NDArray[np.int16]:
    """Decode ordered slices, each with its own rescale, rounded to the nearest HU."""
    first = slices[0]
    exact = np.empty((len(slices), first.rows, first.columns), _exact_type(slices))
    with quiet_pydicom():
        for index, header in enumerate(slices):
            exact[index] = _decode(header)
    return to_hounsfield(exact)


def _exact_type(slices: Sequence[SliceHeader]) -> type[np.int32] | type[np.float64]:
    """Choose the smallest type in which slope and intercept are exact."""
    whole = all(header.slope == 1 and header.intercept_hu.is_integer() for header in slices)
    return np.int32 if whole else np.float64


def _decode(header: SliceHeader) -> NDArray[Any]:
    try:
        with header.path.open("rb") as stream:
            dataset = read_dataset(stream)
        check_packed(dataset)
        if dataset.file_meta.TransferSyntaxUID in _PYDICOM_SYNTAXES:
            stored = dataset.pixel_array
            rescaled = stored * header.slope + header.intercept_hu
        else:
            rescaled = _decode_with_gdcm(header)
    except PARSER_ERRORS as error:
        raise ImagingError(_sentence(header, "cannot be decoded")) from error
    if rescaled.shape != (header.rows, header.columns):
        raise ImagingError(_sentence(header, "have another size than the header says"))
    return rescaled


def _decode_with_gdcm(header: SliceHeader) -> NDArray[Any]:
    """Decode one slice with the codecs inside SimpleITK, which applies the rescale itself."""
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(simpleitk_name(header.path))
    # It reads the header in its own way, and would make room for whatever it finds there.
    reader.ReadImageInformation()
    if math.prod(reader.GetSize()) != header.rows * header.columns:
        raise ImagingError(_sentence(header, "have another size than the header says"))
    return np.asarray(SimpleITK.GetArrayFromImage(reader.Execute())).squeeze()


def _sentence(header: SliceHeader, what: str) -> str:
    return f"the pixels of the slice at z {header.position_mm[2]:.2f} mm {what}"
