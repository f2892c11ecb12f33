"""Segmentations that others stored, as labels of a pool of DICOM series."""

from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from sqlalchemy import select

from app import images, labels
from app.calcium.labels import LABELS
from app.errors import LabelError
from app.imaging.dicom.derivation import ANATOMICAL_STRUCTURE, ARTERY_CODES, Derivation
from app.imaging.dicom.segmentation import write_segmentation
from app.imaging.labelmap import read_label_map
from app.pacs.segmentations import (
    Origin,
    TakenSegmentation,
    take_segmentation,
    unknown_segmentations,
)
from app.store.tables import ImageRow, LabelRow, SegmentationRow
from tests.app.conftest import Deployment
from tests.app.imaging.segmentations import edited, foreign_segmentation
from tests.app.submitting import submit_label
from tests.factories import SHAPE, make_volume, write_dicom, write_itk

PAINTED = (2, slice(1, 4), slice(2, 5))
"""Where the segments of these tests are drawn."""


@pytest.fixture
def series(deployment: Deployment) -> list[Path]:
    """Register one DICOM series."""
    files = write_dicom(deployment.studies / "series")
    scan(deployment, now=5.0)
    return files


def scan(deployment: Deployment, *, now: float) -> None:
    images.scan_studies(deployment.database, deployment.settings, now=lambda: now)


def mask() -> NDArray[np.uint8]:
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[PAINTED] = 1
    return drawn


def take(
    deployment: Deployment, content: bytes, *, now: float = 10.0, origin: Origin = "stow"
) -> TakenSegmentation:
    return take_segmentation(
        deployment.database,
        deployment.files,
        deployment.settings,
        content,
        origin=origin,
        now=now,
    )


def all_labels(deployment: Deployment) -> Sequence[LabelRow]:
    with deployment.database.reading() as session:
        return session.scalars(select(LabelRow)).all()


def notes(deployment: Deployment) -> Sequence[SegmentationRow]:
    with deployment.database.reading() as session:
        return session.scalars(select(SegmentationRow)).all()


def drawn_in(deployment: Deployment, taken: TakenSegmentation) -> NDArray[Any]:
    assert taken.label is not None, taken.problem
    return read_label_map(labels.label_file(deployment.files, taken.label)).array


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


NOON = datetime(2025, 3, 1, 12, tzinfo=UTC).timestamp()
"""When the labels of these tests come."""

HOUR_S = 3600.0


