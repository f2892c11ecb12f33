"""Segmentations that others stored, as labels of a pool of DICOM series."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from app import labels
from app.imaging.dicom.derivation import ANATOMICAL_STRUCTURE, ARTERY_CODES, Derivation
from app.imaging.dicom.segmentation import write_segmentation
from app.pacs.segmentations import (
    Origin,
    TakenSegmentation,
)
from tests.app.conftest import Deployment
from tests.app.imaging.segmentations import edited, foreign_segmentation
from tests.app.pacs.segmentations.taking import PAINTED, all_labels, drawn_in, mask, notes, take
from tests.factories import SHAPE, make_volume


def test_becomes_a_final_label_with_its_bytes(deployment: Deployment, series: list[Path]) -> None:
    content = foreign_segmentation(series, mask(), ["RCA calcium"])
    taken = take(deployment, content)
    np.testing.assert_array_equal(drawn_in(deployment, taken), mask() * 4)
    (label,) = all_labels(deployment)
    assert (label.tag, label.version, label.annotator, label.created_at) == (
        "final",
        1,
        "dicom-seg",
        10.0,
    )
    assert (label.covers_calcium, label.covers_regions) == (True, False)
    assert labels.submitted_file(deployment.files, label).read_bytes() == content
    said = label.info["segmentation"]
    assert (said["sop_instance_uid"], said["origin"]) == (taken.sop_uid, "stow")
    (note,) = notes(deployment)
    assert (note.sop_uid, note.origin, note.label_id) == (taken.sop_uid, "stow", label.id)


@pytest.mark.parametrize(("origin", "annotator"), [("stow", "dr-a"), ("pacs", "dicom-seg")])
def test_who_saves_in_a_viewer_is_its_annotator(
    deployment: Deployment, series: list[Path], origin: Origin, annotator: str
) -> None:
    content = edited(
        foreign_segmentation(series, mask(), ["RCA calcium"]),
        lambda dataset: setattr(dataset, "ContentCreatorName", "dr-a"),
    )
    taken = take(deployment, content, origin=origin)
    assert taken.label is not None
    assert taken.label.annotator == annotator


def test_is_scored_like_any_label(deployment: Deployment, series: list[Path]) -> None:
    label = take(deployment, foreign_segmentation(series, mask(), ["RCA calcium"])).label
    assert label is not None
    assert label.scores is not None
    candidates = int((make_volume().hu[PAINTED] >= 130).sum())
    assert candidates
    z, y, x = make_volume().spacing_mm
    volume = label.scores["arteries"]["RCA"]["volume_mm3"]
    assert label.scores["total"]["volume_mm3"] == volume
    assert volume == pytest.approx(candidates * z * y * x)


def test_calcium_on_dark_voxels_is_refused(deployment: Deployment, series: list[Path]) -> None:
    dark = (make_volume().hu < 130).astype(np.uint8)
    taken = take(deployment, foreign_segmentation(series, dark, ["RCA calcium"]))
    assert taken.label is None
    assert "reaches the threshold" in taken.problem
    assert not all_labels(deployment)


def test_is_taken_once(deployment: Deployment, series: list[Path]) -> None:
    content = foreign_segmentation(series, mask(), ["LM"])
    assert take(deployment, content).is_new
    again = take(deployment, content, now=20.0)
    assert again.label is not None
    assert not again.is_new
    assert len(all_labels(deployment)) == 1


def test_another_content_under_a_known_uid_is_refused(
    deployment: Deployment, series: list[Path]
) -> None:
    first = foreign_segmentation(series, mask(), ["LM"])
    uid = pydicom.dcmread(BytesIO(first)).SOPInstanceUID
    other = foreign_segmentation(series, mask(), ["RCA"], sop_instance_uid=uid)
    label = take(deployment, first).label
    taken = take(deployment, other)
    assert taken.label is None
    assert "another segmentation with this SOPInstanceUID" in taken.problem
    # The first one stays known.
    again = take(deployment, first).label
    assert again is not None
    assert label is not None
    assert again.id == label.id
    assert len(all_labels(deployment)) == 1


def test_other_bytes_of_the_same_segmentation_are_known(
    deployment: Deployment, series: list[Path]
) -> None:
    content = foreign_segmentation(series, mask(), ["LM"])
    assert take(deployment, content).is_new

    def coerce(dataset: pydicom.Dataset) -> None:
        dataset.PatientComments = "moved to another archive"

    again = take(deployment, edited(content, coerce))
    assert (again.label is not None, again.is_new) == (True, False)


class TestAfterDeletion:
    def delete(self, deployment: Deployment, taken: TakenSegmentation) -> None:
        assert taken.image_id is not None
        with deployment.database.writing() as session:
            labels.delete_label(session, taken.image_id, "final", actor="anna", now=15.0)

    def test_what_somebody_stores_again_is_a_label_again(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        content = foreign_segmentation(series, mask(), ["LM"])
        self.delete(deployment, take(deployment, content))
        again = take(deployment, content, now=20.0)
        assert again.is_new
        assert [row.deleted_at for row in all_labels(deployment)] == [15.0, None]
        assert not take(deployment, content, now=30.0).is_new

    def test_the_dicomweb_server_does_not_bring_it_back(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        content = foreign_segmentation(series, mask(), ["LM"])
        self.delete(deployment, take(deployment, content, origin="pacs"))
        assert not take(deployment, content, origin="pacs", now=20.0).is_new
        assert len(all_labels(deployment)) == 1


def test_no_calcium_of_another_deployment_is_a_label(
    deployment: Deployment, series: list[Path]
) -> None:
    derivation = Derivation("elsewhere", 5.0, covers_calcium=True)
    content = write_segmentation(series, np.zeros(SHAPE, np.uint8), derivation)
    taken = take(deployment, content, origin="pacs")
    assert taken.is_new
    assert taken.label is not None
    assert taken.label.covers_calcium
    assert not take(deployment, content, origin="pacs", now=20.0).is_new


def test_an_empty_segmentation_is_a_patient_without_calcium(
    deployment: Deployment, series: list[Path]
) -> None:
    made = foreign_segmentation(series, mask(), ["LAD", "LCX"], omit_empty_frames=False)

    def erase(dataset: pydicom.Dataset) -> None:
        dataset.PixelData = bytes(len(dataset.PixelData))

    taken = take(deployment, edited(made, erase))
    assert not drawn_in(deployment, taken).any()
    assert all_labels(deployment)[0].covers_calcium


@pytest.mark.parametrize("covers_calcium", [True, False])
def test_regions_of_another_deployment_say_whether_calcium_was_looked_for(
    deployment: Deployment, series: list[Path], covers_calcium: bool
) -> None:
    regions = mask() * 6
    derivation = Derivation("elsewhere", 1.0, covers_calcium=covers_calcium)
    taken = take(deployment, write_segmentation(series, regions, derivation))
    np.testing.assert_array_equal(drawn_in(deployment, taken), regions)
    assert all_labels(deployment)[0].covers_calcium == covers_calcium


class TestNames:
    def test_codes_stand_for_a_name_that_says_nothing(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        regions = [ARTERY_CODES["LCX"]]
        made = foreign_segmentation(series, mask(), ["Segment 1"], regions=regions)
        np.testing.assert_array_equal(drawn_in(deployment, take(deployment, made)), mask() * 3)

    @pytest.mark.parametrize(
        ("name", "region", "category", "reason"),
        [
            ("Segment 1", None, codes.SCT.Tissue, "got 'Segment 1'"),
            ("Stent", "LAD", codes.SCT.PhysicalObject, "got 'Stent'"),
            ("LAD", "RCA", codes.SCT.Tissue, "has the code of the RCA"),
            ("LAD", "LAD", ANATOMICAL_STRUCTURE, "coded as anatomy"),
            ("LAD region", "RCA", ANATOMICAL_STRUCTURE, "has the code of the RCA"),
        ],
    )
    def test_what_may_be_something_else_is_no_calcium(
        self,
        name: str,
        region: str | None,
        category: Any,
        reason: str,
        deployment: Deployment,
        series: list[Path],
    ) -> None:
        regions = [ARTERY_CODES[region]] if region else []
        made = foreign_segmentation(series, mask(), [name], regions=regions, category=category)
        taken = take(deployment, made)
        assert taken.label is None
        assert reason in taken.problem
        assert taken.image_id is not None
        assert all_labels(deployment) == []
        assert notes(deployment)[0].problem == taken.problem

    def test_segments_without_pixels_may_have_any_name(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        pixels = np.stack([mask(), 0 * mask()], axis=-1)
        made = foreign_segmentation(series, pixels, ["LM", "Segment 2"])
        np.testing.assert_array_equal(drawn_in(deployment, take(deployment, made)), mask())

    def test_nothing_drawn_under_no_name_is_not_zero_calcium(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        made = foreign_segmentation(series, mask(), ["Segment 1"])

        def erase(dataset: pydicom.Dataset) -> None:
            dataset.PixelData = bytes(len(dataset.PixelData))

        assert "names no artery" in take(deployment, edited(made, erase)).problem
        assert all_labels(deployment) == []
