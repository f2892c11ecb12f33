"""Slices of one series put in order, or refused: the step before any pixel is trusted."""

from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import ImagingError
from app.imaging.dicom.header import SliceHeader, read_instance
from app.imaging.plausibility import check_grid
from app.imaging.volume import Grid

MIN_SLICES: Final = 2
"""Fewest slices of a volume; with one the slice distance would be a guess."""

STEP_TOLERANCE: Final = 0.01
"""Largest deviation of one slice distance from the median, as a part of it."""

POSITION_ROUNDING_MM: Final = 0.011
"""Deviation of a slice distance that rounding positions to 0.01 mm brings about."""

DUPLICATE_DISTANCE: Final = 0.05
"""Slices closer than this part of the median distance are at one position."""

MAX_DRIFT_PIXELS: Final = 0.1
"""Farthest that a slice may lie beside the stack's normal, in pixels; more is a tilt."""

MAX_SLOPE_RATIO: Final = 2.0
"""Largest ratio of rescale slopes within a series."""

MAX_INTERCEPT_SPREAD_HU: Final = 500.0
"""Largest difference of rescale intercepts within a series, in HU."""

_DIRECTION_DECIMALS: Final = 3
"""Decimals that orientations of one series agree in."""

_LENGTH_DECIMALS: Final = 4
"""Decimals that pixel spacings of one series agree in, in millimetres."""


def order_slices(slices: Sequence[SliceHeader]) -> tuple[SliceHeader, ...]:
    """Sort slices along their normal, the order of ITK: to the head for plain axial slices."""
    return tuple(slices[index] for index in np.argsort(_heights_mm(slices), kind="stable"))


def order_files(files: Sequence[Path]) -> tuple[Path, ...]:
    """Sort the files of a series by where their slices lie; what is no slice comes last."""
    headers = {path: read_instance(path).slice for path in files}
    slices = order_slices([header for header in headers.values() if header is not None])
    others = [path for path in files if headers[path] is None]
    return (*(header.path for header in slices), *others)


def series_grid(slices: Sequence[SliceHeader]) -> Grid:
    """Build the grid of ordered slices, refusing what is no regular axial stack.

    Args:
        slices: Slices of one series in the order of ``order_slices``.

    Raises:
        ImagingError: If slices are mixed, too few, missing, doubled, unevenly spaced, sheared
            or not axial, or their rescale values contradict each other.
    """
    if len(slices) < MIN_SLICES:
        raise ImagingError(f"expected at least {MIN_SLICES} slices, got {len(slices)}")
    _check_uniform(slices)
    _check_axial(slices[0])
    positions = np.array([header.position_mm for header in slices])
    normal = _normal(slices[0])
    _check_steps(positions @ normal)
    _check_drift(positions, normal, min(slices[0].spacing_mm))
    _check_rescale(slices)
    grid = _grid(slices, positions, normal)
    check_grid(grid)
    return grid


def series_kvp(slices: Sequence[SliceHeader]) -> float | None:
    """Return the tube voltage of a checked series in kV, None where no slice says one."""
    return next((header.kvp for header in slices if header.kvp is not None), None)


def _heights_mm(slices: Sequence[SliceHeader]) -> NDArray[np.float64]:
    """Return how far each slice lies along its own normal."""
    # All at once: one by one, this took most of the time of a look at a known folder.
    rows = np.array([header.row_direction for header in slices]).reshape(-1, 3)
    columns = np.array([header.column_direction for header in slices]).reshape(-1, 3)
    positions = np.array([header.position_mm for header in slices]).reshape(-1, 3)
    normals = np.cross(rows, columns)
    lengths = np.linalg.norm(normals, axis=1)
    return np.asarray((normals * positions).sum(axis=1) / lengths, np.float64)


def _normal(header: SliceHeader) -> NDArray[np.float64]:
    normal = np.cross(header.row_direction, header.column_direction)
    return np.asarray(normal / np.linalg.norm(normal), np.float64)


