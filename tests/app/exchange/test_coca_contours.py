import plistlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.calcium.labels import CALCIUM_LABELS
from app.errors import LabelError
from app.exchange.coca_contours import contour_mask, read_contours
from app.imaging.orientation import axial_map
from app.imaging.volume import Volume
from tests.app.exchange.coca_files import SHAPE, Drawn, box, make_scan, write_contours


def scan(*calcium: tuple[int, slice, slice, int]) -> Volume:
    """Make a scan with blocks of (z, rows, columns, HU)."""
    hu = make_scan().hu.copy()
    for z, rows, columns, value in calcium:
        hu[z, rows, columns] = value
    return make_scan(hu)


def mask_of(tmp_path: Path, volume: Volume, *contours: Drawn) -> np.ndarray:
    return contour_mask(read_contours(write_contours(tmp_path / "7.xml", contours)), volume)


def test_index_counts_slices_from_the_feet_and_rows_come_after_columns(tmp_path: Path) -> None:
    volume = scan((1, slice(4, 7), slice(10, 15), 300))
    mask = mask_of(tmp_path, volume, Drawn("LAD", 1, box(10, 4, 5, 3)))
    expected = np.zeros(SHAPE, np.uint8)
    expected[1, 4:7, 10:15] = CALCIUM_LABELS["LAD"]
    np.testing.assert_array_equal(mask, expected)


def test_a_scan_stored_from_the_head_is_counted_from_the_feet(tmp_path: Path) -> None:
    volume = scan((1, slice(4, 7), slice(10, 15), 300))
    upside_down = Volume(volume.hu[::-1].copy(), volume.grid, volume.kvp)
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (SHAPE[0] - 1)
    affine[:3, 2] *= -1
    flipped = Volume(upside_down.hu, type(volume.grid)(SHAPE, affine), volume.kvp)
    assert axial_map(flipped.grid).flips == (False, False, True)
    mask = mask_of(tmp_path, flipped, Drawn("LAD", 1, box(10, 4, 5, 3)))
    assert np.unique(np.nonzero(mask)[0]).tolist() == [SHAPE[0] - 1 - 1]
    assert np.count_nonzero(mask) == 15


def test_the_four_names_are_the_four_arteries(tmp_path: Path) -> None:
    volume = scan((2, slice(0, 20), slice(0, 20), 200))
    drawn = [Drawn(name, 2, box(1 + 4 * n, 2, 2, 2)) for n, name in enumerate(CALCIUM_LABELS)]
    mask = mask_of(tmp_path, volume, *drawn)
    assert [int(mask[2, 2, 1 + 4 * n]) for n in range(4)] == [1, 2, 3, 4]


def test_several_contours_of_one_slice_add_up(tmp_path: Path) -> None:
    volume = scan((2, slice(0, 20), slice(0, 20), 200))
    contours = [Drawn("LAD", 2, box(2, 2, 2, 2)), Drawn("LAD", 2, box(8, 8, 3, 3))]
    # 4 and 9 pixels: the second contour does not replace the first.
    assert np.count_nonzero(mask_of(tmp_path, volume, *contours)) == 13


def test_the_threshold_is_inclusive_and_fills_no_ring(tmp_path: Path) -> None:
    volume = scan((3, slice(5, 10), slice(5, 10), 130), (3, slice(6, 9), slice(6, 9), 129))
    mask = mask_of(tmp_path, volume, Drawn("RCA", 3, box(5, 5, 5, 5)))
    # The ring of 25 - 9 voxels has exactly 130 HU, its hole one less.
    assert np.count_nonzero(mask) == 16
    assert not mask[3, 6:9, 6:9].any()


def test_pixels_on_the_outline_do_not_belong(tmp_path: Path) -> None:
    volume = scan((0, slice(0, 20), slice(0, 20), 500))
    whole = [(4.0, 4.0), (8.0, 4.0), (8.0, 8.0), (4.0, 8.0)]
    # Strictly between 4 and 8: 5, 6, 7 in both directions.
    assert np.count_nonzero(mask_of(tmp_path, volume, Drawn("LM", 0, whole))) == 9
    # Truncating these corners to whole pixels would give other voxels: rows 5 to 8 are inside.
    floats = [(4.0, 4.5), (8.0, 4.5), (8.0, 8.9), (4.0, 8.9)]
    assert np.count_nonzero(mask_of(tmp_path, volume, Drawn("LM", 0, floats))) == 12


