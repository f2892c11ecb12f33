from pathlib import Path

import pytest

from app import images
from app.errors import InvalidInputError
from app.store.tables import Json
from tests.app.conftest import Deployment
from tests.app.images.actions import all_images, scan, submit, upload, volume_file
from tests.factories import make_volume, write_dicom


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
