"""Geometry and values against nibabel and SimpleITK, in every axis orientation."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from app.imaging.reader import read_volume
from app.imaging.volume import Volume
from app.imaging.volume_writer import write_volume
from tests.factories import (
    AXIAL_ORIENTATIONS,
    ORIENTATIONS,
    make_grid,
    make_volume,
    write_dicom,
    write_itk,
    write_nifti,
)

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
NIFTI_FLOAT32_MM = 1e-4


def assert_like_nibabel(volume: Volume, path: Path) -> None:
    image = nibabel.Nifti1Image.from_filename(path)
    np.testing.assert_allclose(volume.grid.affine, RAS_TO_LPS @ image.affine, atol=NIFTI_FLOAT32_MM)
    np.testing.assert_array_equal(volume.hu, image.get_fdata().transpose(2, 1, 0))


def assert_like_simpleitk(volume: Volume, image: SimpleITK.Image) -> None:
    np.testing.assert_array_equal(volume.hu, SimpleITK.GetArrayFromImage(image))
    for index in [(0, 0, 0), (6, 0, 0), (0, 5, 0), (0, 0, 4), (6, 5, 4)]:
        ours = volume.grid.affine @ (*index, 1)
        theirs = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(ours[:3], theirs, atol=NIFTI_FLOAT32_MM)


@pytest.mark.parametrize("directions", ORIENTATIONS, ids=lambda d: str(d.tolist()))
class TestEveryOrientation:
    @pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
    def test_nifti_of_nibabel(
        self, directions: NDArray[np.float64], name: str, tmp_path: Path
    ) -> None:
        made = make_volume(make_grid(directions=directions))
        path = write_nifti(tmp_path / name, made.hu, made.grid)
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.hu, made.hu)
        assert_like_nibabel(volume, path)

    @pytest.mark.parametrize("name", ["x.nii.gz", "x.nrrd", "x.nhdr", "x.mha", "x.mhd"])
    def test_files_of_simpleitk(
        self, directions: NDArray[np.float64], name: str, tmp_path: Path
    ) -> None:
        made = make_volume(make_grid(directions=directions))
        path = write_itk(tmp_path / name, made.hu, made.grid)
        volume = read_volume(path)
        np.testing.assert_allclose(volume.grid.affine, made.grid.affine, atol=NIFTI_FLOAT32_MM)
        assert_like_simpleitk(volume, SimpleITK.ReadImage(str(path)))

    @pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd"])
    def test_files_of_ours(
        self, directions: NDArray[np.float64], name: str, tmp_path: Path
    ) -> None:
        made = make_volume(make_grid(directions=directions))
        write_volume(tmp_path / name, made)
        assert_like_simpleitk(made, SimpleITK.ReadImage(str(tmp_path / name)))
        if name != "x.nrrd":
            assert_like_nibabel(made, tmp_path / name)


@pytest.mark.parametrize("directions", AXIAL_ORIENTATIONS, ids=lambda d: str(d.tolist()))
def test_dicom_in_every_axial_orientation(directions: NDArray[np.float64], tmp_path: Path) -> None:
    write_dicom(tmp_path, make_volume(make_grid(directions=directions)))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    assert_like_simpleitk(read_volume(tmp_path), reader.Execute())


def test_voxels_of_dicom_stay_at_their_place_in_the_patient(tmp_path: Path) -> None:
    made = make_volume(make_grid(directions=np.diag([1.0, 1.0, -1.0])))
    write_dicom(tmp_path, made)
    volume = read_volume(tmp_path)
    # Slice 4 of 5 was written lowest, at 42 - 4 * 3 mm, and is read first.
    np.testing.assert_array_equal(volume.hu[0], made.hu[4])
    assert volume.grid.affine[2, 3] == 30.0
