"""One DICOM instance, as far as its header says: read without its pixels, every value checked.

No element that names the patient is read.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import pydicom
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)

from app.errors import ImagingError
from app.imaging.dicom.expansion import MAX_SLICE_BYTES, check_inflated, check_slice_size
from app.imaging.parsing import PARSER_ERRORS
from app.imaging.plausibility import (
    MAX_POSITION_MM,
    check_kvp,
    check_rescale,
    check_shape,
    check_spacing,
)
from app.imaging.volume import Identifiers

_TAGS: Final = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID",
    "FrameOfReferenceUID", "StudyDate", "StudyTime", "Modality", "ImageType", "KVP",
    "GantryDetectorTilt", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "NumberOfFrames", "RescaleSlope", "RescaleIntercept", "RescaleType",
]  # fmt: skip
"""The elements read; reading only these halves the time of the header pass."""

_PREAMBLE_BYTES: Final = 128
"""Length of the preamble."""

_MAGIC: Final = b"DICM"
"""What follows the preamble."""

START_BYTES: Final = _PREAMBLE_BYTES + len(_MAGIC)
"""As many bytes of a file as tell whether it is DICOM."""

_FIRST_GROUPS: Final = (0x0002, 0x0008)
"""Groups that a file without preamble starts with: meta information or the SOP instance."""

_FIRST_ELEMENT_BYTES: Final = 8
"""Tag and length of an element, the least that is looked at."""

_MAX_FIRST_BYTES: Final = 1024
"""Longest first element: a group length, a character set, an image type or a UID."""

_MULTI_FRAME: Final = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
"""CT with all slices in one instance."""

_HOUNSFIELD_TYPES: Final = ("", "HU", "US")
"""Rescale types that mean HU; US stands for unspecified, which in CT is HU."""

_MAX_TILT_DEG: Final = 0.5
"""Largest gantry tilt by the header that still counts as none."""

_UNIT_TOLERANCE: Final = 0.01
"""How far the length of a direction may be from 1, and two directions from a right angle."""


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What has to be known of one slice before its pixels are read.

    Attributes:
        path: File of the instance.
        sop_uid: SOPInstanceUID.
        frame_uid: FrameOfReferenceUID, or empty.
        identifiers: Who and what the slice shows.
        rows: Pixels along a column.
        columns: Pixels along a row.
        position_mm: Centre of the first pixel, LPS.
        row_direction: Direction in which the column index grows, LPS, of length 1.
        column_direction: Direction in which the row index grows, LPS, of length 1.
        spacing_mm: Distance between pixel centres along (Y, X).
        slope: HU per stored unit.
        intercept_hu: HU of the stored value 0.
        kvp: Tube voltage in kV, or None.
    """

    path: Path
    sop_uid: str
    frame_uid: str
    identifiers: Identifiers
    rows: int
    columns: int
    position_mm: tuple[float, ...]
    row_direction: tuple[float, ...]
    column_direction: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    slope: float
    intercept_hu: float
    kvp: float | None


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """The little that is known of any DICOM instance, readable as a CT slice or not.

    Attributes:
        path: File of the instance.
        series_uid: SeriesInstanceUID, or empty.
        sop_uid: SOPInstanceUID, or empty.
        slice: The checked slice, or None.
        problem: Why there is none: one sentence, or None.
    """

    path: Path
    series_uid: str
    sop_uid: str
    slice: SliceHeader | None
    problem: str | None


def is_dicom(start: bytes) -> bool:
    """Tell by the first ``START_BYTES`` of a file whether it is DICOM, also without preamble."""
    if start[_PREAMBLE_BYTES:START_BYTES] == _MAGIC:
        return True
    if (
        int.from_bytes(start[:2], "little") not in _FIRST_GROUPS
        or len(start) < _FIRST_ELEMENT_BYTES
    ):
        return False
    value_representation, length = start[4:6], int.from_bytes(start[4:8], "little")
    is_explicit = value_representation.isalpha() and value_representation.isupper()
    return is_explicit or (length <= _MAX_FIRST_BYTES and length % 2 == 0)


