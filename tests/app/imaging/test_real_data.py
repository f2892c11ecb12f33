"""Real CT of two vendors and of another program."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from app.errors import ImagingError
from app.imaging.plausibility import to_hounsfield
from app.imaging.reader import read_volume
from app.imaging.scan import find_images
from app.imaging.volume import Volume
from app.imaging.volume_writer import write_volume
from tests.factories import make_grid
from tests.real_data import real_data


def read_with_simpleitk(folder: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image: SimpleITK.Image = reader.Execute()
    return image


@pytest.mark.parametrize(
    ("name", "shape", "spacing_mm"),
    [
        ("qrm-phantom", (47, 512, 512), (3.0, 0.488, 0.488)),
        ("cptac-chest", (102, 512, 512), (3.0, 0.8828125, 0.8828125)),
    ],
)
def test_a_real_series_is_read_as_simpleitk_reads_it(
    name: str, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    volume = read_volume(real_data(name))
    image = read_with_simpleitk(real_data(name))
    np.testing.assert_array_equal(volume.hu, SimpleITK.GetArrayFromImage(image))
    assert volume.hu.shape == shape
    assert volume.spacing_mm == pytest.approx(spacing_mm)
    assert volume.kvp == 120.0
    np.testing.assert_allclose(volume.grid.affine[:3, 3], image.GetOrigin())


def test_heart_crops_are_read(tmp_path: Path) -> None:
    findings = find_images(real_data("heart-crops"))
    assert [finding.problem for finding in findings] == [None, None]
    volume = read_volume(real_data("heart-crops") / "aorta_ct_cropped.nii.gz")
    assert volume.hu.shape == (164, 126, 120)
    assert volume.spacing_mm == (1.5, 1.5, 1.5)
    # Patient left and back grow with the index: x and y were stored against RAS.
    assert (np.diag(volume.grid.affine)[:3] == 1.5).all()


@pytest.mark.parametrize("shift", [1000, 1024])
@pytest.mark.parametrize(
    "name",
    [
        "qrm-phantom",
        "cptac-chest",
        "heart-crops/aorta_ct_cropped.nii.gz",
        "heart-crops/pulmonary_ct_cropped.nii.gz",
    ],
)
def test_real_values_without_their_intercept_are_refused(name: str, shift: int) -> None:
    hu = read_volume(real_data(name)).hu
    assert to_hounsfield(hu) is hu
    with pytest.raises(ImagingError, match="was the rescale intercept lost"):
        to_hounsfield(hu + np.int16(shift))


def test_the_scan_finds_all_real_images() -> None:
    kinds = [finding.kind for finding in find_images(real_data("."))]
    assert sorted(kinds) == ["dicom", "dicom", "nifti", "nifti"]


def test_a_slice_lost_from_a_real_series_is_missed(tmp_path: Path) -> None:
    shutil.copytree(real_data("qrm-phantom"), tmp_path / "series")
    (finding,) = find_images(tmp_path)
    finding.files[20].unlink()
    with pytest.raises(ImagingError, match="missing"):
        read_volume(tmp_path)


@pytest.mark.slow
def test_a_clinical_volume_is_read_and_written_in_a_moment(tmp_path: Path) -> None:
    grid = make_grid((60, 512, 512))
    noise = np.random.default_rng(0).normal(-50, 18, grid.shape).astype(np.int16)
    noise[0, 0, 0] = -1000
    path = tmp_path / "x.nii.gz"
    start = time.process_time()
    write_volume(path, Volume(noise, grid))
    written = time.process_time()
    read_volume(path)
    # Measured 0.19 s and 0.09 s; zlib at its usual level would take 2.3 s to write.
    assert written - start < 1.0
    assert time.process_time() - written < 0.7
