"""NIfTI, NRRD and MetaImage: what is read, and what is refused."""

import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from app.errors import ImagingError, LabelError
from app.imaging.labelmap import read_label_map
from app.imaging.reader import read_volume
from app.imaging.scan import find_images
from app.imaging.volume import Volume
from app.imaging.volume_writer import write_volume
from tests.factories import ORIENTATIONS, make_grid, make_labels, make_volume, write_itk

RAS = np.diag([-0.75, -0.5, 3.0, 1.0])


def header_problem(path: Path) -> str:
    """Return the sentence that the scan and the reader give for a file."""
    (finding,) = find_images(path.parent)
    with pytest.raises(ImagingError) as caught:
        read_volume(path)
    assert finding.problem == str(caught.value)
    return str(caught.value)


def save(path: Path, array: np.ndarray[Any, Any], affine: Any = RAS, **header: Any) -> Path:
    """Write a NIfTI of an array (X, Y, Z) with fields of the header set unchecked."""
    image = nibabel.Nifti1Image(array, affine)
    data = bytearray(image.to_bytes())
    edited = nibabel.Nifti1Header(bytes(data[:348]), check=False)
    for name, value in header.items():
        edited[name] = value
    path.write_bytes(edited.binaryblock + bytes(data[348:]))
    return path


def hounsfield(shape: tuple[int, ...] = (4, 3, 2)) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.linspace(-1024, 1000, int(np.prod(shape))).astype(np.int16).reshape(shape)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd"])
def test_tube_voltage_survives_a_file(name: str, tmp_path: Path) -> None:
    write_volume(tmp_path / name, make_volume(kvp=100.0))
    assert read_volume(tmp_path / name).kvp == 100.0


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nrrd", "x.mha"])
def test_files_of_others_have_no_tube_voltage(name: str, tmp_path: Path) -> None:
    made = make_volume()
    assert read_volume(write_itk(tmp_path / name, made.hu, made.grid)).kvp is None


def test_no_identifier_is_written(tmp_path: Path) -> None:
    for name in ("x.nii", "x.nrrd"):
        write_volume(tmp_path / name, make_volume(patient_id="SECRET-7"))
        assert b"SECRET" not in (tmp_path / name).read_bytes()


def test_equal_volumes_become_equal_files(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, make_volume())
    data = (tmp_path / "a.nii.gz").read_bytes()
    assert data == (tmp_path / "b.nii.gz").read_bytes()
    # Bytes 4 to 7 of a gzip are the time it was made.
    assert data[4:8] == bytes(4)


def test_other_endings_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ImagingError, match=r"\.png"):
        write_volume(tmp_path / "x.png", make_volume())


def test_scaled_values_are_rounded_to_whole_units(tmp_path: Path) -> None:
    stored = np.array([-2000, -1, 0, 1, 2, 3, 5, 2000], np.int16).reshape(2, 2, 2)
    path = save(tmp_path / "x.nii", stored, scl_slope=0.5, scl_inter=10)
    # -990, 9.5, 10, 10.5, 11, 11.5, 12.5 and 1010: halves go to the even neighbour.
    expected = [-990, 10, 10, 10, 11, 12, 12, 1010]
    assert read_volume(path).hu.transpose(2, 1, 0).ravel().tolist() == expected


def test_floating_point_volumes_are_rounded(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii", hounsfield().astype(np.float32) + 0.25)
    np.testing.assert_array_equal(read_volume(path).hu, hounsfield().transpose(2, 1, 0))


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<i4", ">f8"])
def test_both_byte_orders_are_read(dtype: str, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(
        hounsfield(), RAS, nibabel.Nifti1Header(endianness=dtype[0]), dtype=np.dtype(dtype)
    )
    nibabel.save(image, tmp_path / "x.nii")
    hu = read_volume(tmp_path / "x.nii").hu
    np.testing.assert_array_equal(hu, hounsfield().transpose(2, 1, 0))
    assert hu.dtype == np.dtype("=i2")


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(hounsfield(), RAS), tmp_path / "x.nii")
    assert read_volume(tmp_path / "x.nii").spacing_mm == (3.0, 0.5, 0.75)


def test_four_dimensions_with_one_frame_are_a_volume(tmp_path: Path) -> None:
    assert read_volume(save(tmp_path / "x.nii", hounsfield((4, 3, 2, 1)))).hu.shape == (2, 3, 4)


def test_the_qform_places_the_voxels_where_there_is_no_sform(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "x.nii", hounsfield(), sform_code=0, qform_code=1))
    # The quaternion of the header is untouched: x and y run against RAS, thus along LPS.
    np.testing.assert_allclose(volume.grid.affine, np.diag([0.75, 0.5, 3.0, 1.0]), atol=1e-6)


