"""Whether a DICOM file is all there: half of one reads like a whole one with fewer pixels."""

from io import BytesIO
from typing import Final

import pydicom
from pydicom.filereader import data_element_generator, read_partial
from pydicom.pixels.utils import get_expected_length

from app.errors import ImagingError
from app.imaging.dicom.header import quiet_pydicom
from app.imaging.parsing import PARSER_ERRORS

_UNDEFINED: Final = 0xFFFFFFFF
"""Length of elements that end with a delimiter."""

_PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
"""Elements that hold pixels."""


def check_whole(content: bytes) -> None:
    """Check that a DICOM file ends where its elements do, and holds all of its pixels.

    Args:
        content: The file.

    Raises:
        ImagingError: If it is cut off, or no DICOM file.
    """
    with quiet_pydicom():
        try:
            is_whole = _ends_with_an_element(content) and _has_its_pixels(content)
        except PARSER_ERRORS:
            is_whole = False
    if not is_whole:
        raise ImagingError("the DICOM instance is cut off or damaged")


def _ends_with_an_element(content: bytes) -> bool:
    stream = BytesIO(content)
    start = read_partial(stream, stop_when=lambda *_: True)
    if start.file_meta.TransferSyntaxUID.is_deflated:
        # Inflating has checked the end already.
        return True
    is_implicit, is_little = start.original_encoding
    end = stream.tell()
    for element in data_element_generator(stream, bool(is_implicit), bool(is_little)):
        # The lengths of sequences without one were checked by reading them to their ends.
        length = getattr(element, "length", _UNDEFINED)
        if length != _UNDEFINED and len(element.value or b"") != length:
            return False
        end = stream.tell()
    return end == len(content)


def _has_its_pixels(content: bytes) -> bool:
    dataset = pydicom.dcmread(BytesIO(content))
    # Cut off between two elements, a slice has lost its rows as well.
    is_image = pydicom.uid.UID(str(dataset.get("SOPClassUID", ""))).name.endswith("Image Storage")
    if "Rows" not in dataset and not is_image:
        return True
    pixels = next((dataset[name].value for name in _PIXELS if name in dataset), None)
    if pixels is None:
        return False
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return bool(pixels)
    return len(pixels) >= get_expected_length(dataset)
