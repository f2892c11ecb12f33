"""Small sound files of every kind that is read, as bytes."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pydicom
import SimpleITK
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from app.calcium.labels import LABELS
from app.imaging.dicom.segmentation import write_segmentation
from app.imaging.labelmap import write_label_map
from tests.app.imaging.segmentations import DERIVATION
from tests.app.imaging.test_dicom import compress_with_gdcm
from tests.factories import (
    make_grid,
    make_labels,
    make_volume,
    to_itk,
    write_dicom,
    write_itk,
    write_nifti,
)

_COMPRESSED_SHAPE = (2, 64, 48)
"""The codecs refuse images of a few pixels."""


def _in_a_file(name: str, write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


@cache
def volume_file(name: str) -> bytes:
    """Return a CT volume in the format of the name."""
    volume = make_volume()
    if ".nii" in name:
        return _in_a_file(name, lambda path: write_nifti(path, volume.hu, volume.grid))
    return _in_a_file(name, lambda path: write_itk(path, volume.hu, volume.grid))


@cache
def packed_file(name: str) -> bytes:
    """Return a CT volume as NRRD or MetaImage whose voxels are compressed."""
    image = to_itk(make_volume().hu, make_grid())
    return _in_a_file(name, lambda path: SimpleITK.WriteImage(image, str(path), True))


@cache
def label_file(name: str) -> bytes:
    """Return a label map with names in it."""
    labels = make_labels()
    return _in_a_file(
        name,
        lambda path: write_label_map(path, labels, make_grid(), compress=True, names=LABELS),
    )


@cache
def series(coding: str = "plain") -> tuple[bytes, ...]:
    """Return the two slices of a DICOM series."""
    shape = _COMPRESSED_SHAPE if coding in ("JPEG", "JPEG2000") else (2, 6, 7)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_dicom(Path(folder), make_volume(make_grid(shape)))
        for path in paths:
            _encode(path, coding)
        return tuple(path.read_bytes() for path in paths)


@cache
def segmentation() -> bytes:
    """Return a DICOM segmentation of the default grid."""
    with tempfile.TemporaryDirectory() as folder:
        return write_segmentation(write_dicom(Path(folder)), make_labels(), DERIVATION)


def _encode(path: Path, coding: str) -> None:
    if coding in ("JPEG", "JPEG2000"):
        compress_with_gdcm(path, coding)
    elif coding != "plain":
        dataset = pydicom.dcmread(path)
        if coding == "RLE":
            dataset.compress(RLELossless)
        else:
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