SHEARED = RAS + np.array([[0, 0.2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
COS_30 = np.cos(np.radians(30))
ROTATED = np.array(
    [[COS_30, -0.5, 0, 0], [0.5, COS_30, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
) @ np.diag([1, 1, 3, 1])


@pytest.mark.parametrize(
    ("affine", "header", "fragment"),
    [
        (RAS, {"sform_code": 0, "qform_code": 0}, "neither sform nor qform"),
        (RAS, {"sform_code": 1, "qform_code": 1, "qoffset_x": 40}, "sform and its qform"),
        (RAS, {"srow_x": [np.nan, 0, 0, 0]}, "not finite"),
        (RAS, {"srow_z": [0, 0, 3, np.inf]}, "not finite"),
        (RAS, {"srow_x": [0, 0, 0, 0]}, "0.1 to 10 mm"),
        (RAS, {"srow_z": [0, 0, 3, 1e6]}, "position within"),
        (np.diag([-0.001, -0.001, 0.003, 1]), {}, "0.1 to 10 mm"),
        (SHEARED, {}, "shear"),
        (ROTATED, {}, "30 degrees"),
        (RAS, {"scl_slope": np.inf}, "rescale slope"),
        (RAS, {"scl_slope": -1}, "rescale slope"),
        (RAS, {"scl_slope": 1, "scl_inter": np.nan}, "rescale intercept"),
        (RAS, {"dim": [3, 4, 3, 30_000, 1, 1, 1, 1]}, "1 to 2048 voxels"),
        (RAS, {"dim": [3, 4, 3, -2, 1, 1, 1, 1]}, "1 to 2048 voxels"),
        (RAS, {"dim": [3, 2048, 2048, 2048, 1, 1, 1, 1]}, "at most"),
        (RAS, {"dim": [2, 4, 3, 1, 1, 1, 1, 1]}, "3 dimensions, got 2"),
        (RAS, {"dim": [4, 4, 3, 1, 2, 1, 1, 1]}, "3 dimensions, got 4"),
        (RAS, {"dim": [99, 4, 3, 2, 1, 1, 1, 1]}, "NIfTI"),
        (RAS, {"datatype": 128, "bitpix": 24}, "real numbers"),
        (RAS, {"datatype": 32, "bitpix": 64}, "real numbers"),
        (RAS, {"datatype": 999}, "cannot be read"),
        (RAS, {"magic": b"ni1"}, "in one NIfTI file"),
        (RAS, {"vox_offset": -5}, "in one NIfTI file"),
        (RAS, {"vox_offset": 1e30}, "in one NIfTI file"),
    ],
)
def test_unsound_nifti_headers_are_refused(
    affine: np.ndarray[Any, Any], header: dict[str, Any], fragment: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "x.nii", hounsfield(), affine, **header)
    assert fragment in header_problem(path)


@pytest.mark.parametrize(
    ("array", "fragment"),
    [
        (np.full((4, 3, 2), 40, np.int16), "got values from 40 to 40"),
        (np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 3, 2), "got values from 0 to 1"),
        (np.where(hounsfield() > 900, np.nan, hounsfield()).astype(np.float32), "not finite"),
        (np.where(hounsfield() > 900, np.inf, hounsfield()).astype(np.float32), "not finite"),
        (hounsfield().astype(np.float32) * 100, "-32768 to 32767 HU"),
        (hounsfield().astype(np.int32) * 100, "-32768 to 32767 HU"),
    ],
)
def test_voxels_that_are_no_hounsfield_units_are_refused(
    array: np.ndarray[Any, Any], fragment: str, tmp_path: Path
) -> None:
    with pytest.raises(ImagingError, match=fragment):
        read_volume(save(tmp_path / "x.nii", array))
    with pytest.raises(ImagingError, match=fragment):
        read_volume(write_itk(tmp_path / "x.nrrd", array, make_grid()))


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_values_whose_intercept_was_lost_are_refused(
    name: str, dtype: type[Any], tmp_path: Path
) -> None:
    made = make_volume(make_grid((8, 24, 24)))
    stored = (made.hu.astype(np.int32) + 1024).astype(dtype)
    with pytest.raises(ImagingError, match="was the rescale intercept lost"):
        read_volume(write_itk(tmp_path / name, stored, made.grid))


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha"])
def test_cut_off_files_are_refused(name: str, tmp_path: Path) -> None:
    write_itk(tmp_path / name, make_volume().hu, make_grid())
    whole = (tmp_path / name).read_bytes()
    for kept in (len(whole) - 30, len(whole) // 2, 60):
        (tmp_path / name).write_bytes(whole[:kept])
        with pytest.raises(ImagingError):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("position", [5000, -8], ids=["voxels", "checksum"])
def test_a_flipped_bit_in_compressed_voxels_is_noticed(position: int, tmp_path: Path) -> None:
    write_volume(tmp_path / "x.nii.gz", make_volume(make_grid((8, 40, 40))))
    data = bytearray((tmp_path / "x.nii.gz").read_bytes())
    # A gzip stream ends with four bytes of checksum and four of length.
    data[position] ^= 1
    (tmp_path / "x.nii.gz").write_bytes(data)
    with pytest.raises(ImagingError, match="damaged"):
        read_volume(tmp_path / "x.nii.gz")


@pytest.mark.parametrize("slope", [0, np.nan])
def test_a_slope_that_is_not_set_scales_nothing(slope: float, tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii", hounsfield(), scl_slope=slope, scl_inter=7)
    np.testing.assert_array_equal(read_volume(path).hu, hounsfield().transpose(2, 1, 0))


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha"])
def test_empty_files_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert header_problem(tmp_path / name) == "the file is empty"


def nrrd(path: Path, *, fields: str = "", space: str = "left-posterior-superior") -> Path:
    space_line = f"space: {space}\n" if space else ""
    directions = "space directions: (0.75,0,0) (0,0.5,0) (0,0,3)\n"
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\n{space_line}sizes: 4 3 2\n"
        f"{directions if space else ''}endian: little\nencoding: raw\n"
        f"{'space origin: (1,2,3)' if space else 'spacings: 1 1 1'}\n{fields}\n"
    )
    path.write_bytes(header.encode() + hounsfield((2, 3, 4)).tobytes())
    return path


@pytest.mark.parametrize(
    ("space", "origin"),
    [
        ("left-posterior-superior", [1, 2, 3]),
        ("RAS", [-1, -2, 3]),
        ("left-anterior-superior", [1, -2, 3]),
    ],
)
def test_patient_spaces_of_nrrd_become_lps(space: str, origin: list[float], tmp_path: Path) -> None:
    volume = read_volume(nrrd(tmp_path / "x.nrrd", space=space))
    assert volume.grid.affine[:3, 3].tolist() == origin


@pytest.mark.parametrize(("space", "shown"), [("", "none"), ("scanner-xyz", "scanner-xyz")])
def test_nrrd_without_patient_space_is_refused(space: str, shown: str, tmp_path: Path) -> None:
    assert header_problem(nrrd(tmp_path / "x.nrrd", space=space)).endswith(f"got {shown}")


NO_GEOMETRY = [
    ("x.nrrd", b"space directions: (0.75,0,0) (0,0.5,0) (0,0,3)\n", b"", "space directions"),
    (
        "x.nrrd",
        b"space directions: (0.75,0,0) (0,0.5,0) (0,0,3)",
        b"space directions: none none none",
        "space directions",
    ),
    ("x.nrrd", b"(0,0,3)", b"none", "space directions"),
    ("x.nrrd", b"space origin: (-60.5,-110.25,42)\n", b"", "space origin"),
    ("x.nrrd", b"space origin: (-60.5,-110.25,42)", b"space origin: none", "space origin"),
    ("x.mha", b"ElementSpacing = 0.75 0.5 3\n", b"", "ElementSpacing"),
    ("x.mha", b"ElementSpacing = ", b"ElementSize = ", "ElementSpacing"),
    ("x.mha", b"Offset = -60.5 -110.25 42\n", b"", "Offset"),
    ("x.mha", b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n", b"", "TransformMatrix"),
]


@pytest.mark.parametrize(("name", "old", "new", "missing"), NO_GEOMETRY)
def test_missing_geometry_is_refused_and_never_made_up(
    name: str, old: bytes, new: bytes, missing: str, tmp_path: Path
) -> None:
    path = write_itk(tmp_path / name, make_volume().hu, make_grid())
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    assert header_problem(path).startswith(f"expected {missing} in the header")


@pytest.mark.parametrize(("name", "old", "new", "missing"), NO_GEOMETRY)
def test_labels_without_geometry_are_refused(
    name: str, old: bytes, new: bytes, missing: str, tmp_path: Path
) -> None:
    path = write_itk(tmp_path / name, make_labels(), make_grid())
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(LabelError, match=missing):
        read_label_map(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"Offset", b"Position"), (b"Offset", b"Origin"), (b"TransformMatrix", b"Rotation")],
)
def test_other_names_of_the_geometry_of_metaimage_are_read(
    old: bytes, new: bytes, tmp_path: Path
) -> None:
    turned = make_grid(directions=ORIENTATIONS[29])
    path = write_itk(tmp_path / "x.mha", make_volume().hu, turned)
    path.write_bytes(path.read_bytes().replace(old, new))
    np.testing.assert_allclose(read_volume(path).grid.affine, turned.affine)


def test_a_nonsense_tube_voltage_is_refused(tmp_path: Path) -> None:
    for value in ("high", "9000", "nan"):
        with pytest.raises(ImagingError, match="tube voltage"):
            read_volume(nrrd(tmp_path / "x.nrrd", fields=f"kvp:={value}\n"))


@pytest.mark.parametrize("line", ["data file: {}\n", "datafile: {}\n", "Data File: {}\n"])
def test_a_header_cannot_make_us_read_another_file(line: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(hounsfield((2, 3, 4)).tobytes())
    (tmp_path / "sub").mkdir()
    for name in ("x.nrrd", "x.nhdr"):
        path = nrrd(tmp_path / "sub" / name, fields=line.format("../secret"))
        with pytest.raises(ImagingError, match="same folder"):
            read_volume(path)


@pytest.mark.parametrize("target", ["../secret", "{}/secret", "LIST", "slice%03d.raw 1 2 1"])
def test_a_metaimage_cannot_make_us_read_another_file(target: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(hounsfield((2, 3, 4)).tobytes())
    (tmp_path / "sub").mkdir()
    for name in ("x.mha", "x.mhd"):
        path = tmp_path / "sub" / name
        path.write_text(
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 4 3 2\n\n"
            f"ElementType = MET_SHORT\nElementDataFile = {target.format(tmp_path)}\n"
        )
        with pytest.raises(ImagingError, match="same folder"):
            read_volume(path)


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha"])
def test_a_name_that_is_not_utf_8_is_refused(name: str, tmp_path: Path) -> None:
    path = write_itk(tmp_path / name, make_volume().hu, make_grid())
    with pytest.raises(ImagingError, match="not UTF-8"):
        read_volume(path.rename(os.fsdecode(bytes(tmp_path) + b"/\xe9" + name.encode())))


def test_two_dimensions_are_no_volume(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(hounsfield((4, 6)))
    SimpleITK.WriteImage(image, str(tmp_path / "x.mha"))
    assert header_problem(tmp_path / "x.mha").endswith("3 dimensions, got 2")


def test_four_dimensions_of_metaimage_with_one_frame_are_a_volume(tmp_path: Path) -> None:
    image = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(hounsfield((2, 3, 4)))])
    SimpleITK.WriteImage(image, str(tmp_path / "x.mha"))
    np.testing.assert_array_equal(read_volume(tmp_path / "x.mha").hu, hounsfield((2, 3, 4)))


def test_several_values_per_voxel_are_no_image(tmp_path: Path) -> None:
    vectors = np.zeros((2, 3, 4, 2), np.int16)
    path = write_itk(tmp_path / "x.nrrd", vectors, make_grid((2, 3, 4)))
    assert header_problem(path) == "expected one value per voxel"


def test_reading_leaves_the_volume_writable(tmp_path: Path) -> None:
    volume = make_volume()
    write_volume(tmp_path / "x.nii.gz", Volume(volume.hu, volume.grid))
    assert read_volume(tmp_path / "x.nii.gz").hu.flags.c_contiguous
