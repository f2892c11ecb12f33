import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from app import images
from app.errors import ConflictError, ImagingError, InvalidInputError, NotFoundError
from app.imaging.labelmap import write_label_map
from app.imaging.reader import read_volume
from app.imaging.scan import Finding
from app.imaging.volume import Volume
from app.imaging.volume_writer import write_volume
from app.store.files import file_sha256
from app.store.tables import AuditRow, ImageRow, Json, PredictionRow
from tests.app.conftest import Deployment
from tests.app.pool import add_model_version, add_prediction
from tests.app.submitting import submit_label
from tests.factories import edit_dicom, make_grid, make_volume, write_dicom


def upload(
    deployment: Deployment, path: Path, *, image_id: str | None = None, name: str = ""
) -> ImageRow:
    checked = images.check_upload(
        deployment.files,
        deployment.settings,
        path=path,
        image_id=image_id,
        name=name or path.name,
        info={"client_id": "user-xyz"},
        now=100.0,
    )
    with deployment.database.writing() as session:
        return images.keep_upload(session, checked, now=100.0)


def volume_file(folder: Path, name: str = "case.nii.gz", seed: int = 0) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, make_volume(seed=seed))
    return path


def scan(deployment: Deployment, now: float = 1.0) -> images.ScanReport:
    return images.scan_studies(deployment.database, deployment.settings, now=lambda: now)


def all_images(deployment: Deployment) -> dict[str, ImageRow]:
    with deployment.database.reading() as session:
        return {row.id: row for row in session.scalars(select(ImageRow))}


def problems(deployment: Deployment) -> dict[str, str]:
    with deployment.database.reading() as session:
        return {row.path: row.problem for row in images.list_quarantine(session)}


def submit(deployment: Deployment, image_id: str) -> None:
    path = deployment.settings.data / "label.nrrd"
    volume = make_volume()
    write_label_map(path, np.ones(volume.grid.shape, np.uint8), volume.grid, compress=True)
    submit_label(deployment, image_id, path, params={})


def predict(deployment: Deployment, image_id: str) -> None:
    with deployment.database.writing() as session:
        add_prediction(session, image_id, add_model_version(session).id, uncertainty=1.0)


def predicted(deployment: Deployment) -> list[str]:
    with deployment.database.reading() as session:
        return list(session.scalars(select(PredictionRow.image_id)))


