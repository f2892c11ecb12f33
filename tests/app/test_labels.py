import gzip
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from sqlalchemy import select

from app import images, labels
from app.calcium.labels import LABELS
from app.errors import InvalidInputError, LabelError, NotFoundError
from app.imaging.labelmap import read_label_map
from app.imaging.volume import Grid
from app.store.tables import AuditRow, JobRow, LabelRow, LeaseRow
from tests.app.conftest import Deployment
from tests.app.pool import add_image
from tests.factories import SHAPE, make_grid, make_labels, to_itk, write_itk, write_nifti

ALL_NAMES = {"label_info": [{"name": name, "idx": value} for name, value in LABELS.items()]}
"""What 3D Slicer sends with a label when nobody touched the list of segments."""


@pytest.fixture(autouse=True)
def pool(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        for image_id in ("a", "b", "c"):
            add_image(session, image_id)


def submit(
    deployment: Deployment,
    path: Path,
    *,
    image_id: str = "a",
    tag: str = "final",
    params: Mapping[str, object] = ALL_NAMES,
    now: float = 10.0,
    **settings: Any,
) -> LabelRow:
    with deployment.database.writing() as session:
        return labels.submit_label(
            session,
            deployment.files,
            deployment.settings.model_copy(update=settings),
            image_id=image_id,
            tag=tag,
            content=path.read_bytes(),
            file_name=path.name,
            params=params,
            annotator="anna",
            now=now,
        )


def stored(deployment: Deployment, row: LabelRow) -> NDArray[Any]:
    return read_label_map(labels.label_file(deployment.files, row)).array


def all_rows(deployment: Deployment) -> list[LabelRow]:
    with deployment.database.reading() as session:
        return list(session.scalars(select(LabelRow).order_by(LabelRow.id)))


def stored_files(deployment: Deployment) -> list[Path]:
    return [path for path in deployment.settings.files.rglob("*") if path.is_file()]


@pytest.fixture
def drawn() -> NDArray[np.uint8]:
    return make_labels()


@pytest.fixture
def label_path(tmp_path: Path, drawn: NDArray[np.uint8]) -> Path:
    return write_itk(tmp_path / "label.nrrd", drawn, make_grid())


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
        threads = [threading.Thread(target=submit, args=(deployment, label_path)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
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
                    deployment.files,
                    deployment.settings,
                    checked,
                    image_id="other",
                    tag="final",
                    annotator="anna",
                    now=1.0,
                )


def _nan(folder: Path) -> Path:
    values = make_labels().astype(np.float32)
    values[0, 0, 0] = np.nan
    return write_nifti(folder / "l.nii.gz", values, make_grid())


def _fraction(folder: Path) -> Path:
    return write_nifti(folder / "l.nii.gz", make_labels() + np.float32(0.5), make_grid())


def _negative(folder: Path) -> Path:
    return write_nifti(folder / "l.nii.gz", -make_labels().astype(np.int16), make_grid())


def _unknown_value(folder: Path) -> Path:
    return write_itk(folder / "l.nrrd", np.full(SHAPE, 9, np.uint8), make_grid())


def _wrong_shape(folder: Path) -> Path:
    return write_itk(folder / "l.nrrd", np.ones((9, 9, 9), np.uint8), make_grid((9, 9, 9)))


def _wrong_spacing(folder: Path) -> Path:
    return write_itk(folder / "l.nrrd", make_labels(), make_grid(spacing_mm=(3.0, 0.5, 0.7)))


def _half_a_voxel_off(folder: Path) -> Path:
    grid = make_grid(origin_mm=(-60.5 + 0.375, -110.25, 42.0))
    return write_itk(folder / "l.nrrd", make_labels(), grid)


def _truncated(folder: Path) -> Path:
    path = write_itk(folder / "l.nrrd", make_labels(), make_grid())
    path.write_bytes(path.read_bytes()[:-10])
    return path


def _truncated_gzip(folder: Path) -> Path:
    path = write_nifti(folder / "l.nii.gz", make_labels(), make_grid())
    path.write_bytes(path.read_bytes()[:-30])
    return path


def _empty(folder: Path) -> Path:
    (folder / "l.nrrd").write_bytes(b"")
    return folder / "l.nrrd"


def _garbage(folder: Path) -> Path:
    (folder / "l.nii.gz").write_bytes(gzip.compress(b"not a NIfTI file" * 100))
    return folder / "l.nii.gz"


def _program(folder: Path) -> Path:
    (folder / "x.exe").write_bytes(b"MZ")
    return folder / "x.exe"


def _short_dump(folder: Path) -> Path:
    (folder / "label.bin").write_bytes(make_labels().tobytes()[:-1])
    return folder / "label.bin"


def _foreign_file(folder: Path) -> Path:
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 7 6 5\nencoding: raw\n"
    (folder / "l.nrrd").write_text(f"{header}data file: /etc/passwd\n\n")
    return folder / "l.nrrd"


class TestRefusal:
    @pytest.mark.parametrize(
        "make",
        [
            _nan,
            _fraction,
            _negative,
            _unknown_value,
            _wrong_shape,
            _wrong_spacing,
            _half_a_voxel_off,
            _truncated,
            _truncated_gzip,
            _empty,
            _garbage,
            _program,
            _short_dump,
            _foreign_file,
        ],
    )
    def test_bad_labels_leave_nothing_behind(
        self, deployment: Deployment, tmp_path: Path, make: Any
    ) -> None:
        path = make(tmp_path)
        with pytest.raises(LabelError) as caught:
            submit(deployment, path, params={})
        sentence = str(caught.value)
        assert len(sentence) > 10
        assert not sentence.endswith(".")
        assert "/" not in sentence
        assert all_rows(deployment) == []
        assert stored_files(deployment) == []

    @pytest.mark.parametrize(
        "params",
        [
            {"label_info": [{"name": "spleen", "idx": 1}]},
            {"label_info": "LM"},
            {"label_names": {"LM": "one"}},
            {"label_names": {"LM": 1, "LAD": 1}},
            {"label_names": {"LM": 1, "LAD": 2}},
            {**ALL_NAMES, "score": float("nan")},
            {**ALL_NAMES, "comment": "x" * 1_000_001},
        ],
    )
    def test_bad_params_leave_nothing_behind(
        self, deployment: Deployment, label_path: Path, params: Mapping[str, object]
    ) -> None:
        with pytest.raises(LabelError):
            submit(deployment, label_path, params=params)
        assert all_rows(deployment) == []
        assert stored_files(deployment) == []

    def test_unknown_images_are_not_found(self, deployment: Deployment, label_path: Path) -> None:
        with pytest.raises(NotFoundError, match="no image 'nobody'"):
            submit(deployment, label_path, image_id="nobody")

    @pytest.mark.parametrize("tag", ["../../x", "/abs", "", "a/b", "x" * 129])
    def test_tags_stay_inside(self, deployment: Deployment, label_path: Path, tag: str) -> None:
        with pytest.raises(InvalidInputError, match="tag"):
            submit(deployment, label_path, tag=tag)
        assert stored_files(deployment) == []


class TestPoolState:
    def test_a_final_label_ends_the_lease_of_its_image(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        facts: dict[str, Any] = {"strategy": "first", "client_id": "c", "served_at": 1.0}
        with deployment.database.writing() as session:
            for image_id in ("a", "b"):
                session.add(LeaseRow(image_id=image_id, expires_at=99.0, **facts))
        submit(deployment, label_path, image_id="a")
        submit(deployment, label_path, image_id="b", tag="version_1")
        with deployment.database.reading() as session:
            leases = {row.image_id: row for row in session.scalars(select(LeaseRow))}
        assert (leases["a"].released_at, leases["a"].outcome) == (10.0, "submitted")
        assert leases["b"].released_at is None

    def test_only_final_labels_make_an_image_labeled(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        submit(deployment, label_path, image_id="a")
        submit(deployment, label_path, image_id="b", tag="original")
        with deployment.database.reading() as session:
            assert images.image_ids(session, "labeled") == ["a"]


class TestTraining:
    def trainings(self, deployment: Deployment) -> list[JobRow]:
        with deployment.database.reading() as session:
            return list(session.scalars(select(JobRow).order_by(JobRow.created_at)))

    def end_all(self, deployment: Deployment) -> None:
        with deployment.database.writing() as session:
            for job in session.scalars(select(JobRow)):
                job.status = "done"

    def test_is_asked_for_after_enough_new_labels(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        counts = []
        for now, image_id in enumerate("abc", start=1):
            submit(deployment, label_path, image_id=image_id, now=now, train_every=2)
            counts.append(len(self.trainings(deployment)))
            # An open training would hold the next one back in any case.
            self.end_all(deployment)
        assert counts == [0, 1, 1]
        assert self.trainings(deployment)[0].request == {"model": "calcium", "options": {}}

    def test_is_asked_for_again_after_as_many_more(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        submit(deployment, label_path, image_id="a", now=1.0, train_every=1, first_training=1)
        with deployment.database.writing() as session:
            session.scalars(select(JobRow)).one().status = "running"
        submit(deployment, label_path, image_id="b", now=2.0, train_every=1, first_training=1)
        assert [job.created_at for job in self.trainings(deployment)] == [1.0, 2.0]
        # One that waits will see this label, too.
        submit(deployment, label_path, image_id="c", now=3.0, train_every=1, first_training=1)
        assert len(self.trainings(deployment)) == 2

    def test_counts_images_not_versions(self, deployment: Deployment, label_path: Path) -> None:
        for now in (1.0, 2.0, 3.0):
            submit(deployment, label_path, now=now, train_every=2)
        assert self.trainings(deployment) == []

    def test_waits_for_the_first_labels_and_for_the_setting(
        self, deployment: Deployment, label_path: Path
    ) -> None:
        submit(deployment, label_path, image_id="a", train_every=1, first_training=3)
        submit(deployment, label_path, image_id="b", train_every=0, first_training=1)
        submit(deployment, label_path, image_id="c", tag="version_1", train_every=1)
        assert self.trainings(deployment) == []


class TestAfterwards:
    def test_the_newest_version_is_current(self, deployment: Deployment, label_path: Path) -> None:
        submit(deployment, label_path)
        newest = submit(deployment, label_path)
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
        for _ in range(2):
            submit(deployment, label_path)
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
