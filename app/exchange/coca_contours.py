"""Contours of the gated COCA data set: an XML property list becomes a label map.

What the files mean was found out on 118 contours of six scans; reading them any other way
gives other voxels.

* ``ImageIndex`` counts the slices from the feet to the head, from 0.
* A pixel belongs to a contour when its integer position (x, y) lies strictly inside the polygon
  of ``Point_px``, whose fractions count, and when it reaches 130 HU: contours of rings have
  their hole filled.
* ``Point_px`` has its origin at the corner of the first pixel, half a pixel before its centre,
  which makes ``Point_mm`` a check that contours and scan belong together.
* Contours without points are left over from drawing.
"""

import plistlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.parsers.expat import ExpatError

import numpy as np
from numpy.typing import NDArray

from app.calcium.candidates import DEFAULT_THRESHOLD_HU, candidate_mask
from app.calcium.labels import CALCIUM_LABELS
from app.errors import LabelError
from app.exchange.polygons import pixels_inside
from app.imaging.volume import Grid, Volume

ARTERIES: Final[Mapping[str, str]] = {
    "left coronary artery": "LM",
    "left anterior descending artery": "LAD",
    "left circumflex artery": "LCX",
    "right coronary artery": "RCA",
}
"""Arteries as the data set names them."""

_MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest file that is read; a scan full of calcium has one megabyte."""

_AREA_TYPE: Final = 20
"""Type of a painted area; other types are lines, points or texts, which enclose nothing."""

_CORNER_TO_CENTRE: Final = 0.5
"""Distance from the corner of a pixel to its centre, in pixels."""

_MAX_SHIFT_MM: Final = 0.05
"""Farthest ``Point_mm`` may lie from where ``Point_px`` is; half a pixel is three times that."""

_DAMAGED: Final = (ValueError, TypeError, LookupError, AttributeError, ExpatError)
"""Raised for files that are no property list, or hold something else."""


@dataclass(frozen=True, eq=False)
class Contour:
    """One outlined calcification on one slice.

    Attributes:
        artery: Canonical name.
        slice_index: Slice, counted from the feet, from 0.
        points_px: Corners (x, y) in pixels, shape (P, 2).
        points_mm: The same in LPS, shape (P, 3).
    """

    artery: str
    slice_index: int
    points_px: NDArray[np.float64]
    points_mm: NDArray[np.float64]


def read_contours(path: Path) -> tuple[Contour, ...]:
    """Read the contours of a scan; those without points are left out.

    Raises:
        LabelError: If the file is damaged, or holds what cannot be understood.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise LabelError(f"expected contours of at most {_MAX_BYTES} bytes")
    try:
        # Refuses entity declarations, with which a small file could fill the memory.
        images = plistlib.loads(path.read_bytes(), fmt=plistlib.FMT_XML)["Images"]
        return tuple(contour for image in images for contour in _contours_of(image))
    except _DAMAGED as error:
        raise LabelError("the contours cannot be read: the XML file is damaged") from error


def _contours_of(image: Mapping[str, object]) -> list[Contour]:
    index, rois = image["ImageIndex"], image["ROIs"]
    if not isinstance(index, int) or not isinstance(rois, list):
        raise TypeError("expected a number and a list")
    if image.get("NumberOfROIs", len(rois)) != len(rois):
        raise LabelError(f"expected {image['NumberOfROIs']} contours on image {index}")
    return [_contour(index, roi) for roi in rois if roi["NumberOfPoints"]]


def _contour(index: int, roi: Mapping[str, object]) -> Contour:
    name = str(roi["Name"])
    artery = ARTERIES.get(name.strip().casefold())
    if artery is None:
        raise LabelError(f"expected the name of a coronary artery on image {index}, got {name!r}")
    if roi.get("Type", _AREA_TYPE) != _AREA_TYPE:
        raise LabelError(f"expected areas on image {index}, got type {roi['Type']}")
    points_px, points_mm = _points(roi["Point_px"], 2), _points(roi["Point_mm"], 3)
    if not len(points_px) == len(points_mm) == roi["NumberOfPoints"]:
        raise LabelError(f"expected {roi['NumberOfPoints']} points of {name} on image {index}")
    return Contour(artery, index, points_px, points_mm)


def _points(texts: object, dimensions: int) -> NDArray[np.float64]:
    """Read points like ``(1.5, 2.25)``."""
    if not isinstance(texts, list):
        raise TypeError("expected a list of points")
    rows = [[float(part) for part in str(text).strip(" ()").split(",")] for text in texts]
    points = np.array(rows, np.float64).reshape(len(rows), dimensions)
    if not np.isfinite(points).all():
        raise ValueError("expected finite points")
    return points


def check_place(contours: Sequence[Contour], grid: Grid) -> None:
    """Check that contours were drawn on a scan with this grid.

    Raises:
        LabelError: If a point in millimetres is not where the same point in pixels is.
    """
    for contour in contours:
        depth = grid.shape[0]
        if not 0 <= contour.slice_index < depth:
            raise LabelError(f"expected image 0 to {depth - 1}, got {contour.slice_index}")
        centres = contour.points_px - _CORNER_TO_CENTRE
        stored = np.full((len(centres), 1), _stored_slice(contour, grid))
        voxels = np.hstack([centres, stored])
        expected = voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        shift = float(np.abs(expected - contour.points_mm).max())
        if shift > _MAX_SHIFT_MM:
            raise LabelError(
                "the contours belong to another scan: "
                f"on image {contour.slice_index} they lie {shift:.2f} mm beside it"
            )


def contour_mask(contours: Sequence[Contour], volume: Volume) -> NDArray[np.uint8]:
    """Turn contours into a canonical label map on the grid of their scan, shape (Z, Y, X).

    Raises:
        LabelError: If contours and scan do not belong together, if no contour holds calcium,
            or if a voxel is calcium of two arteries.
    """
    check_place(contours, volume.grid)
    mask = np.zeros(volume.hu.shape, np.uint8)
    for contour in contours:
        place, value = _stored_slice(contour, volume.grid), CALCIUM_LABELS[contour.artery]
        inside = pixels_inside(contour.points_px, volume.hu.shape[1:])
        calcium = inside & candidate_mask(volume.hu[place], DEFAULT_THRESHOLD_HU)
        if (calcium & (mask[place] > 0) & (mask[place] != value)).any():
            raise LabelError(f"two arteries share calcium on image {contour.slice_index}")
        mask[place][calcium] = value
    if not mask.any():
        raise LabelError("no contour holds a voxel of at least 130 HU")
    return mask


def _stored_slice(contour: Contour, grid: Grid) -> int:
    """Return the place of a contour's slice in the order of the array."""
    is_ascending = grid.affine[2, 2] > 0
    return contour.slice_index if is_ascending else grid.shape[0] - 1 - contour.slice_index
