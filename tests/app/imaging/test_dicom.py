"""Sound DICOM series: order, rescale, transfer syntaxes, identifiers."""

import os
import random
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from app.errors import ImagingError
from app.imaging.dicom.writer import write_series
from app.imaging.reader import read_volume
from app.imaging.volume import Identifiers, Volume
from tests.factories import edit_dicom, make_grid, make_volume, write_dicom


def test_slices_are_ordered_by_position_whatever_their_names(tmp_path: Path) -> None:
    made = make_volume()
    paths = write_series(tmp_path, made, descending=True)
    names = [f"IM{number}" for number in range(len(paths))]
    random.Random(1).shuffle(names)
    for path, name in zip(paths, names, strict=True):
        path.rename(tmp_path / name)
    np.testing.assert_array_equal(read_volume(tmp_path).hu, made.hu)


def test_descending_numbers_the_last_slice_first(tmp_path: Path) -> None:
    paths = write_series(tmp_path, make_volume(), descending=True)
    assert [pydicom.dcmread(path).InstanceNumber for path in paths] == [5, 4, 3, 2, 1]


def test_every_slice_has_its_own_rescale(tmp_path: Path) -> None:
    made = make_volume()
    paths = write_dicom(tmp_path, made)
    edit_dicom(paths[2], RescaleSlope="1.5", RescaleIntercept="-1000")
    stored = made.hu[2].astype(np.float64) + 1024
    hu = read_volume(tmp_path).hu
    np.testing.assert_array_equal(hu[2], np.rint(stored * 1.5 - 1000))
    np.testing.assert_array_equal(hu[3], made.hu[3])


def test_fractions_of_a_unit_are_rounded_to_the_nearest_even(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path, make_volume())
    for path in paths:
        dataset = pydicom.dcmread(path)
        pixels = np.tile(np.array([0, 1, 2, 3, 4, 5, 4000], "<i2"), (6, 1))
        dataset.PixelData, dataset.RescaleSlope = pixels.tobytes(), "0.5"
        dataset.save_as(path)
    # -1024 + 0, 0.5, 1, 1.5, 2, 2.5 and 2000: halves go to the even neighbour.
    expected = [-1024, -1024, -1023, -1022, -1022, -1022, 976]
    assert read_volume(tmp_path).hu[0, 0].tolist() == expected


def test_unsigned_pixels_are_read(tmp_path: Path) -> None:
    made = make_volume()
    for path in write_dicom(tmp_path, made):
        edit_dicom(path, PixelRepresentation=0)
    np.testing.assert_array_equal(read_volume(tmp_path).hu, made.hu)


def test_identifiers_and_tube_voltage_come_from_the_header(tmp_path: Path) -> None:
    known = Identifiers("P7", "1.2.3", "1.2.3.4", "20240229", "101500", "CT")
    made = make_volume()
    write_dicom(tmp_path, Volume(made.hu, made.grid, 100.0, known))
    volume = read_volume(tmp_path)
    assert volume.identifiers == known
    assert volume.kvp == 100.0


def test_an_absent_tube_voltage_is_unknown_not_wrong(tmp_path: Path) -> None:
    write_dicom(tmp_path, make_volume(kvp=None))
    assert read_volume(tmp_path).kvp is None


@pytest.mark.parametrize("unknown", ["0", "0.0", "", None])
@pytest.mark.parametrize("index", [0, 3])
def test_one_slice_without_tube_voltage_takes_that_of_the_others(
    unknown: str | None, index: int, tmp_path: Path
) -> None:
    edit_dicom(write_dicom(tmp_path, make_volume(kvp=100.0))[index], KVP=unknown)
    assert read_volume(tmp_path).kvp == 100.0


def test_a_tube_voltage_of_zero_everywhere_is_unknown(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path):
        edit_dicom(path, KVP="0")
    assert read_volume(tmp_path).kvp is None


