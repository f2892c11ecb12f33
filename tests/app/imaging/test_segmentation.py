"""Labels to DICOM segmentations and back."""

import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels.utils import pack_bits
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from app.calcium.labels import LABELS
from app.errors import LabelError
from app.imaging.dicom.derivation import ARTERY_CODES, Algorithm, Derivation
from app.imaging.dicom.segmentation import write_segmentation
from app.imaging.dicom.segmentation_reader import read_segmentation
from app.imaging.dicom.writer import write_series
from app.imaging.reader import read_volume
from app.imaging.scan import find_images
from app.imaging.volume import Grid
from tests.app.imaging.segmentations import (
    DERIVATION,
    canonical,
    edited,
    foreign_segmentation,
    reorder_frames,
)
from tests.app.imaging.validator import problems
from tests.factories import AXIAL_ORIENTATIONS, edit_dicom, make_grid, make_labels, make_volume
from tests.factories import write_dicom as write
from tests.real_data import real_data

GRID = make_grid()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(tmp_path_factory.mktemp("series"))


@pytest.fixture
def label() -> NDArray[np.uint8]:
    drawn = make_labels()
    drawn[[1, 3]] = 0
    return drawn


@pytest.fixture
def content(files: list[Path], label: NDArray[np.uint8]) -> bytes:
    return write_segmentation(files, label, DERIVATION)


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


def test_slices_that_are_a_little_uneven_are_found(tmp_path: Path) -> None:
    paths = write(tmp_path)
    # 0.02 mm of 3 mm: within what a series may be off its even grid.
    edit_dicom(paths[2], ImagePositionPatient=[-60.5, -110.25, 42.0 + 6.02])
    grid: Grid = read_volume(tmp_path).grid
    drawn = make_labels()
    made = write_segmentation(paths, drawn, DERIVATION)
    np.testing.assert_array_equal(canonical(made, grid), drawn)


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
