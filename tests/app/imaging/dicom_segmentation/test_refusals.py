"""Segmentations that are damaged or lie elsewhere are refused, with the reason."""

from collections.abc import Callable

import numpy as np
import pydicom
import pytest

from app.errors import LabelError
from app.imaging.dicom.segmentation_reader import read_segmentation
from tests.app.imaging.segmentations import (
    GRID,
    canonical,
    edited,
)


def shift(axis: int, by_mm: float) -> Callable[[pydicom.Dataset], None]:
    def edit(dataset: pydicom.Dataset) -> None:
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            position = list(groups.PlanePositionSequence[0].ImagePositionPatient)
            position[axis] += by_mm
            groups.PlanePositionSequence[0].ImagePositionPatient = position

    return edit


def shift_one(dataset: pydicom.Dataset) -> None:
    position = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    x, y, z = position.ImagePositionPatient
    position.ImagePositionPatient = [x + 0.75, y, z]


def respace(dataset: pydicom.Dataset) -> None:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.55, 0.75]


def rotate(dataset: pydicom.Dataset) -> None:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [0.8, 0.6, 0, -0.6, 0.8, 0]


def stand(dataset: pydicom.Dataset) -> None:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 0, 1]


def lose_position(dataset: pydicom.Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence


def lose_frame(dataset: pydicom.Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[0]


def spoil_position(dataset: pydicom.Dataset) -> None:
    position = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    position.ImagePositionPatient = [0, 0, 1e9]


def name_no_segment(dataset: pydicom.Dataset) -> None:
    groups = dataset.PerFrameFunctionalGroupsSequence[0]
    groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 77


def cut_pixels(dataset: pydicom.Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:4]


def lose_pixels(dataset: pydicom.Dataset) -> None:
    del dataset.PixelData


def lose_pixels_and_places(dataset: pydicom.Dataset) -> None:
    del dataset.PixelData
    del dataset.PerFrameFunctionalGroupsSequence


def become_ct(dataset: pydicom.Dataset) -> None:
    dataset.SOPClassUID = pydicom.uid.CTImageStorage


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (shift(2, 1.5), "between slices of the image, at slice"),
        (shift(2, 30.0), "outside the image"),
        (shift(0, 0.3), "between the voxels"),
        (shift(1, 30.0), "outside"),
        (shift_one, "do not lie above each other"),
        (respace, "expected voxels of"),
        (rotate, "rotated against"),
        (stand, "rotated against"),
        (lose_position, "PlanePositionSequence"),
        (lose_frame, "expected the places of"),
        (spoil_position, "makes no sense"),
        (name_no_segment, "belongs to no segment"),
        (cut_pixels, "cannot be decoded"),
        (lose_pixels, "is incomplete"),
        (lose_pixels_and_places, "is incomplete"),
        (become_ct, "another kind of DICOM object"),
    ],
)
def test_what_does_not_lie_on_the_grid_is_refused(
    edit: Callable[[pydicom.Dataset], None], reason: str, content: bytes
) -> None:
    with pytest.raises(LabelError, match=reason):
        canonical(edited(content, edit), GRID)


@pytest.mark.parametrize("garbage", [b"", b"DICM", b"\0" * 128 + b"DICM", b"no dicom at all" * 50])
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(LabelError):
        read_segmentation(garbage)


def test_a_file_that_broke_off_is_never_an_empty_label(content: bytes) -> None:
    # Steps of a prime number, so that the ends fall on elements and between them.
    for length in range(97, len(content), 97):
        with pytest.raises(LabelError):
            canonical(content[:length], GRID)


def test_no_damage_escapes_as_another_error(content: bytes) -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        spoiled = bytearray(content)
        for position in rng.integers(0, len(content), 6):
            spoiled[position] = rng.integers(0, 256)
        try:
            canonical(bytes(spoiled), GRID)
        except LabelError:
            continue
