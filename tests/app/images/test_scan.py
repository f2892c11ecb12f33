import errno
import os
from pathlib import Path
from typing import Any

import pytest

from app import images
from app.errors import ImagingError, NotFoundError
from app.imaging.scan import Finding
from app.imaging.volume import Volume
from tests.app.conftest import Deployment
from tests.app.images.actions import (
    all_images,
    predict,
    predicted,
    problems,
    scan,
    submit,
    volume_file,
)
from tests.factories import edit_dicom, make_volume, write_dicom


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