class TestOrder:
    def dated(
        self, series: list[Path], name: str, made_s: float | None, utc_offset: str = "+0000"
    ) -> bytes:
        """Make a segmentation at a time, by a clock in UTC unless without an offset."""

        def date_it(dataset: pydicom.Dataset) -> None:
            if made_s is None:
                return
            made = datetime.fromtimestamp(made_s, UTC if utc_offset else None)
            dataset.ContentDate, dataset.ContentTime = made.strftime("%Y%m%d,%H%M%S.123").split(",")
            if utc_offset:
                dataset.TimezoneOffsetFromUTC = utc_offset

        def undate(dataset: pydicom.Dataset) -> None:
            dataset.ContentDate = dataset.ContentTime = ""
            date_it(dataset)

        return edited(foreign_segmentation(series, mask(), [name]), undate)

    def current(self, deployment: Deployment) -> list[str]:
        return [entry["name"] for entry in all_labels(deployment)[-1].info["label_info"]]

    def draw(self, deployment: Deployment, folder: Path, *, now: float) -> None:
        """Let a person submit a label as 3D Slicer does."""
        path = write_itk(folder / "label.nrrd", mask() * 2, make_volume().grid)
        with deployment.database.reading() as session:
            image_id = session.scalars(select(ImageRow.id)).one()
        submit_label(deployment, image_id, path, params={"label_names": LABELS}, now=now)

    def test_the_newest_counts_in_whatever_order_they_are_found(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        newest, newer, older = (
            self.dated(series, name, NOON - hours * HOUR_S)
            for hours, name in ((1, "LCX"), (2, "LM"), (3, "RCA"))
        )
        assert take(deployment, newer, origin="pacs", now=NOON).is_new
        refused = take(deployment, older, origin="pacs", now=NOON)
        assert "older than the current label" in refused.problem
        assert self.current(deployment) == ["LM"]
        assert take(deployment, newest, origin="pacs", now=NOON).is_new
        assert self.current(deployment) == ["LCX"]

    @pytest.mark.parametrize("utc_offset", ["+0000", ""])
    @pytest.mark.parametrize("by_s", [-1.0, 1.0])
    def test_a_label_of_a_person_gives_way_to_a_newer_one_only(
        self,
        deployment: Deployment,
        series: list[Path],
        tmp_path: Path,
        by_s: float,
        utc_offset: str,
    ) -> None:
        self.draw(deployment, tmp_path, now=NOON)
        found = self.dated(series, "RCA", NOON + by_s, utc_offset)
        assert take(deployment, found, origin="pacs", now=NOON + HOUR_S).is_new == (by_s > 0)
        assert self.current(deployment) == (["RCA"] if by_s > 0 else list(LABELS))

    def test_the_offset_of_a_clock_counts(
        self, deployment: Deployment, series: list[Path], tmp_path: Path
    ) -> None:
        self.draw(deployment, tmp_path, now=NOON)
        # 13:00 in a zone two hours ahead of UTC is an hour before the label.
        found = self.dated(series, "RCA", NOON + HOUR_S, "+0200")
        taken = take(deployment, found, origin="pacs", now=NOON + 2 * HOUR_S)
        assert "older than the current label" in taken.problem
        assert notes(deployment)[0].problem == taken.problem

    @pytest.mark.parametrize(
        ("after_s", "reason"), [(None, "does not tell when"), (7 * HOUR_S, "in the future")]
    )
    def test_in_doubt_the_label_of_a_person_stays(
        self,
        deployment: Deployment,
        series: list[Path],
        tmp_path: Path,
        after_s: float | None,
        reason: str,
    ) -> None:
        self.draw(deployment, tmp_path, now=NOON)
        found = self.dated(series, "RCA", None if after_s is None else NOON + after_s)
        taken = take(deployment, found, origin="pacs", now=NOON + HOUR_S)
        assert taken.label is None
        assert reason in notes(deployment)[0].problem

    def test_what_somebody_stores_now_counts_now(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        for name, made_s in (("LM", NOON), ("RCA", NOON - HOUR_S)):
            assert take(deployment, self.dated(series, name, made_s), now=NOON).is_new
        assert self.current(deployment) == ["RCA"]
        # Although the file says that it was made before.
        between = self.dated(series, "LCX", NOON - HOUR_S / 2)
        assert take(deployment, between, origin="pacs", now=NOON + HOUR_S).label is None


class TestRefusals:
    def test_another_frame_of_reference_is_refused(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        def move(dataset: pydicom.Dataset) -> None:
            dataset.FrameOfReferenceUID = "1.2.3.4"

        made = edited(foreign_segmentation(series, mask(), ["LM"]), move)
        assert "frame of reference" in take(deployment, made).problem
        assert all_labels(deployment) == []

    def test_a_segmentation_of_another_series_is_no_label_of_this_image(
        self, deployment: Deployment, series: list[Path], tmp_path: Path
    ) -> None:
        # On the same grid: nothing but the UID tells the two apart.
        other = write_dicom(tmp_path / "other", make_volume(seed=9))
        made = foreign_segmentation(other, mask(), ["LM"])
        with deployment.database.reading() as session:
            image_id = session.scalars(select(ImageRow.id)).one()
            with pytest.raises(LabelError, match="another series"):
                labels.check_submission(
                    session, image_id=image_id, content=made, file_name="a.dcm", params={}
                )

    def test_calcium_of_two_arteries_is_refused(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        pixels = np.stack([mask(), mask()], axis=-1)
        made = foreign_segmentation(series, pixels, ["LM", "LAD"])
        assert "calcium of two arteries" in take(deployment, made).problem

    def test_what_is_no_segmentation_is_an_error(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        with pytest.raises(LabelError, match="another kind"):
            take(deployment, series[0].read_bytes())
        assert notes(deployment) == []

    def test_a_removed_image_takes_no_label(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        with deployment.database.writing() as session:
            image_id = session.scalars(select(ImageRow.id)).one()
            images.remove_image(session, image_id, actor="anna", now=6.0)
        taken = take(deployment, foreign_segmentation(series, mask(), ["LM"]))
        assert (taken.image_id, taken.label) == (None, None)


class TestSeriesOutsideThePool:
    @pytest.fixture
    def foreign(self, tmp_path: Path) -> bytes:
        files = write_dicom(tmp_path / "elsewhere", make_volume(seed=7))
        return foreign_segmentation(files, mask(), ["LM"])

    def unknown(self, deployment: Deployment, taken: TakenSegmentation, content: bytes) -> bool:
        found = {taken.sop_uid: str(pydicom.dcmread(BytesIO(content)).StudyInstanceUID)}
        with deployment.database.reading() as session:
            return unknown_segmentations(session, found, now=100.0) == [taken.sop_uid]

    def test_is_noted_and_looked_at_again_after_a_registration(
        self, deployment: Deployment, series: list[Path], foreign: bytes, tmp_path: Path
    ) -> None:
        taken = take(deployment, foreign)
        assert "not in the pool" in taken.problem
        assert not self.unknown(deployment, taken, foreign)
        (tmp_path / "elsewhere").rename(deployment.studies / "other")
        scan(deployment, now=15.0)
        assert self.unknown(deployment, taken, foreign)
        assert take(deployment, foreign, now=20.0).is_new
        assert not self.unknown(deployment, taken, foreign)

    def test_a_registration_in_another_study_is_no_reason_to_look_again(
        self, deployment: Deployment, series: list[Path], foreign: bytes
    ) -> None:
        taken = take(deployment, foreign)
        write_dicom(deployment.studies / "other", make_volume(seed=8))
        scan(deployment, now=15.0)
        assert not self.unknown(deployment, taken, foreign)

    def test_a_refused_one_is_not_looked_at_again(
        self, deployment: Deployment, series: list[Path]
    ) -> None:
        content = foreign_segmentation(series, mask(), ["Aorta"])
        assert not self.unknown(deployment, take(deployment, content, now=1.0), content)
