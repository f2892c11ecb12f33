"""NIfTI, NRRD and MetaImage that promise or hold too much are refused before they are unpacked."""

import bz2
import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from app.errors import ImagingError, LabelError
from app.imaging.volume_file import read_volume_file
from app.intake.label_check import check_label
from tests.app.imaging.bombs.memory import at_most
from tests.factories import make_grid, make_labels, make_volume, write_itk, write_nifti

NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 7 6 5\n"
    "space directions: (1,0,0) (0,1,0) (0,0,3)\nencoding: gzip\nendian: little\n"
    "space origin: (0,0,0)\n\n"
)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Header, nibabel.Nifti2Header])
def test_a_header_that_promises_terabytes_is_refused(
    kind: type[nibabel.Nifti1Header], tmp_path: Path
) -> None:
    header = kind()
    header.set_data_dtype(np.float64)
    header["dim"][:4] = [3, 32767, 32767, 256]
    header["vox_offset"], header["magic"] = 544, header["magic"].item().replace(b"ni1", b"n+1")
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
    with at_most(4), pytest.raises(ImagingError, match="along each axis"):
        read_volume_file(path)


def test_what_follows_the_voxels_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.nrrd"
    # 64 MB in 64 kB, behind a header of 210 voxels.
    path.write_bytes(NRRD.encode() + gzip.compress(bytes(64 << 20), 9))
    with at_most(8), pytest.raises(ImagingError, match="holds more or ends early"):
        read_volume_file(path)


def test_bzip2_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.nrrd"
    path.write_bytes(
        NRRD.replace("gzip", "bzip2").encode() + bz2.compress(make_volume().hu.tobytes())
    )
    with pytest.raises(ImagingError, match="raw or gzip as encoding, got 'bzip2'"):
        read_volume_file(path)


def test_many_values_in_one_voxel_are_refused(tmp_path: Path) -> None:
    head = NRRD.replace("sizes: 7 6 5", "sizes: 9999 7 6 5").replace("sion: 3", "sion: 4")
    head = head.replace("directions: ", "directions: none ")
    head = head.replace("encoding", "kinds: vector domain domain domain\nencoding")
    path = tmp_path / "x.nrrd"
    path.write_bytes(head.encode() + gzip.compress(bytes(1000)))
    with at_most(4), pytest.raises(ImagingError, match="along each axis"):
        read_volume_file(path)


@pytest.mark.parametrize("axes", ["11", "1000000", "0", "-3", "3.0", "\u0663", ""])
def test_axes_that_the_reader_has_no_room_for_are_refused(axes: str, tmp_path: Path) -> None:
    path = write_itk(tmp_path / "x.mha", make_volume().hu, make_grid())
    content = path.read_bytes()
    assert b"NDims = 3" in content
    path.write_bytes(content.replace(b"NDims = 3", f"NDims = {axes}".encode()))
    with pytest.raises(ImagingError, match="NDims"):
        read_volume_file(path)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha"])
def test_more_voxels_than_allowed_are_refused(name: str, tmp_path: Path) -> None:
    path, volume = tmp_path / name, make_volume()
    (write_nifti if ".nii" in name else write_itk)(path, volume.hu, volume.grid)
    # 5 x 6 x 7 = 210.
    assert read_volume_file(path, max_voxels=210).hu.size == 210
    with pytest.raises(ImagingError, match="at most 209 voxels"):
        read_volume_file(path, max_voxels=209)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nrrd"])
def test_a_label_far_larger_than_its_image_is_refused(name: str, tmp_path: Path) -> None:
    # More than 2^20 voxels, which every label may have.
    shape = (65, 128, 128)
    path = tmp_path / name
    (write_nifti if ".nii" in name else write_itk)(path, make_labels(shape), make_grid(shape))
    with pytest.raises(LabelError, match="at most 1048576 voxels"):
        check_label(path.read_bytes(), file_name=name, params={}, grid=make_grid())
