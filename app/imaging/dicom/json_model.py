"""DICOM instances as DICOMweb answers them: headers as JSON, pixels as they are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.encaps import get_frame

from app.errors import ImagingError, NotFoundError
from app.imaging.dicom.dicomweb_answers import is_uid
from app.imaging.dicom.expansion import check_content
from app.imaging.dicom.header import quiet_pydicom, read_dataset_file
from app.imaging.dicom.wholeness import check_whole
from app.imaging.parsing import PARSER_ERRORS

DicomJson = dict[str, dict[str, Any]]
"""One instance in the DICOM JSON model (PS3.18 F): elements by their tag in hexadecimal."""

_LARGEST_INLINE_BYTES: Final = 1024
"""Largest binary value in bytes that a header carries; larger ones are left out."""

_SEGMENTATIONS: Final = (uid.SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes of segmentations; the second is Label Map Segmentation Storage."""

_CHARACTER_SET: Final = "00080005"
"""SpecificCharacterSet: JSON is UTF-8."""

_BINARY_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
"""Value representations whose values are bytes."""

_FRAME_TYPES: Final[Mapping[str, str]] = {
    uid.JPEGBaseline8Bit: "image/jpeg",
    uid.JPEGExtended12Bit: "image/jpeg",
    uid.JPEGLossless: "image/jpeg",
    uid.JPEGLosslessSV1: "image/jpeg",
    uid.JPEGLSLossless: "image/jls",
    uid.JPEGLSNearLossless: "image/jls",
    uid.JPEG2000Lossless: "image/jp2",
    uid.JPEG2000: "image/jp2",
    uid.HTJ2KLossless: "image/jphc",
    uid.HTJ2KLosslessRPCL: "image/jphc",
    uid.HTJ2K: "image/jphc",
    uid.RLELossless: "image/dicom-rle",
}
"""Media types of compressed frames (PS3.18 8.7.3.3.2)."""

_RAW_TYPE: Final = "application/octet-stream"
"""Media type of an uncompressed frame, which is always little endian."""

_WINDOW_HU: Final = (-160.0, 240.0)
"""Lowest and highest HU that a picture shows: a soft-tissue window, calcium is white."""


@dataclass(frozen=True)
class Frame:
    """The pixels of one frame as they are stored.

    Attributes:
        content: Bytes of the frame; a codestream where it is compressed.
        media_type: What the bytes are.
        transfer_syntax: UID of how they are coded.
    """

    content: bytes
    media_type: str
    transfer_syntax: str


@dataclass(frozen=True)
class InstanceUids:
    """Which instance it is.

    Attributes:
        sop_class: SOPClassUID: what kind of object.
        sop_instance: SOPInstanceUID.
        study: StudyInstanceUID, or empty.
    """

    sop_class: str = ""
    sop_instance: str = ""
    study: str = ""

    @property
    def is_segmentation(self) -> bool:
        """Whether it is a segmentation made of pixels, by bits or by numbers."""
        return self.sop_class in _SEGMENTATIONS


