"""Calcium scores to DICOM structured reports and back."""

from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from app.calcium.score import CalciumScores, calcium_scores
from app.errors import ImagingError
from app.imaging.dicom.report import read_report, write_report
from app.imaging.dicom.segmentation import write_segmentation
from app.imaging.volume import Volume
from tests.app.imaging.segmentations import DERIVATION
from tests.app.imaging.validator import problems
from tests.factories import SHAPE, edit_dicom, make_volume, write_dicom


@pytest.fixture(scope="module")
def volume() -> Volume:
    return make_volume()


@pytest.fixture(scope="module")
def files(volume: Volume, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_dicom(tmp_path_factory.mktemp("series"), volume)


def calcified() -> NDArray[np.uint8]:
    """Draw calcium in the left descending and the right artery."""
    label = np.zeros(SHAPE, np.uint8)
    label[1:3, 1:4, 1:4], label[4, 2:5, 3:6] = 2, 4
    return label


def score(volume: Volume, label: NDArray[np.uint8]) -> CalciumScores:
    return calcium_scores(volume.hu, label, spacing_mm=volume.spacing_mm, kvp=volume.kvp)


@pytest.fixture(scope="module")
def scores(volume: Volume) -> CalciumScores:
    return score(volume, calcified())


@pytest.fixture(scope="module")
def segmentation(files: list[Path]) -> bytes:
    return write_segmentation(files, calcified(), DERIVATION)


@pytest.fixture(scope="module")
def content(files: list[Path], scores: CalciumScores, segmentation: bytes) -> bytes:
    return write_report(files, scores, DERIVATION, segmentation=segmentation)


@pytest.fixture(scope="module")
def empty_content(files: list[Path], volume: Volume) -> bytes:
    empty = score(volume, np.zeros(SHAPE, np.uint8))
    return write_report(files, empty, DERIVATION, segmentation=None)


def test_scores_come_back_exactly(content: bytes, scores: CalciumScores) -> None:
    report = read_report(content)
    assert scores.total.agatston > 0
    assert report.total == scores.total
    assert report.arteries == dict(scores.arteries)


def test_each_calcified_artery_refers_to_its_segment(content: bytes, segmentation: bytes) -> None:
    uid = pydicom.dcmread(BytesIO(segmentation)).SOPInstanceUID
    assert read_report(content).segments == {"LAD": (uid, 1), "RCA": (uid, 2)}


@pytest.mark.parametrize("slices", [slice(2, 3), slice(1, 4)])
def test_one_artery_on_one_slice_or_more_is_reported(
    slices: slice, files: list[Path], volume: Volume, tmp_path: Path
) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[slices, 1:4, 1:4] = 2
    segmentation = write_segmentation(files, label, DERIVATION)
    made = write_report(files, score(volume, label), DERIVATION, segmentation=segmentation)
    assert read_report(made).arteries == dict(score(volume, label).arteries)
    assert list(read_report(made).segments) == ["LAD"]
    assert problems(segmentation, tmp_path) + problems(made, tmp_path) == []


def test_no_calcium_is_a_report_of_zeros(empty_content: bytes) -> None:
    report = read_report(empty_content)
    assert report.segments == {}
    assert {artery.agatston for artery in report.arteries.values()} == {0.0}
    assert (report.total.agatston, report.total.lesions) == (0.0, 0)


def test_is_valid_dicom(content: bytes, empty_content: bytes, tmp_path: Path) -> None:
    assert problems(content, tmp_path) == []
    assert problems(empty_content, tmp_path) == []


def test_is_the_report_template_that_programs_know(content: bytes, scores: CalciumScores) -> None:
    report = highdicom.sr.srread(BytesIO(content))
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    tree: Any = report.content
    groups = tree.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["LAD", "RCA"]
    (agatston,) = groups[0].get_measurements(
        name=highdicom.sr.CodedConcept("450360000", "SCT", "Coronary artery calcium score")
    )
    assert agatston.value == pytest.approx(scores.arteries["LAD"].agatston)
    assert agatston.method.value == "112055"


def test_names_nobody_but_the_patient_of_the_series(
    tmp_path: Path, volume: Volume, scores: CalciumScores
) -> None:
    paths = write_dicom(tmp_path, volume)
    for path in paths:
        edit_dicom(path, PatientName="Müller^Eva", SpecificCharacterSet="ISO_IR 100")
    made = pydicom.dcmread(BytesIO(write_report(paths, scores, DERIVATION, segmentation=None)))
    assert str(made.PatientName) == "Müller^Eva"
    persons = [item for item in made.iterall() if item.VR == "PN" and item.value]
    assert {str(item.value) for item in persons} == {"Müller^Eva"}


def test_the_same_scores_are_the_same_file(
    files: list[Path], scores: CalciumScores, segmentation: bytes, content: bytes
) -> None:
    assert write_report(files, scores, DERIVATION, segmentation=segmentation) == content


def test_keeps_uids_that_are_out_of_the_standard(
    tmp_path: Path, volume: Volume, scores: CalciumScores
) -> None:
    paths = write_dicom(tmp_path, volume)
    for number, path in enumerate(paths):
        edit_dicom(path, StudyInstanceUID="040567.1.2", SOPInstanceUID=f"0123.{number}.007")
    segmentation = write_segmentation(paths, calcified(), DERIVATION)
    made = write_report(paths, scores, DERIVATION, segmentation=segmentation)
    with pydicom.config.disable_value_validation():
        assert pydicom.dcmread(BytesIO(made)).StudyInstanceUID == "040567.1.2"
    assert read_report(made).total == scores.total


def test_another_object_is_no_report(segmentation: bytes) -> None:
    for other in (segmentation, b"no dicom at all" * 50):
        with pytest.raises(ImagingError, match="lacks scores"):
            read_report(other)
