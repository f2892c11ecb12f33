import os
import shutil

import numpy as np
import pytest

from app import images
from app.errors import ImagingError, NotFoundError
from app.imaging.reader import read_volume
from app.store.files import file_sha256
from tests.app.conftest import Deployment
from tests.app.images.actions import all_images, scan, volume_file
from tests.factories import edit_dicom, make_volume, write_dicom


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

    def test_a_bit_that_the_disk_changed_is_not_served(self, deployment: Deployment) -> None:
        path = volume_file(deployment.studies)
        scan(deployment)
        row = all_images(deployment)["case"]
        before, content = path.stat(), bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(ImagingError, match="case changed since it was registered"):
            images.image_file(deployment.settings, deployment.files, row)

    def test_a_converted_file_that_the_disk_changed_is_made_anew(
        self, deployment: Deployment
    ) -> None:
        write_dicom(deployment.studies / "series")
        scan(deployment)
        (row,) = all_images(deployment).values()
        path = images.image_file(deployment.settings, deployment.files, row)
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        again = images.image_file(deployment.settings, deployment.files, row)
        np.testing.assert_array_equal(read_volume(again).hu, make_volume().hu)
        assert row.file_sha256 == file_sha256(again)