def test_empty_contours_are_skipped(tmp_path: Path) -> None:
    volume = scan((1, slice(4, 7), slice(10, 15), 300))
    contours = [Drawn("RCA", 4), Drawn("LAD", 1, box(10, 4, 5, 3)), Drawn("LCX", 1)]
    assert np.unique(mask_of(tmp_path, volume, *contours)).tolist() == [0, 2]
    assert read_contours(write_contours(tmp_path / "empty.xml", [Drawn("RCA", 4)])) == ()


@pytest.mark.parametrize("shift_mm", [0.1, -0.19, 40.0])
def test_contours_of_another_scan_are_refused(tmp_path: Path, shift_mm: float) -> None:
    drawn = [Drawn("LAD", 1, box(10, 4, 5, 3))]
    contours = read_contours(write_contours(tmp_path / "7.xml", drawn, shift_mm=shift_mm))
    volume = scan((1, slice(4, 7), slice(10, 15), 300))
    with pytest.raises(LabelError, match=f"another scan.* {abs(shift_mm):.2f} mm"):
        contour_mask(contours, volume)


def test_contours_one_slice_off_are_refused(tmp_path: Path) -> None:
    drawn = [Drawn("LAD", 2, box(10, 4, 5, 3))]
    path = write_contours(tmp_path / "7.xml", drawn)
    content = plistlib.loads(path.read_bytes())
    content["Images"][0]["ImageIndex"] = 1
    path.write_bytes(plistlib.dumps(content))
    with pytest.raises(LabelError, match=r"another scan.* 3\.00 mm"):
        contour_mask(read_contours(path), scan((1, slice(4, 7), slice(10, 15), 300)))


def test_a_slice_that_the_scan_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="expected image 0 to 4, got 5"):
        mask_of(tmp_path, scan(), Drawn("LAD", 5, box(10, 4, 5, 3)))


def test_calcium_of_two_arteries_is_refused(tmp_path: Path) -> None:
    volume = scan((1, slice(0, 20), slice(0, 20), 300))
    with pytest.raises(LabelError, match="two arteries share calcium on image 1"):
        mask_of(tmp_path, volume, Drawn("LAD", 1, box(5, 5, 3, 3)), Drawn("LM", 1, box(7, 5, 3, 3)))


def test_contours_that_hold_no_calcium_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no contour holds a voxel of at least 130 HU"):
        mask_of(tmp_path, scan(), Drawn("LAD", 1, box(10, 4, 5, 3)))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"Name": "Aorta"}, "name of a coronary artery on image 1, got 'Aorta'"),
        ({"Type": 5}, "expected areas on image 1, got type 5"),
        ({"NumberOfPoints": 5}, "expected 5 points"),
        ({"Point_mm": ["(0, 0, 0)"] * 3}, "expected 4 points"),
        ({"Point_px": ["(1, nan)"] * 4}, "the XML file is damaged"),
        ({"Point_px": ["(1, 2, 3)"] * 4}, "the XML file is damaged"),
        ({"Point_px": "(1, 2)"}, "the XML file is damaged"),
    ],
)
def test_contours_that_cannot_be_understood_are_refused(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    drawn = [Drawn("LAD", 1, box(10, 4, 5, 3))]
    with pytest.raises(LabelError, match=problem):
        read_contours(write_contours(tmp_path / "7.xml", drawn, **changes))


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    b"<plist version='1.0'><dict><key>Images</key><string>&b;</string></dict></plist>"
)


@pytest.mark.parametrize(
    "content", [b"", b"<plist>", b"not xml", b"bplist00\x00", plistlib.dumps({"A": 1}), BOMB]
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "7.xml"
    path.write_bytes(content)
    with pytest.raises(LabelError, match="damaged"):
        read_contours(path)


def test_a_contour_that_got_lost_is_noticed(tmp_path: Path) -> None:
    path = write_contours(tmp_path / "7.xml", [Drawn("LAD", 1, box(10, 4, 5, 3))])
    content = plistlib.loads(path.read_bytes())
    content["Images"][0]["NumberOfROIs"] = 2
    path.write_bytes(plistlib.dumps(content))
    with pytest.raises(LabelError, match="expected 2 contours on image 1"):
        read_contours(path)
