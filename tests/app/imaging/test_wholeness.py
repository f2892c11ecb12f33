"""Files that are all there, and files that are cut off."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from app.errors import ImagingError
from app.imaging.dicom.wholeness import check_whole
from tests.factories import write_dicom


def written(dataset: pydicom.Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    stream = BytesIO()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.save_as(stream, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return stream.getvalue()


@pytest.fixture
def dataset(tmp_path: Path) -> pydicom.Dataset:
    """Return a slice with a sequence whose end is a delimiter."""
    found = pydicom.dcmread(write_dicom(tmp_path)[0])
    item = Dataset()
    item.CodeValue = "a code"
    found.ProcedureCodeSequence = Sequence([item])
    found["ProcedureCodeSequence"].is_undefined_length = True
    return found


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_no_part_of_a_slice_is_a_slice(dataset: pydicom.Dataset, syntax: str) -> None:
    content = written(dataset, syntax)
    check_whole(content)
    for length in (*range(420, len(content) - 2, 3), len(content) - 2):
        with pytest.raises(ImagingError, match="cut off"):
            check_whole(content[:length])


def test_compressed_pixels_have_their_end(dataset: pydicom.Dataset) -> None:
    dataset.compress(RLELossless, np.asarray(dataset.pixel_array), encoding_plugin="pydicom")
    content = written(dataset, RLELossless)
    check_whole(content)
    for length in (len(content) - 1, len(content) - 8, len(content) - 30):
        with pytest.raises(ImagingError):
            check_whole(content[:length])


def test_fewer_pixels_than_rows_and_columns_say_are_a_damage(dataset: pydicom.Dataset) -> None:
    dataset.Rows += 1
    with pytest.raises(ImagingError):
        check_whole(written(dataset))


def test_what_has_no_pixels_by_nature_is_whole(dataset: pydicom.Dataset) -> None:
    for name in ("Rows", "Columns", "PixelData"):
        delattr(dataset, name)
    with pytest.raises(ImagingError):
        check_whole(written(dataset))
    dataset.SOPClassUID = EnhancedSRStorage
    check_whole(written(dataset))
