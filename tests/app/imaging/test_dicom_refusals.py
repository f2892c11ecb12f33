"""DICOM that must not become a volume: each refused at the header, with one sentence."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from app.errors import ImagingError
from app.imaging.reader import read_volume
from app.imaging.scan import find_images
from tests.factories import edit_dicom, make_grid, make_volume, write_dicom

TILT_15 = math.tan(math.radians(15))


def move(path: Path, shift: tuple[float, float, float]) -> None:
    """Shift a slice, in millimetres along (x, y, z)."""
    position = pydicom.dcmread(path).ImagePositionPatient
    moved = [float(start) + offset for start, offset in zip(position, shift, strict=True)]
    edit_dicom(path, ImagePositionPatient=moved)


def problem(folder: Path) -> str:
    """Return the sentence the scan and the reader give for a folder with one image."""
    (finding,) = find_images(folder)
    assert finding.problem is not None, "the folder was taken for a sound image"
    with pytest.raises(ImagingError) as caught:
        read_volume(folder)
    assert str(caught.value) == finding.problem
    assert not finding.problem.endswith(".")
    return finding.problem


ELEMENTS: list[tuple[str, dict[str, Any], str]] = [
    ("spacing-nan", {"PixelSpacing": ["nan", "0.5"]}, "PixelSpacing"),
    ("spacing-inf", {"PixelSpacing": ["inf", "0.5"]}, "PixelSpacing"),
    ("spacing-three", {"PixelSpacing": ["0.5", "0.5", "0.5"]}, "2 finite numbers"),
    ("spacing-one", {"PixelSpacing": "0.5"}, "2 finite numbers"),
    ("spacing-missing", {"PixelSpacing": None}, "got 'nothing'"),
    ("spacing-zero", {"PixelSpacing": ["0", "0.5"]}, "0.1 to 10 mm"),
    ("spacing-negative", {"PixelSpacing": ["-0.5", "0.5"]}, "0.1 to 10 mm"),
    ("spacing-metres", {"PixelSpacing": ["0.0005", "0.0005"]}, "0.1 to 10 mm"),
    ("spacing-huge", {"PixelSpacing": ["0.5", "500"]}, "0.1 to 10 mm"),
    ("position-nan", {"ImagePositionPatient": ["0", "nan", "0"]}, "ImagePositionPatient"),
    ("position-two", {"ImagePositionPatient": ["0", "1"]}, "3 finite numbers"),
    ("position-far", {"ImagePositionPatient": ["0", "1e7", "0"]}, "position within"),
    ("position-missing", {"ImagePositionPatient": None}, "ImagePositionPatient"),
    ("orientation-nan", {"ImageOrientationPatient": ["nan", 0, 0, 0, 1, 0]}, "6 finite"),
    ("orientation-zero", {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "unit vectors"),
    ("orientation-long", {"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "unit vectors"),
    ("orientation-bent", {"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]}, "right angles"),
    ("slope-nan", {"RescaleSlope": "nan"}, "RescaleSlope"),
    ("slope-zero", {"RescaleSlope": "0"}, "rescale slope"),
    ("slope-negative", {"RescaleSlope": "-1"}, "rescale slope"),
    ("slope-huge", {"RescaleSlope": "1e9"}, "rescale slope"),
    ("slope-missing", {"RescaleSlope": None}, "RescaleSlope"),
    ("slope-many", {"RescaleSlope": ["1", "2"]}, "RescaleSlope"),
    ("intercept-inf", {"RescaleIntercept": "inf"}, "RescaleIntercept"),
    ("intercept-huge", {"RescaleIntercept": "1e9"}, "rescale intercept"),
    ("intercept-missing", {"RescaleIntercept": None}, "RescaleIntercept"),
    ("rescale-type", {"RescaleType": "Z_EFF"}, "rescale type 'Z_EFF'"),
    ("kvp-volts", {"KVP": "120000"}, "tube voltage"),
    ("kvp-negative", {"KVP": "-120"}, "tube voltage"),
    ("kvp-nan", {"KVP": "nan"}, "KVP"),
    ("kvp-many", {"KVP": ["80", "140"]}, "KVP"),
    ("tilt-by-header", {"GantryDetectorTilt": "15"}, "tilted by 15 degrees"),
    ("rows-zero", {"Rows": 0}, "1 to 2048"),
    ("rows-forged", {"Rows": 60_000}, "1 to 2048"),
    ("rows-many", {"Rows": 2000}, "cut off"),
    ("magnetic-resonance", {"Modality": "MR"}, "expected a CT, got modality 'MR'"),
    ("no-modality", {"Modality": None}, "got modality 'none'"),
    ("report", {"Modality": "SR"}, "expected a CT"),
    ("capture", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "another kind of object"),
    ("enhanced", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "multi-frame"),
    ("frames", {"NumberOfFrames": 12}, "multi-frame"),
    ("localizer", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
    ("color", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "grey pixels"),
    ("inverted", {"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME2"),
    ("one-bit", {"BitsAllocated": 1}, "per pixel"),
    ("no-pixels", {"PixelData": None}, "cut off"),
]


@pytest.mark.parametrize(
    ("elements", "fragment"),
    [case[1:] for case in ELEMENTS],
    ids=[case[0] for case in ELEMENTS],
)
class TestImplausibleElements:
    def test_in_every_slice(self, elements: dict[str, Any], fragment: str, tmp_path: Path) -> None:
        for path in write_dicom(tmp_path):
            edit_dicom(path, **elements)
        assert fragment in problem(tmp_path)

    def test_in_one_slice(self, elements: dict[str, Any], fragment: str, tmp_path: Path) -> None:
        edit_dicom(write_dicom(tmp_path)[3], **elements)
        assert fragment in problem(tmp_path)


ONE_SLICE_DIFFERS: list[tuple[str, dict[str, Any], str]] = [
    ("orientation", {"ImageOrientationPatient": [0.9998, 0.02, 0, -0.02, 0.9998, 0]}, "orientat"),
    ("flipped", {"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]}, "differ in orientation"),
    ("size", {"Rows": 3, "Columns": 14}, "differ in image size"),
    ("spacing", {"PixelSpacing": ["0.5", "0.7501"]}, "differ in pixel spacing"),
    ("frame", {"FrameOfReferenceUID": "1.2.3"}, "differ in frame of reference"),
    ("study", {"StudyInstanceUID": "1.2.3"}, "differ in patient or study"),
    ("patient", {"PatientID": "another"}, "differ in patient or study"),
    ("kvp", {"KVP": "80"}, "differ in tube voltage"),
    ("slope", {"RescaleSlope": "3"}, "differ in rescale slope, from 1 to 3"),
    ("intercept", {"RescaleIntercept": "0"}, "differ in rescale intercept, from -1024 to 0 HU"),
]


@pytest.mark.parametrize(
    ("elements", "fragment"),
    [case[1:] for case in ONE_SLICE_DIFFERS],
    ids=[case[0] for case in ONE_SLICE_DIFFERS],
)
def test_mixed_slices_are_refused(elements: dict[str, Any], fragment: str, tmp_path: Path) -> None:
    edit_dicom(write_dicom(tmp_path)[1], **elements)
    assert fragment in problem(tmp_path)


def drop_one(paths: list[Path]) -> None:
    paths[2].unlink()


def drop_two(paths: list[Path]) -> None:
    for path in paths[2:4]:
        path.unlink()


def widen_one_gap(paths: list[Path]) -> None:
    # 2 % of the 3 mm between slices; 1 % is allowed.
    move(paths[4], (0, 0, 0.06))


def double_one(paths: list[Path]) -> None:
    copy = paths[0].with_name("copy.dcm")
    shutil.copy(paths[3], copy)
    edit_dicom(copy, SOPInstanceUID="1.2.3")


def tilt(paths: list[Path]) -> None:
    for index, path in enumerate(paths):
        move(path, (0, 3.0 * index * TILT_15, 0))


def shift_one(paths: list[Path]) -> None:
    # A fifth of the pixel distance of 0.5 mm.
    move(paths[2], (0.1, 0, 0))


def keep_one(paths: list[Path]) -> None:
    for path in paths[1:]:
        path.unlink()


def make_coronal(paths: list[Path]) -> None:
    for index, path in enumerate(paths):
        edit_dicom(
            path,
            ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
            ImagePositionPatient=[0, 3.0 * index, 0],
        )


def make_oblique(paths: list[Path]) -> None:
    sine, cosine = math.sin(math.radians(30)), math.cos(math.radians(30))
    for index, path in enumerate(paths):
        edit_dicom(
            path,
            ImageOrientationPatient=[1, 0, 0, 0, round(cosine, 6), round(sine, 6)],
            ImagePositionPatient=[0, round(-3 * sine * index, 4), round(3 * cosine * index, 4)],
        )


@pytest.mark.parametrize(
    ("spoil", "fragment"),
    [
        (drop_one, "1 slice(s) missing after position 45.00 mm"),
        (drop_two, "2 slice(s) missing after position 45.00 mm"),
        (widen_one_gap, "uneven gaps: expected 3.000 mm between slices, got 3.060 mm"),
        (double_one, "same position, 51.00 mm"),
        (tilt, "gantry tilt: the slices are shifted against each other by 15.0 degrees"),
        (shift_one, "shifted against each other"),
        (keep_one, "at least 2 slices, got 1"),
        (make_coronal, "sagittal or coronal"),
        (make_oblique, "30 degrees"),
    ],
)
def test_irregular_stacks_are_refused(
    spoil: Callable[[list[Path]], None], fragment: str, tmp_path: Path
) -> None:
    # Seven slices, so that the usual distance outvotes a wrong one.
    spoil(write_dicom(tmp_path, make_volume(make_grid((7, 6, 5)))))
    assert fragment in problem(tmp_path)


def test_a_slice_is_missing_also_where_positions_are_rounded(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path, make_volume(make_grid((7, 6, 5))))
    drop_one(paths)
    move(paths[3], (0, 0, 0.02))
    assert "1 slice(s) missing after position 45.00 mm" in problem(tmp_path)


def test_a_creeping_slice_distance_is_refused(tmp_path: Path) -> None:
    # Gaps from 3.000 to 3.059 mm are all within 1 % of their median, but in the middle of
    # 120 slices the even grid is off by 0.0005 * 120**2 / 8 = 0.9 mm.
    for index, path in enumerate(write_dicom(tmp_path, make_volume(make_grid((120, 3, 3))))):
        move(path, (0, 0, 0.0005 * index * (index - 1) / 2))
    assert "changes along the series" in problem(tmp_path)


@pytest.mark.parametrize(
    ("element", "old", "new"),
    [
        ("PixelSpacing", b"0.5\\0.75", b"0.5\\wide"),
        ("KVP", b"120.0 ", b"strong"),
        ("RescaleSlope", b"S\x10DS\x04\x001.0 ", b"S\x10DS\x04\x00one "),
    ],
)
def test_text_instead_of_a_number_is_refused(
    element: str, old: bytes, new: bytes, tmp_path: Path
) -> None:
    path = write_dicom(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(old, new))
    assert element in problem(tmp_path)


def test_steps_within_one_percent_are_one_distance(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path)
    move(paths[2], (0, 0, 0.025))
    assert read_volume(tmp_path).spacing_mm[0] == pytest.approx(3.0)


def test_cut_off_pixels_are_found_without_decoding(tmp_path: Path) -> None:
    path = write_dicom(tmp_path)[4]
    path.write_bytes(path.read_bytes()[:-20])
    assert "cut off: expected 84 bytes" in problem(tmp_path)


def test_cut_off_compressed_pixels_are_refused_by_the_reader(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless)
        dataset.save_as(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImagingError, match=r"at z 54\.00 mm cannot be decoded"):
        read_volume(tmp_path)


def test_garbage_as_compressed_pixels_is_refused_by_the_reader(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
        dataset.PixelData = pydicom.encaps.encapsulate([b"\x11\x22" * 40])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    with pytest.raises(ImagingError, match="cannot be decoded"):
        read_volume(tmp_path)


def test_values_beyond_int16_are_refused_not_wrapped(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path):
        edit_dicom(path, RescaleSlope="100")
    with pytest.raises(ImagingError, match="expected values from -32768 to 32767 HU"):
        read_volume(tmp_path)


def test_pixels_of_another_size_than_the_header_says_are_refused(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
        dataset.PixelData = pydicom.encaps.encapsulate([np.zeros(64, "u1").tobytes()])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path)
    with pytest.raises(ImagingError, match=r"cannot be decoded|another size"):
        read_volume(tmp_path)
