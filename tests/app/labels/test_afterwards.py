from pathlib import Path

import pytest

from app import labels
from app.calcium.labels import LABELS
from app.errors import InvalidInputError, LabelError, NotFoundError
from app.store.tables import LabelRow
from tests.app.conftest import Deployment
from tests.app.labels.versions import all_rows, submit
from tests.app.submitting import ALL_NAMES


class TestAfterwards:
    def test_the_newest_version_is_current(self, deployment: Deployment, label_path: Path) -> None:
        submit(deployment, label_path)
        newest = submit(deployment, label_path, annotator="ben")
        with deployment.database.reading() as session:
            assert labels.current_label(session, "a", "final").id == newest.id

    def test_what_is_not_there_is_not_found(self, deployment: Deployment) -> None:
        with deployment.database.reading() as session:
            with pytest.raises(NotFoundError, match="image a has no label 'final'"):
                labels.current_label(session, "a", "final")
            with pytest.raises(NotFoundError, match="no image"):
                labels.current_label(session, "nobody", "final")

    def test_deleting_hides_every_version_and_loses_none(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        for annotator in ("anna", "ben"):
            submit(deployment, label_path, annotator=annotator)
        with deployment.database.writing() as session:
            assert labels.delete_label(session, "a", "final", actor="me", now=20.0)
            assert not labels.delete_label(session, "a", "final", actor="me", now=21.0)
            assert labels.find_label(session, "a", "final") is None
        rows = all_rows(deployment)
        assert [row.deleted_at for row in rows] == [20.0, 20.0]
        for row in rows:
            assert labels.label_file(deployment.files, row).exists()
        assert submit(deployment, label_path).version == 3

    def test_a_review_is_merged_into_the_info(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        submit(deployment, label_path)
        meta = dict.fromkeys(("status", "level", "approvedBy", "comment", "editTime"), "")
        review = {"segmentationMeta": meta, "name": "/etc/passwd", "ts": 0}
        with deployment.database.writing() as session:
            labels.update_label_info(session, "a", "final", review, actor="rita", now=30.0)
        (row,) = all_rows(deployment)
        assert row.info["segmentationMeta"] == meta
        assert (row.info["user"], row.info["name"], row.info["ts"]) == ("rita", "a.nrrd", 10)
        assert len(row.info["label_info"]) == 8

    @pytest.mark.parametrize(
        ("review", "tag"),
        [
            ({"status": "approved"}, "final"),
            (None, "final"),
            (dict.fromkeys(("status", "level", "approvedBy", "comment", "editTime"), ""), "second"),
        ],
    )
    def test_a_submission_with_an_unreadable_review_is_refused(
        self, deployment: Deployment, label_path: Path, review: object, tag: str
    ) -> None:
        params = {**ALL_NAMES, "segmentationMeta": review}
        with pytest.raises(InvalidInputError, match="segmentationMeta"):
            submit(deployment, label_path, params=params, tag=tag)
        assert not all_rows(deployment)

    def test_a_review_of_nothing_is_not_found(self, deployment: Deployment) -> None:
        with deployment.database.writing() as session, pytest.raises(NotFoundError):
            labels.update_label_info(session, "a", "final", {}, actor="rita", now=30.0)


class TestPrediction:
    def keep(self, deployment: Deployment, sha256: str, tag: str = "original") -> LabelRow:
        with deployment.database.writing() as session:
            return labels.keep_prediction(
                session,
                deployment.files,
                image_id="a",
                tag=tag,
                sha256=sha256,
                info={"model": "calcium", "params": {"label_names": LABELS}},
                now=40.0,
            )

    def test_is_kept_as_a_label_once(self, deployment: Deployment) -> None:
        digest = deployment.files.put(b"mask", ".nrrd")
        first, again = self.keep(deployment, digest), self.keep(deployment, digest)
        assert first.id == again.id
        assert first.info["params"]["label_names"] == LABELS
        assert labels.label_file(deployment.files, first).read_bytes() == b"mask"
        assert self.keep(deployment, deployment.files.put(b"other", ".nrrd")).version == 2

    def test_is_never_what_a_person_said(self, deployment: Deployment) -> None:
        with pytest.raises(LabelError, match="another tag"):
            self.keep(deployment, deployment.files.put(b"mask", ".nrrd"), tag="final")

    def test_never_covers_the_version_of_a_person(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        submitted = submit(deployment, label_path, tag="version_1")
        with pytest.raises(LabelError, match="of a person"):
            self.keep(deployment, deployment.files.put(b"mask", ".nrrd"), tag="version_1")
        with deployment.database.reading() as session:
            assert labels.current_label(session, "a", "version_1").id == submitted.id

    def test_needs_its_file(self, deployment: Deployment) -> None:
        with pytest.raises(NotFoundError):
            self.keep(deployment, "0" * 64)
