"""DICOM that would fill the memory is refused before a library unpacks it."""

from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from app.errors import ImagingError
from app.imaging.dicom.expansion import MAX_SLICE_BYTES, check_inflated
from app.imaging.dicom.header import read_instance
from app.imaging.dicom.volume import read_series
from app.imaging.reader import read_volume
from tests.app.imaging.bombs.memory import at_most
from tests.app.imaging.test_dicom import compress_with_gdcm
from tests.factories import make_grid, make_volume, write_dicom


def deflate(path: Path, pixel_bytes: int) -> None:
    """Save a slice deflated, with so many zeros as its pixels."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.PixelData = bytes(pixel_bytes)
    dataset.save_as(path)


def test_a_deflated_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = write_dicom(tmp_path)[0]
    deflate(path, MAX_SLICE_BYTES)
    assert path.stat().st_size < 1 << 20
    with at_most(8):
        found = read_instance(path)
    assert found.slice is None
    assert (
        found.problem == f"expected a DICOM file of at most {MAX_SLICE_BYTES} bytes when inflated"
    )


def test_what_inflates_to_the_limit_may_pass(tmp_path: Path) -> None:
    path = write_dicom(tmp_path)[0]
    deflate(path, 5000)
    size = 5000 + sum(len(raw) for raw in [path.read_bytes()])
    check_inflated(BytesIO(path.read_bytes()), size)
    with pytest.raises(ImagingError, match="at most 4999 bytes"):
        check_inflated(BytesIO(path.read_bytes()), 4999)


def test_a_file_that_is_too_large_for_a_slice_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path)[0]
    with path.open("r+b") as file:
        file.truncate(MAX_SLICE_BYTES + 1)
    assert "bytes in a slice" in str(read_instance(path).problem)


@pytest.mark.parametrize(
    ("codec", "start", "distance"),
    # Height follows the start of frame by five bytes, width the size marker by eight.
    [("JPEG", b"\xff\xc3", 5), ("JPEG2000", b"\xff\x4f\xff\x51", 8)],
)
def test_a_codestream_of_another_size_is_refused(
    codec: str, start: bytes, distance: int, tmp_path: Path
) -> None:
    for path in write_dicom(tmp_path, make_volume(make_grid((3, 64, 48)))):
        compress_with_gdcm(path, codec)
    content = bytearray(path.read_bytes())
    at = content.index(start) + distance
    content[at : at + 2] = b"\x7f\xff"
    path.write_bytes(content)
    with at_most(16), pytest.raises(ImagingError, match="another size"):
        read_volume(tmp_path)


def test_run_lengths_that_make_more_than_the_pixels_are_refused(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path):
        dataset = pydicom.dcmread(path)
        # 257 - 0x81 = 128 zeros of each two bytes: 25 MB in all, for 6 x 7 pixels.
        segments = b"\x01\0\0\0\x40\0\0\0" + bytes(56) + b"\x81\x00" * 200_000
        dataset.PixelData = encapsulate([segments])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = RLELossless
        dataset.save_as(path)
    with at_most(8), pytest.raises(ImagingError, match="packed"):
        read_volume(tmp_path)


def test_a_series_of_more_voxels_than_allowed_is_refused(tmp_path: Path) -> None:
    slices = [read_instance(path).slice for path in write_dicom(tmp_path)]
    found = [header for header in slices if header is not None]
    # 5 x 6 x 7 = 210.
    assert read_series(found, max_voxels=210).hu.size == 210
    with pytest.raises(ImagingError, match="at most 209 voxels"):
        read_series(found, max_voxels=209)
