"""Exports as pairs of NIfTI files."""

import json
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK

from app.calcium.labels import LABELS
from app.exchange.data_folder import DataFolder
from app.exchange.export_nifti import NiftiExporter
from app.exchange.exporting import stored_label
from app.exchange.target import Target
from app.imaging.labelmap import read_label_map
from app.imaging.volume_file import read_volume_file
from tests.app.exchange.labeled_pool import (
    GRID,
    SERIES_UID,
    lad,
    volume_with_calcium,
)
from tests.app.exchange.pool import images_of, labels_of
from tests.app.exchange.writing import write


class TestNifti:
    def test_other_readers_see_the_same_voxels_at_the_same_place(
        self, pool: DataFolder, out: Path
    ) -> None:
        write(pool, NiftiExporter(pool, Target(out, pool.settings)))
        for image_id, seed in (("nifti", 1), ("meta", 3), (SERIES_UID, 4)):
            volume = volume_with_calcium(seed)
            for part, expected in (("images", volume.hu), ("labels", None)):
                path = out / part / f"{image_id}.nii.gz"
                read = SimpleITK.ReadImage(str(path))
                found = nibabel.load(path)
                assert isinstance(found, nibabel.Nifti1Image)
                voxels = np.asarray(found.dataobj).transpose(2, 1, 0)
                np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(read), voxels)
                to_lps = np.diag([-1, -1, 1, 1]) @ found.affine
                np.testing.assert_allclose(to_lps, GRID.affine, atol=1e-4)
                np.testing.assert_allclose(read.GetOrigin(), GRID.affine[:3, 3], atol=1e-4)
                if expected is not None:
                    np.testing.assert_array_equal(voxels, expected)
        label = nibabel.load(out / f"labels/{SERIES_UID}.nii.gz")
        assert isinstance(label, nibabel.Nifti1Image)
        np.testing.assert_array_equal(np.asarray(label.dataobj).transpose(2, 1, 0), lad())

    def test_who_and_when_lie_beside_the_label(self, pool: DataFolder, out: Path) -> None:
        write(pool, NiftiExporter(pool, Target(out, pool.settings)))
        facts = json.loads((out / "labels/nifti.json").read_bytes())
        # 1 700 000 060 s after 1970 began.
        assert (facts["annotator"], facts["version"]) == ("anna", 2)
        assert facts["submitted"] == "2023-11-14T22:14:20Z"
        assert facts["labels"] == LABELS
        assert read_volume_file(out / f"images/{SERIES_UID}.nii.gz").kvp == 100.0


def test_labels_are_read_in_the_order_of_the_image_file(pool: DataFolder) -> None:
    row = images_of(pool)["nifti"]
    label = next(label for label in labels_of(pool) if label.image_id == "nifti")
    np.testing.assert_array_equal(stored_label(pool, row, label), lad())
    assert read_label_map(pool.files.path(label.sha256, ".nrrd")).array.shape == GRID.shape
