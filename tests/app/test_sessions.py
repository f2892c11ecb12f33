import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from app import sessions
from app.errors import ImagingError, NotFoundError
from app.imaging.volume_writer import write_volume
from app.sessions import UploadedFile
from app.store.tables import SessionRow
from tests.app.conftest import Deployment
from tests.factories import make_volume, write_dicom


def create(
    deployment: Deployment,
    uploads: list[UploadedFile],
    *,
    now: float = 0.0,
    expiry_s: float = 0.0,
    is_archive: bool = False,
) -> SessionRow:
    received = sessions.receive(deployment.settings, uploads, is_archive=is_archive)
    with deployment.database.writing() as session:
        return sessions.create_session(
            session, deployment.settings, received, now=now, expiry_s=expiry_s
        )


def volume_upload(tmp_path: Path, name: str = "case.nii.gz") -> UploadedFile:
    path = tmp_path / "received.nii.gz"
    write_volume(path, make_volume())
    return UploadedFile(name, path.rename(tmp_path / "received"))


def dicom_uploads(tmp_path: Path) -> list[UploadedFile]:
    return [UploadedFile(path.name, path) for path in write_dicom(tmp_path / "series")]


def folders(deployment: Deployment) -> list[str]:
    return [path.name for path in (deployment.settings.data / "sessions").glob("*")]


def archive(tmp_path: Path, members: dict[str, Path]) -> UploadedFile:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, member in members.items():
            packed.write(member, name)
    return UploadedFile("images.zip", path)


def hu_of(deployment: Deployment, row: SessionRow) -> np.ndarray:
    with deployment.database.reading() as session:
        return sessions.open_volume(session, deployment.settings, row.id).hu


class TestCreation:
    def test_keeps_one_volume_file(self, deployment: Deployment, tmp_path: Path) -> None:
        row = create(deployment, [volume_upload(tmp_path)])
        assert row.name == "case.nii.gz"
        np.testing.assert_array_equal(hu_of(deployment, row), make_volume().hu)
        assert folders(deployment) == [row.id]

    def test_keeps_the_files_of_a_series(self, deployment: Deployment, tmp_path: Path) -> None:
        row = create(deployment, dicom_uploads(tmp_path))
        assert row.name == ""
        np.testing.assert_array_equal(hu_of(deployment, row), make_volume().hu)

    def test_files_of_one_name_do_not_cover_each_other(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        uploads = [UploadedFile("slice.dcm", each.path) for each in dicom_uploads(tmp_path)]
        np.testing.assert_array_equal(
            hu_of(deployment, create(deployment, uploads)), make_volume().hu
        )

    @pytest.mark.parametrize("name", ["../../x.nii.gz", "C:\\tmp\\x.nii.gz", "/abs/x.nii.gz"])
    def test_no_name_leads_out_of_the_folder(
        self, deployment: Deployment, tmp_path: Path, name: str
    ) -> None:
        row = create(deployment, [volume_upload(tmp_path, name)])
        assert row.name == "x.nii.gz"
        assert (deployment.settings.data / "sessions" / row.id / "x.nii.gz").is_file()

    def test_what_is_no_volume_is_refused_and_leaves_nothing(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        broken = tmp_path / "broken"
        broken.write_bytes(b"\x1f\x8b")
        for uploads in ([], [UploadedFile("a.nii.gz", broken)], dicom_uploads(tmp_path)[:1]):
            with pytest.raises(ImagingError):
                create(deployment, uploads)
        assert folders(deployment) == []

    def test_unpacks_an_archive_when_asked(self, deployment: Deployment, tmp_path: Path) -> None:
        paths = write_dicom(tmp_path / "series")
        packed = archive(tmp_path, {f"../../{path.name}": path for path in paths})
        row = create(deployment, [packed], is_archive=True)
        np.testing.assert_array_equal(hu_of(deployment, row), make_volume().hu)
        assert {path.suffix for path in deployment.settings.data.rglob("*.dcm")} == {".dcm"}
        assert len(list(deployment.settings.data.rglob("*.dcm"))) == len(paths)

    def test_refuses_an_archive_that_grows_too_large(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        bomb = tmp_path / "bomb.nii"
        # Three mebibytes of zeros fit into three kilobytes.
        bomb.write_bytes(bytes(3 * 2**20))
        small = deployment.settings.model_copy(update={"upload_limit_mb": 2})
        with pytest.raises(ImagingError, match="at most"):
            sessions.receive(small, [archive(tmp_path, {"a.nii": bomb})], is_archive=True)

    def test_refuses_a_damaged_archive(self, deployment: Deployment, tmp_path: Path) -> None:
        packed = archive(tmp_path, {"a.nii": volume_upload(tmp_path).path})
        content = bytearray(packed.path.read_bytes())
        content[40:60] = bytes(20)
        packed.path.write_bytes(content)
        with pytest.raises(ImagingError):
            create(deployment, [packed], is_archive=True)


class TestLife:
    @pytest.mark.parametrize(
        ("wanted_s", "expiry_s"),
        # The longest life is 60 minutes by default.
        [(0.0, 3600.0), (60.0, 60.0), (1e9, 3600.0), (-5.0, 3600.0)],
    )
    def test_is_limited(
        self, deployment: Deployment, tmp_path: Path, wanted_s: float, expiry_s: float
    ) -> None:
        assert create(deployment, [volume_upload(tmp_path)], expiry_s=wanted_s).expiry_s == expiry_s

    def test_goes_on_while_it_is_used(self, deployment: Deployment, tmp_path: Path) -> None:
        row = create(deployment, [volume_upload(tmp_path)])
        with deployment.database.writing() as session:
            sessions.touch(session, row.id, now=3600.0)
            assert sessions.remove_expired(session, deployment.settings, now=7200.0) == 0
            assert sessions.get_session(session, row.id, now=7200.0).last_access_at == 3600.0
            with pytest.raises(NotFoundError, match="send the image again"):
                sessions.get_session(session, row.id, now=7201.0)
            assert sessions.remove_expired(session, deployment.settings, now=7201.0) == 1
        assert folders(deployment) == []

    def test_ends_when_it_is_removed(self, deployment: Deployment, tmp_path: Path) -> None:
        row = create(deployment, [volume_upload(tmp_path)])
        with deployment.database.writing() as session:
            assert sessions.remove_session(session, deployment.settings, row.id).name == row.name
        assert folders(deployment) == []
        with deployment.database.writing() as session:
            for ask in (sessions.touch, sessions.get_session):
                with pytest.raises(NotFoundError):
                    ask(session, row.id, now=0.0)
            for find in (sessions.remove_session, sessions.image_path):
                with pytest.raises(NotFoundError):
                    find(session, deployment.settings, row.id)

    def test_a_session_without_its_files_is_not_found(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        row = create(deployment, [volume_upload(tmp_path)])
        shutil.rmtree(deployment.settings.data / "sessions")
        with deployment.database.reading() as session, pytest.raises(NotFoundError):
            sessions.image_path(session, deployment.settings, row.id)

    def test_folders_that_a_killed_upload_left_are_swept_up(self, deployment: Deployment) -> None:
        orphan = deployment.settings.data / "sessions" / "orphan"
        orphan.mkdir(parents=True)
        age = orphan.stat().st_mtime
        with deployment.database.writing() as session:
            sessions.remove_expired(session, deployment.settings, now=age + 3599)
            assert folders(deployment) == ["orphan"]
            sessions.remove_expired(session, deployment.settings, now=age + 3601)
        assert folders(deployment) == []
