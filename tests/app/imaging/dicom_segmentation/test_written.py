"""What we write as a DICOM segmentation is valid, and read back it is the label."""

import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from app.calcium.labels import LABELS
from app.errors import LabelError
from app.imaging.dicom.derivation import Algorithm, Derivation
from app.imaging.dicom.segmentation import write_segmentation
from app.imaging.dicom.segmentation_reader import read_segmentation
from app.imaging.dicom.writer import write_series
from app.imaging.reader import read_volume
from app.imaging.scan import find_images
from app.imaging.volume import Grid
from tests.app.imaging.segmentations import (
    DERIVATION,
    GRID,
    canonical,
    reorder_frames,
)
from tests.app.imaging.validator import problems
from tests.factories import AXIAL_ORIENTATIONS, edit_dicom, make_grid, make_labels, make_volume
from tests.factories import write_dicom as write
from tests.real_data import real_data


def test_a_series_without_preambles_can_be_segmented(
    tmp_path: Path, label: NDArray[np.uint8]
) -> None:
    files = write(tmp_path)
    for path in files:
        path.write_bytes(path.read_bytes()[132:])
    content = write_segmentation(files, label, DERIVATION)
    np.testing.assert_array_equal(canonical(content, GRID), label)


@pytest.mark.parametrize(
    ("there", "here"), [("JST-9", "UTC0"), ("UTC0", "CET-1"), ("EST5", "JST-9")]
)
def test_a_machine_in_another_time_zone_reads_when_it_was_made(
    there: str,
    here: str,
    files: list[Path],
    label: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        monkeypatch.setenv("TZ", there)
        time.tzset()
        content = write_segmentation(files, label, DERIVATION)
        monkeypatch.setenv("TZ", here)
        time.tzset()
        assert read_segmentation(content).made_s == DERIVATION.made_at
    finally:
        monkeypatch.undo()
        time.tzset()


def parsed(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(content))


class TestRoundTrip:
    @pytest.mark.parametrize("number", range(len(AXIAL_ORIENTATIONS)))
    def test_is_exact_in_every_axial_order(self, number: int, tmp_path: Path) -> None:
        grid = make_grid(directions=AXIAL_ORIENTATIONS[number])
        paths = write_series(tmp_path, make_volume(grid), descending=bool(number % 2))
        stored = read_volume(tmp_path).grid
        drawn = make_labels(seed=number)
        drawn[[0, 2]] = 0
        made = write_segmentation(paths[::-1], drawn, DERIVATION)
        np.testing.assert_array_equal(canonical(made, stored), drawn)

    @pytest.mark.parametrize("name", ["qrm-phantom", "cptac-chest"])
    def test_is_exact_on_a_real_series(self, name: str) -> None:
        (finding,) = find_images(real_data(name))
        grid = read_volume(real_data(name)).grid
        drawn = np.zeros(grid.shape, np.uint8)
        drawn[3, 250:260, 100:130], drawn[-1, 0, 0], drawn[20, 300, 200:205] = 2, 4, 7
        made = write_segmentation(finding.files, drawn, DERIVATION)
        np.testing.assert_array_equal(canonical(made, grid), drawn)

    def test_the_order_of_frames_does_not_matter(
        self, content: bytes, label: NDArray[np.uint8]
    ) -> None:
        count = int(parsed(content).NumberOfFrames)
        order = np.random.default_rng(0).permutation(count).tolist()
        np.testing.assert_array_equal(canonical(reorder_frames(content, order), GRID), label)

    def test_highdicom_reads_the_same(self, content: bytes, label: NDArray[np.uint8]) -> None:
        read = highdicom.seg.segread(BytesIO(content))
        names = [read.get_segment_description(n).segment_label for n in read.segment_numbers]
        assert names == list(LABELS)
        volume = read.get_volume(combine_segments=True)
        found = volume.array if volume.affine[2, 0] > 0 else volume.array[::-1]
        np.testing.assert_array_equal(found, label)


def test_slices_that_are_a_little_uneven_are_found(tmp_path: Path) -> None:
    paths = write(tmp_path)
    # 0.02 mm of 3 mm: within what a series may be off its even grid.
    edit_dicom(paths[2], ImagePositionPatient=[-60.5, -110.25, 42.0 + 6.02])
    grid: Grid = read_volume(tmp_path).grid
    drawn = make_labels()
    made = write_segmentation(paths, drawn, DERIVATION)
    np.testing.assert_array_equal(canonical(made, grid), drawn)


class TestWhatIsWritten:
    def test_is_valid_dicom(self, content: bytes, tmp_path: Path) -> None:
        assert problems(content, tmp_path) == []

    def test_codes_say_calcification_of_an_artery(self, content: bytes) -> None:
        segment = parsed(content).SegmentSequence[1]
        assert segment.SegmentLabel == "LAD"
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "237897009"
        assert segment.AnatomicRegionSequence[0].CodeValue == "59438005"

    def test_codes_of_a_region_say_artery(self, content: bytes) -> None:
        segment = parsed(content).SegmentSequence[7]
        assert segment.SegmentLabel == "RCA_region"
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "13647002"

    def test_only_labels_with_voxels_are_segments(self, files: list[Path]) -> None:
        drawn = np.zeros(GRID.shape, np.uint8)
        drawn[2, 3, 4] = 4
        made = parsed(write_segmentation(files, drawn, DERIVATION))
        assert [segment.SegmentLabel for segment in made.SegmentSequence] == ["RCA"]
        assert int(made.NumberOfFrames) == 1

    def test_refers_to_every_instance(self, content: bytes, files: list[Path]) -> None:
        (series,) = parsed(content).ReferencedSeriesSequence
        named = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
        assert named == {pydicom.dcmread(path).SOPInstanceUID for path in files}

    def test_a_corrected_prediction_names_its_algorithm(
        self, files: list[Path], label: NDArray[np.uint8]
    ) -> None:
        derivation = Derivation("seed", 0.0, Algorithm("calcium network", "3"))
        segment = parsed(write_segmentation(files, label, derivation)).SegmentSequence[0]
        assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
        (named,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (named.AlgorithmName, named.AlgorithmVersion) == ("calcium network", "3")

    def test_what_was_drawn_by_hand_names_none(self, content: bytes) -> None:
        segment = parsed(content).SegmentSequence[0]
        assert segment.SegmentAlgorithmType == "MANUAL"
        assert "SegmentAlgorithmName" not in segment

    def test_the_same_label_is_the_same_file(
        self, files: list[Path], label: NDArray[np.uint8], content: bytes
    ) -> None:
        assert write_segmentation(files, label, DERIVATION) == content

    def test_another_seed_makes_another_instance(
        self, files: list[Path], label: NDArray[np.uint8], content: bytes
    ) -> None:
        other = parsed(write_segmentation(files, label, Derivation("other", 0.0)))
        assert other.SOPInstanceUID != parsed(content).SOPInstanceUID
        assert other.SeriesInstanceUID != parsed(content).SeriesInstanceUID

    def test_names_nobody_but_the_patient_of_the_series(
        self, tmp_path: Path, label: NDArray[np.uint8]
    ) -> None:
        paths = write(tmp_path)
        for path in paths:
            edit_dicom(path, PatientName="Müller^Eva", SpecificCharacterSet="ISO_IR 100")
        made = parsed(write_segmentation(paths, label, DERIVATION))
        assert str(made.PatientName) == "Müller^Eva"
        assert not made.get("ContentCreatorName")

    def test_keeps_uids_that_are_out_of_the_standard(
        self, tmp_path: Path, label: NDArray[np.uint8]
    ) -> None:
        paths = write(tmp_path)
        # As the COCA data has them: random digits, components that begin with 0.
        for number, path in enumerate(paths):
            edit_dicom(
                path,
                StudyInstanceUID="040567.1.2",
                SeriesInstanceUID="04.0005.77",
                SOPInstanceUID=f"0123.{number}.007",
                FrameOfReferenceUID="04.0.99",
            )
        made = write_segmentation(paths, label, DERIVATION)
        assert read_segmentation(made).series_uids == ("04.0005.77",)
        np.testing.assert_array_equal(canonical(made, GRID), label)

    def test_of_no_calcium_is_small_and_valid(self, files: list[Path], tmp_path: Path) -> None:
        nothing = np.zeros(GRID.shape, np.uint8)
        content = write_segmentation(files, nothing, replace(DERIVATION, covers_calcium=True))
        assert parsed(content).NumberOfFrames == 4
        assert highdicom.seg.segread(BytesIO(content)).number_of_segments == 4
        assert problems(content, tmp_path) == []

    def test_an_empty_label_is_refused(self, files: list[Path]) -> None:
        with pytest.raises(LabelError, match="got an empty one"):
            write_segmentation(files, np.zeros(GRID.shape, np.uint8), DERIVATION)

    def test_a_label_of_another_shape_is_refused(self, files: list[Path]) -> None:
        with pytest.raises(LabelError, match="shape"):
            write_segmentation(files, np.ones((4, 6, 7), np.uint8), DERIVATION)