def read_dataset(stream: BinaryIO, **options: Any) -> pydicom.FileDataset:
    """Read DICOM by pydicom, also without preamble or transfer syntax.

    A transfer syntax that the file leaves out is told by how its elements are encoded.

    Args:
        stream: The file, at its start.
        options: Keyword arguments for ``pydicom.dcmread``.

    Raises:
        ImagingError: If it is deflated and would become too large.
    """
    check_inflated(stream, MAX_SLICE_BYTES)
    force = is_dicom(stream.read(START_BYTES))
    stream.seek(0)
    dataset = pydicom.dcmread(stream, force=force, **options)
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


def read_dataset_file(path: Path, **options: Any) -> pydicom.FileDataset:
    """Read a DICOM file as ``read_dataset`` does.

    Raises:
        OSError: If it cannot be opened.
    """
    with path.open("rb") as stream:
        return read_dataset(stream, **options)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom's remarks on values out of the standard; what matters is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_instance(path: Path) -> InstanceHeader:
    """Read the header of a DICOM file.

    Never raises for what the file holds: what is wrong is in ``problem``.
    """
    with quiet_pydicom():
        try:
            dataset, pixel_bytes = _read(path)
            series_uid, sop_uid = (
                _text(dataset, "SeriesInstanceUID"),
                _text(dataset, "SOPInstanceUID"),
            )
        except ImagingError as error:
            return InstanceHeader(path, "", "", None, str(error))
        except PARSER_ERRORS:
            return InstanceHeader(path, "", "", None, "the DICOM header cannot be read")
        try:
            return InstanceHeader(
                path, series_uid, sop_uid, _slice(path, dataset, pixel_bytes), None
            )
        except ImagingError as error:
            return InstanceHeader(path, series_uid, sop_uid, None, str(error))


def _read(path: Path) -> tuple[pydicom.Dataset, int | None]:
    """Return the header and the bytes behind it, None where those are compressed."""
    with path.open("rb") as stream:
        dataset = read_dataset(stream, stop_before_pixels=True, specific_tags=list(_TAGS))
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed or syntax.is_deflated:
            return dataset, None
        return dataset, path.stat().st_size - stream.tell()


def _slice(path: Path, dataset: pydicom.Dataset, pixel_bytes: int | None) -> SliceHeader:
    _check_kind(dataset)
    check_slice_size(path)
    rows, columns = _count(dataset, "Rows"), _count(dataset, "Columns")
    check_shape((rows, columns))
    _check_tilt(dataset)
    _check_pixels(dataset, rows * columns, pixel_bytes)
    row_direction, column_direction = _directions(dataset)
    slope, intercept = _rescale(dataset)
    return SliceHeader(
        path=path,
        sop_uid=_text(dataset, "SOPInstanceUID"),
        frame_uid=_text(dataset, "FrameOfReferenceUID"),
        identifiers=_identifiers(dataset),
        rows=rows,
        columns=columns,
        position_mm=_position(dataset),
        row_direction=row_direction,
        column_direction=column_direction,
        spacing_mm=_spacing(dataset),
        slope=slope,
        intercept_hu=intercept,
        kvp=_kvp(dataset),
    )


def _check_kind(dataset: pydicom.Dataset) -> None:
    modality, kind = _text(dataset, "Modality"), _text(dataset, "SOPClassUID")
    if modality != "CT":
        raise ImagingError(f"expected a CT, got modality {modality or 'none'!r}")
    if kind in _MULTI_FRAME or _text(dataset, "NumberOfFrames") not in ("", "1"):
        raise ImagingError("expected one slice per file, got a multi-frame CT")
    if kind != CTImageStorage:
        raise ImagingError("expected CT images, got another kind of object with modality CT")
    if "LOCALIZER" in _text(dataset, "ImageType").upper():
        raise ImagingError("expected axial slices, got a localizer")
    if not _text(dataset, "SeriesInstanceUID") or not _text(dataset, "SOPInstanceUID"):
        raise ImagingError("SeriesInstanceUID or SOPInstanceUID is missing")