class TestUpload:
    def test_keeps_the_file_and_what_it_shows(self, deployment: Deployment, tmp_path: Path) -> None:
        path = volume_file(tmp_path)
        content = path.read_bytes()
        row = upload(deployment, path)
        assert (row.id, row.name, row.kind, row.source) == (
            "case",
            "case.nii.gz",
            "nifti",
            "upload",
        )
        assert row.shape == {"z": 5, "y": 6, "x": 7}
        assert row.kvp == 120.0
        assert row.info == {"client_id": "user-xyz", "name": "case.nii.gz"}
        file = images.image_file(deployment.settings, deployment.files, row)
        assert file.read_bytes() == content
        assert row.file_sha256 == file_sha256(file)
        opened = images.open_volume(deployment.settings, deployment.files, row)
        np.testing.assert_array_equal(opened.hu, make_volume().hu)
        np.testing.assert_allclose(images.grid_of(row).affine, make_grid().affine, atol=1e-4)

    def test_takes_a_dotted_name_whole(self, deployment: Deployment, tmp_path: Path) -> None:
        assert upload(deployment, volume_file(tmp_path, "1.2.840.113.nii.gz")).id == "1.2.840.113"

    def test_gives_an_odd_name_a_safe_id(self, deployment: Deployment, tmp_path: Path) -> None:
        row = upload(deployment, volume_file(tmp_path), name="/tmp/Ärger (1).nii.gz")
        assert row.id.startswith("rger_1-")
        assert row.name == f"{row.id}.nii.gz"
        assert row.info["name"] == "Ärger (1).nii.gz"

    @pytest.mark.parametrize("image_id", ["../x", "/abs", "a/b", ".hidden", "a\nb", "x" * 129, "ä"])
    def test_refuses_ids_that_are_not_safe(
        self, deployment: Deployment, tmp_path: Path, image_id: str
    ) -> None:
        with pytest.raises(InvalidInputError):
            upload(deployment, volume_file(tmp_path), image_id=image_id)
        assert all_images(deployment) == {}

    def test_returns_the_same_image_for_the_same_content(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        first = upload(deployment, volume_file(tmp_path), image_id="a")
        again = upload(deployment, volume_file(tmp_path), image_id="a")
        assert again.registered_at == first.registered_at
        assert len(all_images(deployment)) == 1

    def test_refuses_other_content_under_a_known_id(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        upload(deployment, volume_file(tmp_path), image_id="a")
        with pytest.raises(ConflictError, match="a exists with other content"):
            upload(deployment, volume_file(tmp_path, seed=1), image_id="a")

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.nii.gz", b""),
            ("a.nii.gz", b"\x1f\x8b broken"),
            ("a.exe", b"MZ"),
            ("a.mhd", b"ElementDataFile = /etc/passwd"),
            ("a.dcm", b"\0" * 128 + b"DICM"),
            ("a", b"abc"),
        ],
    )
    def test_refuses_what_is_no_volume_and_keeps_nothing(
        self, deployment: Deployment, tmp_path: Path, name: str, content: bytes
    ) -> None:
        path = tmp_path / "received"
        path.write_bytes(content)
        with pytest.raises(ImagingError):
            upload(deployment, path, name=name)
        assert all_images(deployment) == {}
        assert [p for p in deployment.settings.data.rglob("*.*") if "sqlite" not in p.name] == []

    def test_refuses_a_truncated_volume(self, deployment: Deployment, tmp_path: Path) -> None:
        path = volume_file(tmp_path)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(ImagingError):
            upload(deployment, path)

    def test_brings_a_removed_image_back(self, deployment: Deployment, tmp_path: Path) -> None:
        upload(deployment, volume_file(tmp_path), image_id="a")
        with deployment.database.writing() as session:
            images.remove_image(session, "a", actor="me", now=200.0)
        upload(deployment, volume_file(tmp_path), image_id="a")
        assert all_images(deployment)["a"].missing_since is None

    def test_is_written_down(self, deployment: Deployment, tmp_path: Path) -> None:
        upload(deployment, volume_file(tmp_path))
        with deployment.database.reading() as session:
            (event,) = session.scalars(select(AuditRow))
        assert (event.action, event.subject, event.at) == ("upload image", "case", 100.0)