def test_pixel_spacing_is_row_distance_first(tmp_path: Path) -> None:
    path = write_dicom(tmp_path, make_volume(make_grid(spacing_mm=(3.0, 0.5, 0.75))))[0]
    assert pydicom.dcmread(path).PixelSpacing == [0.5, 0.75]
    assert read_volume(tmp_path).spacing_mm == (3.0, 0.5, 0.75)


@pytest.mark.parametrize("length", [0.991, 0.999, 1.009])
def test_cosines_that_are_not_of_length_one_keep_the_pixel_spacing(
    length: float, tmp_path: Path
) -> None:
    for path in write_dicom(tmp_path, make_volume(make_grid(spacing_mm=(3.0, 0.5, 0.75)))):
        edit_dicom(path, ImageOrientationPatient=[length, 0, 0, 0, length, 0])
    assert read_volume(tmp_path).spacing_mm == pytest.approx((3.0, 0.5, 0.75), abs=1e-9)


def test_equal_volumes_become_equal_files(tmp_path: Path) -> None:
    first = write_dicom(tmp_path / "a", make_volume())
    second = write_dicom(tmp_path / "b", make_volume())
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_instances_are_valid_and_anonymous(tmp_path: Path) -> None:
    datasets = [pydicom.dcmread(path) for path in write_dicom(tmp_path)]
    assert all(dataset.PatientName == "" for dataset in datasets)
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 5
    assert {dataset.SOPClassUID.name for dataset in datasets} == {"CT Image Storage"}
    assert datasets[0].file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"
    assert datasets[0].file_meta.MediaStorageSOPInstanceUID == datasets[0].SOPInstanceUID


def test_stored_values_beyond_int16_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="int16"):
        write_series(tmp_path, make_volume(), slope=0.01)


def test_run_length_encoded_pixels_are_read(tmp_path: Path) -> None:
    made = make_volume()
    for path in write_dicom(tmp_path, made):
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    np.testing.assert_array_equal(read_volume(tmp_path).hu, made.hu)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_other_plain_syntaxes_are_read(syntax: UID, tmp_path: Path) -> None:
    made = make_volume()
    for path in write_dicom(tmp_path, made):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)
    np.testing.assert_array_equal(read_volume(tmp_path).hu, made.hu)


@pytest.mark.parametrize("codec", ["JPEG", "JPEG2000"])
def test_losslessly_compressed_pixels_are_read(codec: str, tmp_path: Path) -> None:
    # The codecs refuse images of a few pixels.
    made = make_volume(make_grid((3, 64, 48)))
    for path in write_dicom(tmp_path, made):
        compress_with_gdcm(path, codec)
    syntax = pydicom.dcmread(tmp_path / "0001.dcm").file_meta.TransferSyntaxUID
    assert syntax.is_encapsulated
    np.testing.assert_array_equal(read_volume(tmp_path).hu, made.hu)


def test_a_compressed_slice_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path, make_volume(make_grid((3, 64, 48)))):
        compress_with_gdcm(path, "JPEG")
    path.rename(os.fsdecode(bytes(tmp_path) + b"/\xe9.dcm"))
    # SimpleITK ends the whole process when it is given such a name.
    with pytest.raises(ImagingError, match="not UTF-8"):
        read_volume(tmp_path)


def compress_with_gdcm(path: Path, codec: str) -> None:
    image = SimpleITK.ReadImage(str(path))
    header = pydicom.dcmread(path, stop_before_pixels=True)
    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.UseCompressionOn()
    writer.SetCompressor(codec)
    writer.Execute(SimpleITK.Cast(image, SimpleITK.sitkInt16))
    written = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = written.file_meta.TransferSyntaxUID
    for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation", "BitsAllocated"):
        setattr(header, name, getattr(written, name))
    header.RescaleSlope, header.RescaleIntercept = written.RescaleSlope, written.RescaleIntercept
    header.PixelData = written.PixelData
    header["PixelData"].VR = "OB"
    header["PixelData"].is_undefined_length = True
    header.save_as(path)