def read_header(path: Path, tags: Sequence[str] | None = None) -> DicomJson:
    """Read the header of an instance.

    Pixels and binary values above 1 kB are left out; the transfer syntax of the file is in
    ``AvailableTransferSyntaxUID`` (0008,3002). Text is Unicode, whatever the file holds.

    Args:
        path: File of the instance.
        tags: The elements to read; None: all.

    Raises:
        ImagingError: If the file cannot be read.
    """
    wanted = None if tags is None else [int(tag, 16) for tag in tags]
    with quiet_pydicom():
        try:
            dataset = read_dataset_file(path, stop_before_pixels=True, specific_tags=wanted)
            syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
            _drop_bulk(dataset)
            header: DicomJson = dataset.to_json_dict(suppress_invalid_tags=True)
        except PARSER_ERRORS:
            raise ImagingError("the header of a DICOM instance cannot be read") from None
    header[_CHARACTER_SET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    header["00083002"] = {"vr": "UI", "Value": [syntax]}
    return header


def read_frame(path: Path, number: int) -> Frame:
    """Read one frame of an instance.

    Args:
        path: File of the instance.
        number: Number of the frame, from 1.

    Raises:
        NotFoundError: If the instance has no such frame.
        ImagingError: If the file cannot be read.
    """
    with quiet_pydicom():
        try:
            dataset = read_dataset_file(path)
            count = int(dataset.get("NumberOfFrames") or 1)
            if 1 <= number <= count:
                return _frame(dataset, number - 1, count)
        except PARSER_ERRORS:
            raise ImagingError("the pixels of a DICOM instance cannot be read") from None
    raise NotFoundError(f"the instance has no frame {number}")


def render_picture(
    path: Path,
    media_type: str,
    *,
    window_hu: tuple[float, float] | None = None,
    longest_side: int | None = None,
) -> bytes:
    """Draw a CT slice in grey levels.

    Args:
        path: File of the instance.
        media_type: ``image/png`` or ``image/jpeg``.
        window_hu: Centre and width; None: a soft-tissue window.
        longest_side: Most pixels along a side; None: as many as the slice has.

    Raises:
        ImagingError: If the pixels cannot be decoded.
    """
    low, high = _WINDOW_HU
    if window_hu is not None:
        centre, width = window_hu
        low, high = centre - width / 2, centre + width / 2
    grey = np.clip((_hounsfield(path) - low) / max(high - low, 1.0), 0, 1) * 255
    stream = BytesIO()
    picture = Image.fromarray(grey.astype(np.uint8))
    if longest_side is not None:
        picture.thumbnail((longest_side, longest_side))
    picture.save(stream, "JPEG" if media_type == "image/jpeg" else "PNG")
    return stream.getvalue()


def identify(content: bytes) -> InstanceUids:
    """Read which instance a DICOM file is.

    Raises:
        ImagingError: If the bytes are no DICOM instance, or not all of one.
    """
    names = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
    check_content(content)
    with quiet_pydicom():
        try:
            dataset = pydicom.dcmread(
                BytesIO(content), stop_before_pixels=True, specific_tags=list(names)
            )
            uids = InstanceUids(*(str(dataset.get(name) or "") for name in names))
        except PARSER_ERRORS:
            raise ImagingError("a part of the upload is no DICOM instance") from None
    if not uids.sop_class or not uids.sop_instance:
        raise ImagingError("a part of the upload has no SOPClassUID or no SOPInstanceUID")
    if not is_uid(uids.sop_instance):
        raise ImagingError("a part of the upload has a SOPInstanceUID that is no UID")
    check_whole(content)
    return uids


def tag_of(name: str) -> str:
    """Return the tag of an attribute given by keyword or tag, as eight upper-case digits.

    Raises:
        NotFoundError: If DICOM knows no such attribute.
    """
    if len(name) == 8 and all(digit in "0123456789abcdefABCDEF" for digit in name):
        return name.upper()
    number = pydicom.datadict.tag_for_keyword(name)
    if number is None:
        raise NotFoundError(f"DICOM knows no attribute {name[:64]!r}")
    return f"{number:08X}"


def text_of(header: DicomJson, tag: str) -> str:
    """Return the values of an element as text joined by backslashes, empty if it has none."""
    values = header.get(tag, {}).get("Value", ())
    return "\\".join(_text(value) for value in values)


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return str(value.get("Alphabetic", ""))
    return "" if value is None else str(value)


def _drop_bulk(dataset: pydicom.Dataset) -> None:
    """Delete large binary values, also inside sequences."""
    bulky = [
        element.tag
        for element in dataset
        if element.VR in _BINARY_VRS and len(element.value or b"") > _LARGEST_INLINE_BYTES
    ]
    for tag in bulky:
        del dataset[tag]
    sequences: Sequence[Any] = [element.value for element in dataset if element.VR == "SQ"]
    for items in sequences:
        for item in items:
            _drop_bulk(item)


def _frame(dataset: pydicom.Dataset, index: int, count: int) -> Frame:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not syntax.is_deflated:
        content = get_frame(dataset.PixelData, index, number_of_frames=count)
        return Frame(content, _FRAME_TYPES.get(syntax, _RAW_TYPE), str(syntax))
    size = len(dataset.PixelData) // count
    if count == 1:
        size = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
        size *= dataset.SamplesPerPixel
    content = dataset.PixelData[index * size : (index + 1) * size]
    if syntax == uid.ExplicitVRBigEndian and dataset.BitsAllocated > 8:
        order = f">u{dataset.BitsAllocated // 8}"
        content = np.frombuffer(content, order).byteswap().tobytes()
    return Frame(content, _RAW_TYPE, str(uid.ExplicitVRLittleEndian))


def _hounsfield(path: Path) -> NDArray[np.float64]:
    """Decode one slice with GDCM, which knows every compression and applies the rescale."""
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        image = SimpleITK.GetArrayFromImage(reader.Execute())
    except PARSER_ERRORS:
        raise ImagingError("the pixels of a DICOM instance cannot be decoded") from None
    return np.asarray(image, np.float64).squeeze()
