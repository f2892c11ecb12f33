"""Volumes as DICOM series: one CT Image Storage instance per slice, explicit VR little endian."""

from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from app.imaging.dicom.uids import derived_uid
from app.imaging.volume import Grid, Identifiers, Volume
from app.imaging.volume_hash import content_hash

_IMPLEMENTATION_UID: Final = UID("2.25.150211230402876521932674102903316284217")
"""Names this writer in the file meta information."""

_EMPTY_ELEMENTS: Final = (
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "PositionReferenceIndicator",
)
"""Elements that every CT instance has to hold, and that nothing is known about."""

_INT16: Final = np.iinfo(np.int16)


def write_series(
    folder: Path,
    volume: Volume,
    *,
    slope: float = 1.0,
    intercept_hu: float = -1024.0,
    descending: bool = False,
) -> tuple[Path, ...]:
    """Write a volume as the slices of one DICOM series.

    UIDs that the volume lacks are derived from its content, so equal volumes become equal
    files. No patient name is written.

    Args:
        folder: Folder for the files, made if absent.
        volume: Volume whose slices follow the z index.
        slope: HU per stored unit; 1 keeps every value.
        intercept_hu: HU of the stored value 0.
        descending: Whether instance numbers run from the last slice to the first.

    Returns:
        The files, in the order of the slices.

    Raises:
        ValueError: If stored values would not fit into int16.
    """
    stored = _stored(volume.hu, slope, intercept_hu)
    folder.mkdir(parents=True, exist_ok=True)
    series = _series(volume, slope, intercept_hu)
    count = len(stored)
    paths = []
    for index, pixels in enumerate(stored):
        number = count - index if descending else index + 1
        path = folder / f"{number:04d}.dcm"
        dataset = _instance(series, volume.grid, index, number)
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return tuple(paths)


def _stored(hu: NDArray[np.int16], slope: float, intercept_hu: float) -> NDArray[np.int16]:
    values = np.rint((hu.astype(np.float64) - intercept_hu) / slope)
    low, high = float(values.min()), float(values.max())
    if low < _INT16.min or high > _INT16.max:
        raise ValueError(f"expected stored values within int16, got {low:g} to {high:g}")
    return values.astype("<i2")


def _series(volume: Volume, slope: float, intercept_hu: float) -> pydicom.Dataset:
    """Make the elements that all slices share."""
    dataset = pydicom.Dataset()
    _add_identifiers(dataset, volume.identifiers, content_hash(volume))
    _add_geometry(dataset, volume.grid)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Manufacturer = "caclabel"
    dataset.KVP = None if volume.kvp is None else _decimal(volume.kvp)
    dataset.AcquisitionNumber = 1
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.RescaleSlope = _decimal(slope)
    dataset.RescaleIntercept = _decimal(intercept_hu)
    dataset.RescaleType = "HU"
    return dataset


def _add_identifiers(dataset: pydicom.Dataset, known: Identifiers, seed: str) -> None:
    dataset.SOPClassUID = CTImageStorage
    dataset.StudyInstanceUID = known.study_uid or derived_uid(seed, "study")
    dataset.SeriesInstanceUID = known.series_uid or derived_uid(seed, "series")
    dataset.FrameOfReferenceUID = derived_uid(dataset.SeriesInstanceUID, "frame")
    dataset.PatientID = known.patient_id
    dataset.StudyDate = known.study_date
    dataset.StudyTime = known.study_time
    dataset.Modality = "CT"
    dataset.SeriesNumber = 1
    dataset.PatientPosition = "HFS"
    for name in _EMPTY_ELEMENTS:
        setattr(dataset, name, "")


def _add_geometry(dataset: pydicom.Dataset, grid: Grid) -> None:
    step_z, step_y, step_x = grid.spacing_mm
    _, dataset.Rows, dataset.Columns = grid.shape
    dataset.PixelSpacing = [_decimal(step_y), _decimal(step_x)]
    dataset.SliceThickness = _decimal(step_z)
    directions = np.concatenate([grid.affine[:3, 0] / step_x, grid.affine[:3, 1] / step_y])
    dataset.ImageOrientationPatient = [_decimal(float(cosine)) for cosine in directions]


def _instance(series: pydicom.Dataset, grid: Grid, index: int, number: int) -> pydicom.FileDataset:
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = derived_uid(series.SeriesInstanceUID, str(index))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION_UID
    dataset = pydicom.FileDataset("", series, preamble=b"\0" * 128, file_meta=meta)
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.InstanceNumber = number
    position = grid.affine[:3, 3] + grid.affine[:3, 2] * index
    dataset.ImagePositionPatient = [_decimal(float(coordinate)) for coordinate in position]
    return dataset


def _decimal(value: float) -> DSfloat:
    """Return a number in the 16 characters that DICOM gives it; -0.0 becomes 0.0."""
    return DSfloat(value + 0.0, auto_format=True)
