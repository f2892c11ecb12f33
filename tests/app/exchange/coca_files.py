"""Writers of the COCA format: what the data set's own tools wrote, from known masks."""

import plistlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
from numpy.typing import NDArray

from app.imaging.dicom.header import quiet_pydicom
from app.imaging.volume import Identifiers, Volume
from tests.factories import edit_dicom, make_grid, write_dicom

NAMES = {
    "LM": "Left Coronary Artery",
    "LAD": "Left Anterior Descending Artery",
    "LCX": "Left Circumflex Artery",
    "RCA": "Right Coronary Artery",
}
SHAPE = (5, 24, 28)
SPACING_MM = (3.0, 0.4, 0.375)
ORIGIN_MM = (-80.25, -150.5, 30.0)


@dataclass(frozen=True)
class Drawn:
    """A contour to write.

    Attributes:
        artery: Canonical name.
        index: Slice from the feet to the head.
        points_px: Corners (x, y).
    """

    artery: str
    index: int
    points_px: Sequence[tuple[float, float]] = ()


def box(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    """Outline the pixels x to x + width - 1 of the rows y to y + height - 1."""
    left, top = x - 0.5, y - 0.5
    return [
        (left, top),
        (left + width, top),
        (left + width, top + height),
        (left, top + height),
    ]


def make_scan(hu: NDArray[np.int16] | None = None, *, seed: int = 0, number: str = "7") -> Volume:
    """Make a scan of soft tissue on the grid that contours are written for."""
    noise = np.random.default_rng(seed).integers(-60, 60, SHAPE).astype(np.int16)
    grid = make_grid(SHAPE, spacing_mm=SPACING_MM, origin_mm=ORIGIN_MM)
    # Random digits with a leading zero, as the data set has them.
    identifiers = Identifiers(
        "anonymous", f"0.{number}38472", f"4.0{number}99213.007", "", "", "CT"
    )
    return Volume(noise if hu is None else hu, grid, 120.0, identifiers)


def write_scan(folder: Path, volume: Volume) -> Path:
    """Write a scan whose instance numbers fall from feet to head, with invalid UIDs."""
    with quiet_pydicom():
        paths = write_dicom(folder, volume)
        for index, path in enumerate(paths):
            edit_dicom(path, InstanceNumber=len(paths) - index, SOPInstanceUID=f"0.00{index}.4")
    return folder


def write_contours(
    path: Path, contours: Sequence[Drawn], *, shift_mm: float = 0.0, **changes: Any
) -> Path:
    """Write contours as property list; ``changes`` replace keys of the first contour."""
    by_index: dict[int, list[dict[str, Any]]] = {}
    for number, drawn in enumerate(contours):
        roi = _roi(drawn, number, shift_mm) | (changes if number == 0 else {})
        by_index.setdefault(drawn.index, []).append(roi)
    images = [
        {"ImageIndex": index, "NumberOfROIs": len(rois), "ROIs": rois}
        for index, rois in by_index.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(plistlib.dumps({"Images": images}))
    return path


def _roi(drawn: Drawn, number: int, shift_mm: float) -> dict[str, Any]:
    z = ORIGIN_MM[2] + SPACING_MM[0] * drawn.index
    points_mm = [
        (
            ORIGIN_MM[0] + (x - 0.5) * SPACING_MM[2] + shift_mm,
            ORIGIN_MM[1] + (y - 0.5) * SPACING_MM[1],
            z,
        )
        for x, y in drawn.points_px
    ]
    return {
        "Area": 0.1 if drawn.points_px else 0.0,
        "Center": "(0.000000, 0.000000, 0.000000)",
        "IndexInImage": number,
        "Name": NAMES[drawn.artery],
        "NumberOfPoints": len(drawn.points_px),
        "Point_mm": [f"({x:f}, {y:f}, {z:f})" for x, y, z in points_mm],
        "Point_px": [f"({x:f}, {y:f})" for x, y in drawn.points_px],
        "Type": 20,
    }


def write_gated(
    root: Path, number: str, volume: Volume, contours: Sequence[Drawn], series: str = "Ca%20 3.0"
) -> None:
    """Write one gated case."""
    part = root / "Gated_release_final"
    write_scan(part / "patient" / number / series, volume)
    write_contours(part / "calcium_xml" / f"{number}.xml", contours)


def write_scores(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write the table of scores; the first column's name ends in a blank."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["filename ", "LCA", "LAD", "LCX", "RCA", "total"])
    for row in rows:
        sheet.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