class TestScan:
    def test_registers_every_format_below_the_folder(self, deployment: Deployment) -> None:
        volume_file(deployment.studies, "a/one.nii.gz", seed=1)
        volume_file(deployment.studies, "two.nrrd", seed=2)
        write_dicom(deployment.studies / "series", make_volume(seed=3))
        report = scan(deployment)
        assert (report.registered, report.quarantined, report.missing) == (3, 0, 0)
        rows = all_images(deployment)
        assert {row.path for row in rows.values()} == {"a/one.nii.gz", "two.nrrd", "series"}
        dicom = next(row for row in rows.values() if row.kind == "dicom")
        assert dicom.id == dicom.series_uid
        assert dicom.name == f"{dicom.id}.nii.gz"
        assert rows["one"].info["name"] == "one.nii.gz"

    def test_a_rescan_opens_no_image_again(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        volume_file(deployment.studies, "good.nii.gz")
        (deployment.studies / "empty.nii").write_bytes(b"")
        scan(deployment)

        def refuse(*_: Any) -> None:
            raise AssertionError

        monkeypatch.setattr("app.intake.folder_scan.read_finding", refuse)
        report = scan(deployment)
        assert (report.registered, report.quarantined, report.unchanged) == (0, 1, 1)

    def test_lists_what_cannot_be_trusted_with_its_reason(self, deployment: Deployment) -> None:
        good = volume_file(deployment.studies, "good.nii.gz")
        (deployment.studies / "empty.nii").write_bytes(b"")
        (deployment.studies / "cut.nii.gz").write_bytes(good.read_bytes()[:-30])
        (deployment.studies / "._good.nii.gz").write_bytes(b"x")
        paths = write_dicom(deployment.studies / "gap", make_volume(seed=1))
        paths[2].unlink()
        assert scan(deployment).quarantined == 4
        found = problems(deployment)
        assert {path.split(" ")[0] for path in found} == {
            "empty.nii",
            "cut.nii.gz",
            "._good.nii.gz",
            "gap",
        }
        assert list(all_images(deployment)) == ["good"]
        assert all(problem and str(deployment.studies) not in problem for problem in found.values())

    def test_names_that_are_not_utf8_are_listed_and_stop_nothing(
        self, deployment: Deployment
    ) -> None:
        volume_file(deployment.studies, "good.nii.gz", seed=1)
        for name, odd in (("a.nii.gz", b"a\xff.nii.gz"), ("b.nrrd", b"b\xff.nrrd")):
            path = volume_file(deployment.studies, name, seed=2)
            path.rename(deployment.studies / os.fsdecode(odd))
        write_dicom(deployment.studies / "M", make_volume(seed=4))
        (deployment.studies / "M").rename(deployment.studies / os.fsdecode(b"M\xfcller"))
        report = scan(deployment)
        assert (report.registered, report.quarantined) == (1, 3)
        assert list(all_images(deployment)) == ["good"]
        found = problems(deployment)
        assert {path.split(" ")[0] for path in found} == {
            r"a\xff.nii.gz",
            r"b\xff.nrrd",
            r"M\xfcller",
        }
        assert {"is not UTF-8" in problem for problem in found.values()} == {True}
        assert scan(deployment).quarantined == 3
        assert problems(deployment) == found

    @pytest.mark.parametrize("is_series", [False, True])
    def test_tries_what_could_not_be_read_again(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch, *, is_series: bool
    ) -> None:
        volume_file(deployment.studies)
        if is_series:
            write_dicom(deployment.studies / "series", make_volume(seed=1))

        def fail(finding: Finding) -> Volume:
            cause = OSError(errno.ESTALE, "Stale file handle")
            raise ImagingError("the voxels cannot be read") from cause

        with monkeypatch.context() as broken:
            broken.setattr("app.intake.folder_scan.read_finding", fail)
            assert scan(deployment).doubtful == 1 + is_series
        # Nothing about the files has changed since.
        report = scan(deployment)
        assert (report.registered, report.doubtful) == (1 + is_series, 0)
        assert problems(deployment) == {}

    def test_tries_a_header_that_could_not_be_read_again(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        volume_file(deployment.studies)

        def fail(path: Path) -> None:
            raise ImagingError("the NIfTI header cannot be read")

        with monkeypatch.context() as broken:
            broken.setattr("app.imaging.scan.check_volume_file", fail)
            assert scan(deployment).doubtful == 1
            assert scan(deployment).doubtful == 0
        assert scan(deployment).registered == 1

    def test_doubts_a_damaged_file_once(self, deployment: Deployment) -> None:
        path = volume_file(deployment.studies)
        path.write_bytes(path.read_bytes()[:-30])
        scan(deployment)
        assert (scan(deployment).doubtful, list(problems(deployment))) == (0, ["case.nii.gz"])

    def test_takes_a_healed_file_off_the_list(self, deployment: Deployment) -> None:
        path = deployment.studies / "a.nii.gz"
        path.write_bytes(b"")
        scan(deployment)
        volume_file(deployment.studies, "a.nii.gz")
        (deployment.studies / "gone.nii").write_bytes(b"")
        scan(deployment)
        assert list(problems(deployment)) == ["gone.nii"]
        (deployment.studies / "gone.nii").unlink()
        scan(deployment)
        assert problems(deployment) == {}
        assert list(all_images(deployment)) == ["a"]

    def test_marks_missing_files_and_takes_them_back(self, deployment: Deployment) -> None:
        path = volume_file(deployment.studies)
        scan(deployment)
        aside = path.rename(deployment.settings.data / "aside.nii.gz")
        assert scan(deployment, now=7.0).missing == 1
        assert all_images(deployment)["case"].missing_since == 7.0
        assert scan(deployment, now=8.0).missing == 1
        assert all_images(deployment)["case"].missing_since == 7.0
        aside.rename(path)
        assert scan(deployment).registered == 1
        assert all_images(deployment)["case"].missing_since is None

    def test_a_folder_that_was_away_comes_back_unopened(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        volume_file(deployment.studies)
        scan(deployment)
        aside = deployment.studies.rename(deployment.settings.data / "aside")
        deployment.studies.mkdir()
        scan(deployment)
        deployment.studies.rmdir()
        aside.rename(deployment.studies)
        monkeypatch.setattr("app.intake.folder_scan.read_finding", None)
        assert scan(deployment).registered == 1
        assert all_images(deployment)["case"].missing_since is None

    def test_keeps_no_name_of_a_folder(self, deployment: Deployment) -> None:
        write_dicom(deployment.studies / "DOE^JANE")
        scan(deployment)
        (row,) = all_images(deployment).values()
        assert "DOE" not in f"{row.id} {row.name} {row.info}"

    def test_a_renamed_file_keeps_its_id_and_labels(self, deployment: Deployment) -> None:
        path = volume_file(deployment.studies)
        scan(deployment)
        submit(deployment, "case")
        path.rename(deployment.studies / "renamed.nii.gz")
        scan(deployment)
        (row,) = all_images(deployment).values()
        assert (row.id, row.path, row.missing_since) == ("case", "renamed.nii.gz", None)

    def test_takes_over_corrected_headers(self, deployment: Deployment) -> None:
        paths = write_dicom(deployment.studies / "a")
        scan(deployment)
        (before,) = all_images(deployment).values()
        predict(deployment, before.id)
        for path in paths:
            edit_dicom(path, PatientID="right", KVP="100", StudyDate="20200102")
        scan(deployment)
        (row,) = all_images(deployment).values()
        assert (row.id, row.kvp, row.patient_id) == (before.id, 100.0, "right")
        assert row.study_date == "20200102"
        assert row.patient_key != before.patient_key
        assert predicted(deployment) == []

    def test_keeps_predictions_while_the_tube_voltage_stays(self, deployment: Deployment) -> None:
        paths = write_dicom(deployment.studies / "a")
        scan(deployment)
        (image_id,) = all_images(deployment)
        predict(deployment, image_id)
        for path in paths:
            edit_dicom(path, PatientID="right")
        scan(deployment)
        assert all_images(deployment)[image_id].patient_id == "right"
        assert predicted(deployment) == [image_id]

    def test_equal_names_get_distinct_ids_that_stay(self, deployment: Deployment) -> None:
        for folder, seed in (("p1", 1), ("p2", 2)):
            volume_file(deployment.studies, f"{folder}/ct.nii.gz", seed)
        scan(deployment)
        ids = {row.path: row.id for row in all_images(deployment).values()}
        assert ids["p1/ct.nii.gz"] == "ct"
        assert ids["p2/ct.nii.gz"].startswith("ct-")
        scan(deployment)
        assert {row.path: row.id for row in all_images(deployment).values()} == ids

    def test_a_copy_is_reported_not_offered_twice(self, deployment: Deployment) -> None:
        volume_file(deployment.studies, "p1/ct.nii.gz")
        volume_file(deployment.studies, "p2/ct.nii.gz")
        scan(deployment)
        assert list(all_images(deployment)) == ["ct"]
        assert problems(deployment) == {"p2/ct.nii.gz": "a copy of image ct"}

    def test_takes_over_a_changed_file_without_labels(self, deployment: Deployment) -> None:
        volume_file(deployment.studies)
        scan(deployment)
        before = all_images(deployment)["case"].content_sha256
        volume_file(deployment.studies, seed=9)
        assert scan(deployment).registered == 1
        after = all_images(deployment)["case"]
        assert after.content_sha256 != before
        images.open_volume(deployment.settings, deployment.files, after)

    def test_a_labeled_file_that_changed_is_put_aside(self, deployment: Deployment) -> None:
        volume_file(deployment.studies)
        scan(deployment)
        submit(deployment, "case")
        volume_file(deployment.studies, seed=9)
        scan(deployment)
        assert all_images(deployment)["case"].missing_since is not None
        assert "changed after image case was labeled" in problems(deployment)["case.nii.gz"]
        volume_file(deployment.studies)
        scan(deployment)
        assert all_images(deployment)["case"].missing_since is None
        assert problems(deployment) == {}

    def test_a_removed_image_stays_away(self, deployment: Deployment) -> None:
        volume_file(deployment.studies)
        scan(deployment)
        with deployment.database.writing() as session:
            images.remove_image(session, "case", actor="me", now=2.0)
        report = scan(deployment)
        assert (report.registered, report.missing) == (0, 0)
        for seed, name in ((5, "case.nii.gz"), (0, "renamed.nii.gz")):
            volume_file(deployment.studies, name, seed)
            assert scan(deployment).registered == 0
        with deployment.database.reading() as session:
            assert images.image_ids(session) == []
            with pytest.raises(NotFoundError):
                images.get_image(session, "case")

    def test_stops_when_asked_and_goes_on_later(self, deployment: Deployment) -> None:
        for seed in range(3):
            volume_file(deployment.studies, f"c{seed}.nii.gz", seed)
        progress: list[float] = []
        images.scan_studies(
            deployment.database,
            deployment.settings,
            now=lambda: 1.0,
            on_progress=progress.append,
            should_stop=lambda: len(progress) == 2,
        )
        assert progress == [0.25, 0.5]
        assert len(all_images(deployment)) == 2
        assert scan(deployment).registered == 1

    def test_never_writes_into_the_studies_folder(self, deployment: Deployment) -> None:
        volume_file(deployment.studies)
        write_dicom(deployment.studies / "series", make_volume(seed=3))
        for path in [*deployment.studies.rglob("*"), deployment.studies]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = sorted(deployment.studies.iterdir())
        scan(deployment)
        for row in all_images(deployment).values():
            images.image_file(deployment.settings, deployment.files, row)
        assert sorted(deployment.studies.iterdir()) == before
        for path in [deployment.studies, deployment.studies / "series"]:
            path.chmod(0o755)

    def test_no_studies_folder_is_an_empty_one(self, deployment: Deployment) -> None:
        settings = deployment.settings.model_copy(update={"studies": None})
        report = images.scan_studies(deployment.database, settings, now=lambda: 1.0)
        assert report == images.ScanReport()


class TestFiles:
    def test_dicom_is_served_as_one_file_with_the_same_voxels(self, deployment: Deployment) -> None:
        write_dicom(deployment.studies / "series")
        scan(deployment)
        (row,) = all_images(deployment).values()
        assert row.file_sha256 == ""
        path = images.image_file(deployment.settings, deployment.files, row)
        assert path.name.endswith(".nii.gz")
        assert row.file_sha256 == file_sha256(path)
        served = read_volume(path)
        np.testing.assert_array_equal(served.hu, make_volume().hu)
        np.testing.assert_allclose(served.grid.affine, images.grid_of(row).affine, atol=1e-3)
        again = images.image_file(deployment.settings, deployment.files, row)
        assert again == path
        assert list(path.parent.iterdir()) == [path]

    def test_several_series_of_one_folder_open_apart(self, deployment: Deployment) -> None:
        folder = deployment.studies / "mixed"
        for seed in (1, 2):
            for path in write_dicom(deployment.settings.data / f"{seed}", make_volume(seed=seed)):
                edit_dicom(path, SeriesInstanceUID=f"1.2.{seed}")
                folder.mkdir(exist_ok=True)
                shutil.move(path, folder / f"{seed}-{path.name}")
        scan(deployment)
        rows = all_images(deployment)
        shutil.rmtree(deployment.settings.cache)
        for seed in (1, 2):
            opened = images.open_volume(deployment.settings, deployment.files, rows[f"1.2.{seed}"])
            np.testing.assert_array_equal(opened.hu, make_volume(seed=seed).hu)

    def test_a_file_that_changed_is_not_served(self, deployment: Deployment) -> None:
        volume_file(deployment.studies)
        scan(deployment)
        row = all_images(deployment)["case"]
        volume_file(deployment.studies, seed=1)
        for read in (images.open_volume, images.image_file):
            with pytest.raises(
                ImagingError, match="case changed since it was registered"
            ) as caught:
                read(deployment.settings, deployment.files, row)
            assert str(deployment.studies) not in str(caught.value)

    def test_a_touched_file_is_served(self, deployment: Deployment) -> None:
        path = volume_file(deployment.studies)
        scan(deployment)
        os.utime(path, (1, 1))
        row = all_images(deployment)["case"]
        assert images.image_file(deployment.settings, deployment.files, row) == path
        assert scan(deployment).registered == 1

    def test_a_file_that_is_gone_is_not_found(self, deployment: Deployment) -> None:
        path = volume_file(deployment.studies)
        write_dicom(deployment.studies / "series", make_volume(seed=2))
        scan(deployment)
        path.unlink()
        shutil.rmtree(deployment.studies / "series")
        for row in all_images(deployment).values():
            with pytest.raises(NotFoundError):
                images.open_volume(deployment.settings, deployment.files, row)


class TestPool:
    def test_counts_and_lists_by_state(self, deployment: Deployment) -> None:
        for name, seed in (("a", 1), ("b", 2), ("c", 3)):
            volume_file(deployment.studies, f"{name}.nii.gz", seed)
        (deployment.studies / "bad.nii").write_bytes(b"")
        scan(deployment)
        submit(deployment, "b")
        (deployment.studies / "c.nii.gz").unlink()
        scan(deployment)
        with deployment.database.reading() as session:
            assert images.pool_counts(session) == images.PoolCounts(2, 1, 1, 1)
            assert images.image_ids(session) == ["a", "b"]
            assert images.image_ids(session, "labeled") == ["b"]
            assert images.image_ids(session, "unlabeled") == ["a"]

    def test_groups_images_by_patient_without_naming_one(self, deployment: Deployment) -> None:
        for number, patient in enumerate(["p", "p", "q"]):
            volume = make_volume(seed=number, patient_id=patient)
            write_dicom(deployment.studies / str(number), volume)
        scan(deployment)
        keys = [row.patient_key for row in all_images(deployment).values()]
        # SHA-256 of "p" begins with 148de9.
        assert sum(key.startswith("148de9") for key in keys) == 2
        assert len(set(keys)) == 2

    def test_groups_copies_without_a_patient_by_their_content(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        upload(deployment, volume_file(tmp_path), image_id="one")
        upload(deployment, volume_file(tmp_path), image_id="copy")
        upload(deployment, volume_file(tmp_path, seed=1), image_id="other")
        keys = {name: row.patient_key for name, row in all_images(deployment).items()}
        assert keys["one"] == keys["copy"] != keys["other"]

    @pytest.mark.parametrize("info", [{"a": float("inf")}, {"a": "\ud800"}, {"a": "x" * 1_000_000}])
    def test_refuses_info_that_clients_cannot_read(
        self, deployment: Deployment, tmp_path: Path, info: Json
    ) -> None:
        upload(deployment, volume_file(tmp_path))
        with deployment.database.writing() as session, pytest.raises(InvalidInputError):
            images.update_image_info(session, "case", info, actor="me", now=1.0)
        assert set(all_images(deployment)["case"].info) == {"client_id", "name"}

    def test_leaves_out_what_the_server_tells_itself(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        upload(deployment, volume_file(tmp_path))
        info: Json = {"name": 1, "ts": "x", "strategy": "y", "note": "z"}
        with deployment.database.writing() as session:
            images.update_image_info(session, "case", info, actor="me", now=1.0)
        kept = all_images(deployment)["case"].info
        assert (kept["name"], kept["note"]) == ("case.nii.gz", "z")
        assert "ts" not in kept
        assert "strategy" not in kept

    def test_keeps_what_clients_say_about_an_image(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        upload(deployment, volume_file(tmp_path))
        with deployment.database.writing() as session:
            images.update_image_info(session, "case", {"note": "x"}, actor="me", now=1.0)
        assert all_images(deployment)["case"].info == {
            "client_id": "user-xyz",
            "name": "case.nii.gz",
            "note": "x",
            "user": "me",
        }