def _check_uniform(slices: Sequence[SliceHeader]) -> None:
    """Refuse slices that differ in what all slices of a series share."""
    known_kvp = series_kvp(slices)
    facts: dict[str, list[Hashable]] = {
        "series": [header.identifiers.series_uid for header in slices],
        "patient or study": [
            (header.identifiers.patient_id, header.identifiers.study_uid) for header in slices
        ],
        "frame of reference": [header.frame_uid for header in slices],
        "image size": [(header.rows, header.columns) for header in slices],
        "pixel spacing": _rounded([header.spacing_mm for header in slices], _LENGTH_DECIMALS),
        "orientation": _rounded(
            [header.row_direction + header.column_direction for header in slices],
            _DIRECTION_DECIMALS,
        ),
        # A slice that does not say contradicts no other.
        "tube voltage": [header.kvp or known_kvp for header in slices],
    }
    for name, values in facts.items():
        kinds = Counter(values)
        if len(kinds) > 1:
            counts = " and ".join(str(count) for _, count in kinds.most_common())
            raise ImagingError(f"the slices differ in {name}: groups of {counts}")


def _rounded(vectors: Sequence[tuple[float, ...]], decimals: int) -> list[Hashable]:
    """Round vectors of one length; minus zero becomes zero."""
    return [tuple(vector) for vector in (np.round(vectors, decimals) + 0.0).tolist()]


def _check_axial(header: SliceHeader) -> None:
    if int(np.abs(_normal(header)).argmax()) != 2:
        raise ImagingError("expected axial slices, got sagittal or coronal ones")


def _check_steps(heights_mm: NDArray[np.float64]) -> None:
    steps = np.diff(heights_mm)
    step = float(np.median(steps))
    if steps.min() <= DUPLICATE_DISTANCE * step or step <= 0:
        at = float(heights_mm[int(steps.argmin())])
        raise ImagingError(f"two slices lie at the same position, {at:.2f} mm")
    tolerance = max(STEP_TOLERANCE * step, POSITION_ROUNDING_MM)
    worst = int(np.abs(steps - step).argmax())
    gap, at = float(steps[worst]), float(heights_mm[worst])
    if abs(gap - step) > tolerance:
        missing = round(gap / step) - 1
        if missing >= 1 and abs(gap - (missing + 1) * step) <= (missing + 1) * tolerance:
            raise ImagingError(f"{missing} slice(s) missing after position {at:.2f} mm")
        raise ImagingError(
            f"uneven gaps: expected {step:.3f} mm between slices, got {gap:.3f} mm "
            f"after position {at:.2f} mm"
        )
    even = np.linspace(heights_mm[0], heights_mm[-1], len(heights_mm))
    if float(np.abs(heights_mm - even).max()) > MAX_DRIFT_PIXELS * step:
        raise ImagingError("uneven gaps: the distance between slices changes along the series")


def _check_drift(
    positions_mm: NDArray[np.float64], normal: NDArray[np.float64], pixel_mm: float
) -> None:
    offsets = positions_mm - positions_mm[0]
    drift = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1)
    if float(drift.max()) > MAX_DRIFT_PIXELS * pixel_mm:
        worst = int(drift.argmax())
        angle = np.degrees(np.arctan2(drift[worst], abs(float(offsets[worst] @ normal))))
        raise ImagingError(
            f"gantry tilt: the slices are shifted against each other by {angle:.1f} degrees"
        )


def _check_rescale(slices: Sequence[SliceHeader]) -> None:
    slopes = [header.slope for header in slices]
    intercepts = [header.intercept_hu for header in slices]
    if max(slopes) > MAX_SLOPE_RATIO * min(slopes):
        raise ImagingError(
            f"the slices differ in rescale slope, from {min(slopes):g} to {max(slopes):g}"
        )
    if max(intercepts) - min(intercepts) > MAX_INTERCEPT_SPREAD_HU:
        raise ImagingError(
            "the slices differ in rescale intercept, "
            f"from {min(intercepts):g} to {max(intercepts):g} HU"
        )


def _grid(
    slices: Sequence[SliceHeader], positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> Grid:
    first = slices[0]
    step = float((positions[-1] - positions[0]) @ normal) / (len(slices) - 1)
    affine = np.eye(4)
    # PixelSpacing is (row distance, column distance): the second belongs to the x index.
    affine[:3, 0] = np.asarray(first.row_direction) * first.spacing_mm[1]
    affine[:3, 1] = np.asarray(first.column_direction) * first.spacing_mm[0]
    affine[:3, 2] = normal * step
    affine[:3, 3] = positions[0]
    return Grid((len(slices), first.rows, first.columns), affine)
