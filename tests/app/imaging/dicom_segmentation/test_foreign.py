"""Segmentations as other programs write them."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels.utils import pack_bits
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from app.errors import LabelError
from app.imaging.dicom.derivation import ARTERY_CODES
from app.imaging.dicom.segmentation_reader import read_segmentation
from tests.app.imaging.segmentations import (
    GRID,
    canonical,
    edited,
    foreign_segmentation,
)
from tests.factories import make_labels


class TestForeignSegmentations:
    @pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
    def test_every_type_is_read(self, kind: str, files: list[Path]) -> None:
        drawn = make_labels(values=3)
        drawn[0] = 0
        pixels: NDArray[Any] = drawn
        if kind == "FRACTIONAL":
            pixels = np.stack([drawn == value for value in (1, 2, 3)], axis=-1).astype(float)
        names = ["LM", "LAD", "LCX"]
        made = foreign_segmentation(files, pixels, names, kind=kind)
        np.testing.assert_array_equal(canonical(made, GRID), drawn)

    def test_a_fraction_counts_from_a_half(self, files: list[Path]) -> None:
        pixels = np.zeros((*GRID.shape, 1))
        # 127 and 128 of 255: 49.8 % and 50.2 %.
        pixels[2, 3, 4, 0], pixels[2, 3, 5, 0] = 127 / 255, 128 / 255
        made = foreign_segmentation(files, pixels, ["RCA"], kind="FRACTIONAL")
        found = canonical(made, GRID)
        assert found[2, 3, 4:6].tolist() == [0, 4]
        assert np.count_nonzero(found) == 1

    def test_calcium_wins_over_the_region_around_it(self, files: list[Path]) -> None:
        pixels = np.zeros((*GRID.shape, 2), np.uint8)
        pixels[2, 1:5, 1:5, 0], pixels[2, 2, 2, 1] = 1, 1
        made = foreign_segmentation(files, pixels, ["LAD region", "lad"])
        found = canonical(made, GRID)
        assert found[2, [2, 1], [2, 1]].tolist() == [2, 6]
        assert np.count_nonzero(found) == 16

    def test_calcium_of_two_arteries_on_one_voxel_is_refused(self, files: list[Path]) -> None:
        pixels = np.zeros((*GRID.shape, 2), np.uint8)
        pixels[2, 2, 2] = 1
        with pytest.raises(LabelError, match="calcium of two arteries"):
            canonical(foreign_segmentation(files, pixels, ["LAD", "LCX"]), GRID)

    def test_names_and_codes_are_told(self, files: list[Path]) -> None:
        pixels = np.ones(GRID.shape, np.uint8)
        made = foreign_segmentation(files, pixels, ["Segment 1"], regions=[ARTERY_CODES["LCX"]])
        (segment,) = read_segmentation(made).segments
        assert (segment.number, segment.name) == (1, "Segment 1")
        assert [code.value for code in segment.regions] == ["57396003"]
        assert segment.category == Code("85756007", "SCT", "Tissue")
        assert segment.kind == codes.SCT.Tissue

    def test_a_part_of_the_image_is_put_back(self, files: list[Path]) -> None:
        whole = np.zeros(GRID.shape, np.uint8)
        whole[2, 3, 4:6] = 1
        made = foreign_segmentation(files, whole, ["LM"])

        def crop(dataset: pydicom.Dataset) -> None:
            frame = dataset.pixel_array.reshape(6, 7)[2:5, 3:7]
            dataset.Rows, dataset.Columns = frame.shape
            dataset.PixelData = pack_bits(frame)
            (groups,) = dataset.PerFrameFunctionalGroupsSequence
            (position,) = groups.PlanePositionSequence
            x, y, z = position.ImagePositionPatient
            position.ImagePositionPatient = [x + 3 * 0.75, y + 2 * 0.5, z]

        np.testing.assert_array_equal(canonical(edited(made, crop), GRID), whole)

    def test_without_pixels_it_is_empty(self, files: list[Path]) -> None:
        made = foreign_segmentation(files, np.ones(GRID.shape, np.uint8), ["LM"])

        def empty(dataset: pydicom.Dataset) -> None:
            del dataset.PixelData
            del dataset.PerFrameFunctionalGroupsSequence
            del dataset.NumberOfFrames

        label = read_segmentation(edited(made, empty)).on_grid(GRID)
        assert [segment.name for segment in label.segments] == ["LM"]
        assert not label.array.any()
