"""Damaged bytes: refused, or without effect on the voxels, wherever they are."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from app.errors import CacLabelError, ImagingError
from app.imaging.labelmap import read_label_map
from app.imaging.reader import read_volume
from tests.factories import make_grid, make_labels, make_volume, to_itk, write_itk

FLIPS = 60
"""Damaged copies of each file, one flipped bit each, spread over its length."""

Voxels = NDArray[Any]

PACKED = ("x.nrrd", "x.mha", "x.mhd", "x.nhdr", "x.nii.gz")


def damage(path: Path, seed: int) -> None:
    """Flip one bit, in one of ``FLIPS`` equal parts of the file."""
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    bit = int((seed + rng.random()) / FLIPS * len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def write_packed(path: Path, array: Voxels) -> Path:
    """Write an array compressed; return the file that holds the voxels."""
    SimpleITK.WriteImage(to_itk(array, make_grid(array.shape)), str(path), True)
    others = [other for other in path.parent.iterdir() if other != path]
    return others[0] if others else path


def read_image(path: Path) -> Voxels:
    return read_volume(path).hu


def read_label(path: Path) -> Voxels:
    return read_label_map(path).array


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize(
    ("made", "read"), [(make_volume().hu, read_image), (make_labels(), read_label)]
)
def test_a_flipped_bit_is_refused_or_without_effect(
    name: str, made: Voxels, read: Callable[[Path], Voxels], tmp_path: Path
) -> None:
    held = write_packed(tmp_path / name, made)
    np.testing.assert_array_equal(read(tmp_path / name), made)
    whole = held.read_bytes()
    refused = 0
    for seed in range(FLIPS):
        damage(held, seed)
        try:
            np.testing.assert_array_equal(read(tmp_path / name), made)
        except CacLabelError:
            refused += 1
        held.write_bytes(whole)
    # More than half of each file are voxels.
    assert refused > FLIPS / 2


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha"])
def test_bytes_behind_compressed_voxels_are_refused(name: str, tmp_path: Path) -> None:
    path = write_packed(tmp_path / name, make_volume().hu)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ImagingError):
        read_volume(path)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("x.mha", b"DimSize = 7 6 5", b"DimSize = 7 6 4"),
        ("x.mha", b"DimSize = 7 6 5", b"DimSize = 7 6 6"),
        ("x.nrrd", b"sizes: 7 6 5", b"sizes: 7 6 4"),
        ("x.nrrd", b"sizes: 7 6 5", b"sizes: 7 6 6"),
        ("x.mha", b"CompressedData = True", b"CompressedData = Fals"),
        ("x.mha", b"BinaryDataByteOrderMSB = False", b"BinaryDataByteOrderMSB = maybe"),
        ("x.nrrd", b"endian: little\n", b""),
        ("x.mha", b"BinaryDataByteOrderMSB = False\n", b""),
        ("x.mha", b"DimSize = 7 6 5", b"DimSize = 7 6 5\nDimSize = 7 6 5"),
    ],
)
def test_compressed_voxels_that_do_not_fit_their_header_are_refused(
    name: str, old: bytes, new: bytes, tmp_path: Path
) -> None:
    held = write_packed(tmp_path / name, make_volume().hu)
    assert old in held.read_bytes()
    held.write_bytes(held.read_bytes().replace(old, new))
    with pytest.raises(ImagingError):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha"])
@pytest.mark.parametrize("slices", [b"4", b"6"])
def test_plain_voxels_that_do_not_fit_their_header_are_refused(
    name: str, slices: bytes, tmp_path: Path
) -> None:
    path = write_itk(tmp_path / name, make_volume().hu, make_grid())
    path.write_bytes(path.read_bytes().replace(b" 7 6 5", b" 7 6 " + slices))
    with pytest.raises(ImagingError):
        read_volume(path)


@pytest.mark.parametrize("dtype", [">i2", "<i2", ">f4", "<u2"])
@pytest.mark.parametrize("streams", [1, 2])
def test_compressed_voxels_of_any_type_and_several_streams_are_read(
    dtype: str, streams: int, tmp_path: Path
) -> None:
    hu = make_volume().hu % 2048 if "u" in dtype else make_volume().hu
    data = hu.astype(dtype).tobytes()
    cut = len(data) // 3 if streams == 2 else len(data)
    kind = {"i2": "short", "f4": "float", "u2": "ushort"}[dtype[1:]]
    header = (
        f"NRRD0004\ntype: {kind}\ndimension: 3\nspace: LPS\nsizes: 7 6 5\n"
        f"space directions: (1,0,0) (0,1,0) (0,0,3)\nencoding: gz\n"
        f"endian: {'big' if dtype[0] == '>' else 'little'}\nspace origin: (0,0,0)\n\n"
    )
    parts = [gzip.compress(part) for part in (data[:cut], data[cut:]) if part]
    (tmp_path / "x.nrrd").write_bytes(header.encode() + b"".join(parts))
    np.testing.assert_array_equal(read_volume(tmp_path / "x.nrrd").hu, hu)


@pytest.mark.parametrize("name", ["x.seg.nrrd", "x.mha"])
def test_layers_of_compressed_labels_are_read(name: str, tmp_path: Path) -> None:
    layers = np.stack([make_labels(seed=1), make_labels(seed=2)])
    image = SimpleITK.GetImageFromArray(np.moveaxis(layers, 0, -1), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / name), True)
    np.testing.assert_array_equal(read_label_map(tmp_path / name).array, layers)
