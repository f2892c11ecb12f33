from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from app import images
from app.errors import ConflictError, ImagingError, InvalidInputError
from app.store.files import file_sha256
from app.store.tables import AuditRow
from tests.app.conftest import Deployment
from tests.app.images.actions import all_images, upload, volume_file
from tests.factories import make_grid, make_volume


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