def _check_pixels(dataset: pydicom.Dataset, pixels: int, pixel_bytes: int | None) -> None:
    samples, bits = _count(dataset, "SamplesPerPixel"), _count(dataset, "BitsAllocated")
    photometric = _text(dataset, "PhotometricInterpretation")
    if samples != 1 or photometric != "MONOCHROME2":
        raise ImagingError(f"expected grey pixels as MONOCHROME2, got {photometric or 'none'!r}")
    if bits not in (8, 16, 32):
        raise ImagingError(f"expected 16 bits per pixel, got {bits}")
    if pixel_bytes is not None and pixel_bytes < pixels * bits // 8:
        raise ImagingError(
            f"the pixels are cut off: expected {pixels * bits // 8} bytes, got {pixel_bytes}"
        )


def _directions(dataset: pydicom.Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    cosines = _numbers(dataset, "ImageOrientationPatient", 6)
    row, column = cosines[:3], cosines[3:]
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    lengths = math.hypot(*row), math.hypot(*column)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(dot)) > _UNIT_TOLERANCE:
        raise ImagingError("ImageOrientationPatient does not hold two unit vectors at right angles")
    # Taken as they are, cosines rounded to two digits would scale the pixel spacing.
    return _scaled(row, lengths[0]), _scaled(column, lengths[1])


def _scaled(direction: tuple[float, ...], length: float) -> tuple[float, ...]:
    return tuple(cosine / length for cosine in direction)


def _position(dataset: pydicom.Dataset) -> tuple[float, ...]:
    position = _numbers(dataset, "ImagePositionPatient", 3)
    if max(map(abs, position)) > MAX_POSITION_MM:
        raise ImagingError(
            f"expected a position within {MAX_POSITION_MM:g} mm of the scanner's origin, "
            f"got {max(position, key=abs):g} mm"
        )
    return position


def _spacing(dataset: pydicom.Dataset) -> tuple[float, ...]:
    spacing = _numbers(dataset, "PixelSpacing", 2)
    for length in spacing:
        check_spacing(length)
    return spacing


def _rescale(dataset: pydicom.Dataset) -> tuple[float, float]:
    (slope,), (intercept,) = (
        _numbers(dataset, name, 1) for name in ("RescaleSlope", "RescaleIntercept")
    )
    check_rescale(slope, intercept)
    unit = _text(dataset, "RescaleType")
    if unit not in _HOUNSFIELD_TYPES:
        raise ImagingError(f"expected pixels in HU, got rescale type {unit!r}")
    return slope, intercept


def _kvp(dataset: pydicom.Dataset) -> float | None:
    if not _text(dataset, "KVP"):
        return None
    (kvp,) = _numbers(dataset, "KVP", 1)
    # Converters write 0 where they do not know.
    if kvp == 0:
        return None
    check_kvp(kvp)
    return kvp


def _identifiers(dataset: pydicom.Dataset) -> Identifiers:
    return Identifiers(
        patient_id=_text(dataset, "PatientID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        study_date=_text(dataset, "StudyDate"),
        study_time=_text(dataset, "StudyTime"),
        modality=_text(dataset, "Modality"),
    )


def _check_tilt(dataset: pydicom.Dataset) -> None:
    if not _text(dataset, "GantryDetectorTilt"):
        return
    (tilt,) = _numbers(dataset, "GantryDetectorTilt", 1)
    if abs(tilt) > _MAX_TILT_DEG:
        raise ImagingError(f"the gantry was tilted by {tilt:g} degrees; expected none")


def _text(dataset: pydicom.Dataset, name: str) -> str:
    """Return an element as text, several values joined by backslashes; empty if absent."""
    try:
        value: Any = dataset.get(name)
    except PARSER_ERRORS as error:
        raise ImagingError(f"{name} cannot be read") from error
    if value is None:
        return ""
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        return "\\".join(str(part) for part in value)
    return str(value).strip()


def _count(dataset: pydicom.Dataset, name: str) -> int:
    (number,) = _numbers(dataset, name, 1)
    return int(number)


def _numbers(dataset: pydicom.Dataset, name: str, count: int) -> tuple[float, ...]:
    """Return an element as finite numbers, or refuse it by name."""
    parts = _text(dataset, name).split("\\")
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        expected = "a finite number" if count == 1 else f"{count} finite numbers"
        shown = "\\".join(parts)[:40]
        raise ImagingError(f"expected {expected} as {name}, got {shown or 'nothing'!r}")
    return numbers
