import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from sqlalchemy import select

from app import labels
from app.errors import LabelError
from app.imaging.volume import Grid
from app.intake.label_versions import put_files
from app.store.tables import AuditRow
from tests.app.conftest import Deployment
from tests.app.labels.versions import all_rows, stored, submit
from tests.app.pool import add_image
from tests.app.submitting import ALL_NAMES
from tests.factories import SHAPE, make_grid, make_labels, to_itk, write_itk, write_nifti


def at_once(deployment: Deployment, path: Path, annotators: Sequence[str]) -> None:
    """Submit the same file for each annotator, all at the same time."""
    threads = [
        threading.Thread(target=submit, args=(deployment, path), kwargs={"annotator": name})
        for name in annotators
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class TestSubmission:
    @pytest.mark.parametrize("ending", [".nrrd", ".nii", ".nii.gz", ".mha"])
    def test_keeps_the_canonical_label_and_the_bytes_as_submitted(
        self, deployment: Deployment, tmp_path: Path, drawn: NDArray[np.uint8], ending: str
    ) -> None:
        write = write_nifti if ending.startswith(".nii") else write_itk
        path = write(tmp_path / f"label{ending}", drawn, make_grid())
        row = submit(deployment, path)
        np.testing.assert_array_equal(stored(deployment, row), drawn)
        assert labels.submitted_file(deployment.files, row).read_bytes() == path.read_bytes()
        assert (row.version, row.annotator, row.created_at) == (1, "anna", 10.0)
        assert (row.covers_calcium, row.covers_regions) == (True, True)

    def test_tells_clients_what_they_expect(self, deployment: Deployment, label_path: Path) -> None:
        params = {**ALL_NAMES, "model": "calcium", "client_id": "user-xyz"}
        info = submit(deployment, label_path, params=params).info
        assert info["label_info"] == ALL_NAMES["label_info"]
        assert (info["name"], info["ts"], info["model"]) == ("a.nrrd", 10, "calcium")

    def test_renumbers_by_name(self, deployment: Deployment, tmp_path: Path) -> None:
        mask = np.zeros(SHAPE, np.uint8)
        mask[0, 0, :2] = 1, 2
        path = write_itk(tmp_path / "l.nrrd", mask, make_grid())
        listed = [{"name": "background", "idx": 1}, {"name": "RCA calcium", "idx": 2}]
        listed.append({"name": "Left main", "idx": 3})
        row = submit(deployment, path, params={"label_info": listed})
        assert stored(deployment, row)[0, 0, :3].tolist() == [4, 1, 0]
        assert row.info["label_info"] == [{"name": "LM", "idx": 1}, {"name": "RCA", "idx": 4}]
        assert row.info["submitted_label_info"] == listed

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            ({"LAD": 2, "LCX": 3, "RCA": 4}, [2, 3]),
            ({"RCA": "2", "background": 0, "LM": 3.0}, [4, 1]),
            (["RCA", "LM", "LCX"], [1, 3]),
        ],
    )
    def test_numbers_by_label_names(
        self, deployment: Deployment, tmp_path: Path, names: object, expected: list[int]
    ) -> None:
        mask = np.zeros(SHAPE, np.uint8)
        mask[0, 0, :2] = 2, 3
        path = write_itk(tmp_path / "l.nrrd", mask, make_grid())
        row = submit(deployment, path, params={"label_names": names})
        assert stored(deployment, row)[0, 0, :3].tolist() == [*expected, 0]

    def test_reads_cropped_slicer_segmentations(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        grid = make_grid()
        affine = grid.affine.copy()
        # The crop begins at voxel (x, y, z) = (2, 1, 3).
        affine[:3, 3] += grid.affine[:3, :3] @ (2, 1, 3)
        image = to_itk(np.full((2, 3, 4), 5, np.uint8), Grid((2, 3, 4), affine))
        for key, value in {"Name": "LAD", "LabelValue": "5", "Layer": "0"}.items():
            image.SetMetaData(f"Segment0_{key}", value)
        SimpleITK.WriteImage(image, str(tmp_path / "Segmentation.seg.nrrd"))
        row = submit(deployment, tmp_path / "Segmentation.seg.nrrd", params={})
        expected = np.zeros(SHAPE, np.uint8)
        expected[3:5, 1:4, 2:6] = 2
        np.testing.assert_array_equal(stored(deployment, row), expected)

    @pytest.mark.parametrize("dtype", ["u1", "<u2"])
    def test_takes_bare_voxel_dumps(
        self, deployment: Deployment, tmp_path: Path, drawn: NDArray[np.uint8], dtype: str
    ) -> None:
        path = tmp_path / "label.bin"
        path.write_bytes(drawn.astype(dtype).tobytes())
        np.testing.assert_array_equal(stored(deployment, submit(deployment, path)), drawn)

    def test_no_calcium_drawn_is_no_calcium(self, deployment: Deployment, tmp_path: Path) -> None:
        path = write_itk(tmp_path / "l.nrrd", np.zeros(SHAPE, np.uint8), make_grid())
        row = submit(deployment, path)
        assert (row.covers_calcium, row.covers_regions) == (True, False)

    def test_every_submission_stays_as_a_version(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        for seed in (1, 2, 3):
            path = write_itk(tmp_path / "l.nrrd", make_labels(seed=seed), make_grid())
            submit(deployment, path)
        rows = all_rows(deployment)
        assert [row.version for row in rows] == [1, 2, 3]
        for seed, row in zip((1, 2, 3), rows, strict=True):
            np.testing.assert_array_equal(stored(deployment, row), make_labels(seed=seed))

    def test_versions_submitted_at_once_all_stay(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        at_once(deployment, label_path, ["anna", "ben", "carl", "dora", "emil", "fay"])
        assert [row.version for row in all_rows(deployment)] == [1, 2, 3, 4, 5, 6]

    def test_a_lost_transaction_loses_the_row_but_no_file(
        self, deployment: Deployment, label_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        order: list[str] = []
        put = type(deployment.files).put

        def noted_put(self: Any, content: bytes, extension: str) -> str:
            order.append(f"file with {len(all_rows(deployment))} rows")
            return put(self, content, extension)

        monkeypatch.setattr(type(deployment.files), "put", noted_put)
        submit(deployment, label_path)
        assert order == ["file with 0 rows", "file with 0 rows"]

    def test_is_written_down(self, deployment: Deployment, label_path: Path) -> None:
        submit(deployment, label_path, tag="version_1")
        with deployment.database.reading() as session:
            (event,) = session.scalars(select(AuditRow))
        assert (event.actor, event.action, event.subject) == ("anna", "submit label", "a")
        assert event.change["tag"] == "version_1"

    def test_an_image_that_changed_since_the_check_is_refused(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        content = label_path.read_bytes()
        with deployment.database.reading() as session:
            checked = labels.check_submission(
                session, image_id="a", content=content, file_name="l.nrrd", params={}
            )
        with deployment.database.writing() as session:
            add_image(session, "other", grid=make_grid(origin_mm=(0.0, 0.0, 0.0)))
            with pytest.raises(LabelError, match="other changed"):
                labels.keep_submission(
                    session,
                    deployment.settings,
                    put_files(deployment.files, checked),
                    image_id="other",
                    tag="final",
                    annotator="anna",
                    now=1.0,
                )


class TestSameSubmissionAgain:
    """Somebody pressed Submit twice, or got no answer the first time."""

    def test_is_the_version_of_before(self, deployment: Deployment, label_path: Path) -> None:
        first = submit(deployment, label_path, now=10.0)
        again = submit(deployment, label_path, now=20.0)
        assert (again.id, again.created_at) == (first.id, 10.0)
        with deployment.database.reading() as session:
            events = session.scalars(select(AuditRow.action)).all()
        assert events == ["submit label"]

    def test_is_one_version_however_many_come_at_once(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        at_once(deployment, label_path, ["anna"] * 6)
        assert [row.version for row in all_rows(deployment)] == [1]

    @pytest.mark.parametrize(
        "other",
        [
            {"annotator": "ben"},
            {"tag": "version_1"},
            {"params": {**ALL_NAMES, "comment": "looked at again"}},
            {"params": {"label_info": [{"name": "LAD"}, *ALL_NAMES["label_info"][2:]]}},
        ],
    )
    def test_is_another_label_when_anything_else_is_said(
        self, deployment: Deployment, tmp_path: Path, other: dict[str, Any]
    ) -> None:
        mask = np.zeros(SHAPE, np.uint8)
        mask[0, 0, 0] = 1
        path = write_itk(tmp_path / "l.nrrd", mask, make_grid())
        first = submit(deployment, path)
        assert submit(deployment, path, **other).id != first.id

    def test_is_a_new_version_after_another_one(
        self, deployment: Deployment, label_path: Path, tmp_path: Path
    ) -> None:
        between = write_itk(tmp_path / "l.nrrd", make_labels(seed=9), make_grid())
        for path in (label_path, between, label_path):
            submit(deployment, path)
        assert [row.version for row in all_rows(deployment)] == [1, 2, 3]

    def test_is_a_new_version_when_that_one_was_deleted(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        submit(deployment, label_path)
        with deployment.database.writing() as session:
            labels.delete_label(session, "a", "final", actor="me", now=20.0)
        assert submit(deployment, label_path).version == 2
