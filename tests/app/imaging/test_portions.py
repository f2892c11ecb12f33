"""Large volumes are read in portions: the same voxels and refusals, and not twice in memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from app.errors import ImagingError
from app.imaging import nifti
from app.imaging.volume_file import read_volume_file
from tests.factories import make_grid, make_volume, write_nifti


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nifti, "PORTION_VOXELS", 16)


@pytest.mark.usefixtures("small_portions")
@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_portions_are_the_voxels_in_their_order(name: str, tmp_path: Path) -> None:
    volume = make_volume()
    path = write_nifti(tmp_path / name, volume.hu.astype(np.float32), volume.grid)
    # 5 x 6 x 7 voxels: 13 portions of 16 and one of 2.
    sizes = [part.size for part in nifti.read_portions(path, nifti.read_header(path))]
    assert sizes == [16] * 13 + [2]
    np.testing.assert_array_equal(read_volume_file(path).hu, volume.hu)


@pytest.mark.usefixtures("small_portions")
@pytest.mark.parametrize("lost", [1, 4, 64, 65, 700])
def test_a_file_that_ends_early_is_refused_wherever_it_ends(lost: int, tmp_path: Path) -> None:
    volume = make_volume()
    path = write_nifti(tmp_path / "image.nii", volume.hu.astype(np.float32), volume.grid)
    path.write_bytes(path.read_bytes()[:-lost])
    # 210 voxels of four bytes.
    with pytest.raises(ImagingError, match=f"expected 840 bytes .* ends after {840 - lost}"):
        read_volume_file(path)


def test_converting_needs_little_more_memory_than_the_result(tmp_path: Path) -> None:
    grid = make_grid((64, 512, 512))
    hu = np.resize(np.arange(-1000, 1000, dtype=np.float32), grid.shape)
    path = write_nifti(tmp_path / "image.nii", hu, grid)
    del hu
    tracemalloc.start()
    volume = read_volume_file(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 32 MiB of result; the file has 64 MiB of voxels, and a portion of them 16.
    assert most < volume.hu.nbytes + 4 * 16 * 2**20
