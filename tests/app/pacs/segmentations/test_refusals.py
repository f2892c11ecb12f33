"""Segmentations that become no label."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from sqlalchemy import select

from app import images, labels
from app.errors import LabelError
from app.pacs.segmentations import (
    TakenSegmentation,
    unknown_segmentations,
)
from app.store.tables import ImageRow
from tests.app.conftest import Deployment
from tests.app.imaging.segmentations import edited, foreign_segmentation
from tests.app.pacs.segmentations.taking import all_labels, mask, notes, scan, take
from tests.factories import make_volume, write_dicom


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
