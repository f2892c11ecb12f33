"""What a CT can be: limits of geometry and values, checked before a volume is trusted."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.errors import ImagingError
from app.imaging.volume import Grid

MIN_SPACING_MM: Final = 0.1
"""Finest voxel of a clinical CT; photon-counting scanners reach 0.11 mm."""

MAX_SPACING_MM: Final = 10.0
"""Coarsest slice distance in use; anything beyond is metres, inches or damage."""

MAX_SIZE: Final = 2048
"""Most voxels along one axis; reconstruction matrices end at 2048."""

MAX_VOXELS: Final = 2**29
"""Most voxels of a volume: 512 x 512 x 2048, or 1 GiB as int16.

Keeps a forged header from exhausting the memory.
"""

MAX_POSITION_MM: Final = 10_000.0
"""Farthest a voxel can lie from the scanner's origin."""

MAX_SHEAR: Final = 1e-3
"""Largest cosine between two axes that still counts as a right angle (0.06 degrees)."""

MAX_OBLIQUITY_DEG: Final = 20.0
"""Largest angle between an image axis and the patient axis it is taken for."""

MIN_SLOPE: Final = 1e-3
"""Smallest rescale slope that a CT is stored with."""

MAX_SLOPE: Final = 100.0
"""Largest rescale slope that a CT is stored with; 1 is usual."""

MAX_INTERCEPT_HU: Final = 32_768.0
"""Largest rescale intercept by magnitude; -1024 and -8192 are usual."""

MIN_KVP: Final = 40.0
"""Lowest tube voltage of a CT in kV; clinical tubes start at 70."""

MAX_KVP: Final = 200.0
"""Highest tube voltage of a CT in kV; clinical tubes end at 150."""

MIN_HU_SPAN: Final = 50
"""Smallest difference between the darkest and brightest voxel of a real CT, in HU.

Volumes scaled to 0..1, and empty ones, fall below; soft tissue beside fat spans 100 HU.
"""

DARK_HU: Final = -50
"""Fat, lung and air are darker than this; blood, muscle and bone are not."""

MIN_DARK_SHARE: Final = 0.01
"""Smallest part of the voxels of a CT that is dark.

Measured without padding: 48 to 68 % of a chest CT, a thorax phantom and two heart crops, 9.5 % of
the middle half of the tighter crop. Stored 1000 or 1024 too high, as unsigned values whose
intercept was lost are, at most 0.38 % (noise of the air around the phantom), 0 % of the others.
"""

MIN_JUDGED_VOXELS: Final = 4096
"""Fewest voxels whose share says something: 16 along each axis, of which no CT has so few."""

PORTION_VOXELS: Final = 1 << 22
"""Voxels that are converted at once: 16 MiB as float32, however large the volume is."""

_INT16: Final = np.iinfo(np.int16)

_Scalar = TypeVar("_Scalar", bound=np.generic)


def check_shape(shape: tuple[int, ...], max_voxels: int = MAX_VOXELS) -> None:
    """Refuse array sizes that no CT has, or that nobody wants to hold in memory.

    Args:
        shape: Length of each axis; layers count as one.
        max_voxels: Most voxels in all.

    Raises:
        ImagingError: If an axis is empty or too long, or the whole is too large.
    """
    if min(shape) < 1 or max(shape) > MAX_SIZE:
        size = " x ".join(str(length) for length in shape)
        raise ImagingError(f"expected 1 to {MAX_SIZE} voxels along each axis, got {size}")
    if math.prod(shape) > max_voxels:
        raise ImagingError(f"expected at most {max_voxels} voxels, got {math.prod(shape)}")


def check_grid(grid: Grid) -> None:
    """Refuse a grid that no CT has.

    Raises:
        ImagingError: If size, spacing or position are implausible or not finite, the axes
            are sheared, or one of them follows no axis of the patient.
    """
    check_shape(grid.shape)
    if not np.isfinite(grid.affine).all():
        raise ImagingError("the voxel geometry holds values that are not finite")
    for spacing in grid.spacing_mm:
        check_spacing(spacing)
    farthest = float(np.abs(grid.affine[:3, 3]).max())
    if farthest > MAX_POSITION_MM:
        raise ImagingError(
            f"expected a position within {MAX_POSITION_MM:g} mm of the scanner's origin, "
            f"got {farthest:g} mm"
        )
    directions = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    _check_directions(directions)


def check_spacing(spacing_mm: float) -> None:
    """Refuse a distance between voxel centres that no CT has, in millimetres.

    Raises:
        ImagingError: If it is not finite or out of range.
    """
    if not MIN_SPACING_MM <= spacing_mm <= MAX_SPACING_MM:
        raise ImagingError(
            f"expected a voxel spacing of {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm, "
            f"got {spacing_mm:g} mm"
        )


def _check_directions(directions: NDArray[np.float64]) -> None:
    cosines = np.abs(directions.T @ directions)
    shear = float((cosines - np.diag(np.diag(cosines))).max())
    if shear > MAX_SHEAR:
        angle = math.degrees(math.asin(min(shear, 1.0)))
        raise ImagingError(f"expected axes at right angles, got a shear of {angle:.2f} degrees")
    # The smallest of the three largest cosines belongs to the most oblique axis.
    cosine = float(np.abs(directions).max(axis=0).min())
    if cosine < math.cos(math.radians(MAX_OBLIQUITY_DEG)):
        angle = math.degrees(math.acos(cosine))
        raise ImagingError(
            f"expected axes within {MAX_OBLIQUITY_DEG:g} degrees of the patient's axes, "
            f"got {angle:.0f} degrees"
        )


def check_rescale(slope: float, intercept: float) -> None:
    """Refuse a map from stored values to HU that no CT has.

    Raises:
        ImagingError: If slope or intercept are not finite or out of range.
    """
    if not MIN_SLOPE <= slope <= MAX_SLOPE:
        raise ImagingError(
            f"expected a rescale slope of {MIN_SLOPE:g} to {MAX_SLOPE:g}, got {slope:g}"
        )
    if not abs(intercept) <= MAX_INTERCEPT_HU:
        raise ImagingError(
            f"expected a rescale intercept within {MAX_INTERCEPT_HU:g} HU of zero, "
            f"got {intercept:g} HU"
        )


def check_kvp(kvp: float) -> None:
    """Refuse a tube voltage that no CT has, in kV.

    Raises:
        ImagingError: If it is not finite or out of range.
    """
    if not MIN_KVP <= kvp <= MAX_KVP:
        raise ImagingError(
            f"expected a tube voltage of {MIN_KVP:g} to {MAX_KVP:g} kV, got {kvp:g} kV"
        )


def to_hounsfield(values: NDArray[Any]) -> NDArray[np.int16]:
    """Turn values in HU into int16, rounding to the nearest integer, halves to even.

    Nothing is clipped: values beyond int16 mean that the file's numbers are not HU.

    Args:
        values: Attenuation in HU of any real type.

    Returns:
        The same array where it is int16 already, else a rounded copy.

    Raises:
        ImagingError: If a value is not finite or beyond int16, if the values span less
            than ``MIN_HU_SPAN``, or if hardly any of them is that of fat, lung or air.
    """
    if values.dtype != np.int16:
        return collect_hounsfield(portions_of(values), values.shape)
    _check_span(*_range(values))
    _check_dark(values)
    return values


def collect_hounsfield(
    portions: Iterable[NDArray[Any]], shape: tuple[int, ...]
) -> NDArray[np.int16]:
    """Do ``to_hounsfield`` with values that come in portions, so that they are never there twice.

    Args:
        portions: Values of any real type, in the order of the array.
        shape: Shape of the array, of as many voxels as come.

    Raises:
        ImagingError: As ``to_hounsfield``.
    """
    hu = np.empty(shape, np.int16)
    flat, filled, ranges = hu.reshape(-1), 0, list[tuple[float, float]]()
    for values in portions:
        ranges.append(_range(values))
        rounded = values if values.dtype.kind in "iu" else np.rint(values)
        flat[filled : filled + values.size] = rounded.reshape(-1)
        filled += values.size
    _check_span(min(low for low, _ in ranges), max(high for _, high in ranges))
    _check_dark(hu)
    return hu


def portions_of(values: NDArray[_Scalar]) -> Iterator[NDArray[_Scalar]]:
    """Yield the values of an array in portions, flat."""
    flat = values.reshape(-1)
    for begin in range(0, flat.size, PORTION_VOXELS):
        yield flat[begin : begin + PORTION_VOXELS]


def _range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the lowest and the highest value, which int16 has to hold."""
    low, high = float(values.min()), float(values.max())
    # NaN travels through min and max, so two comparisons see every voxel.
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImagingError("the image holds voxels that are not finite")
    if low < _INT16.min or high > _INT16.max:
        raise ImagingError(
            f"expected values from {_INT16.min} to {_INT16.max} HU, got {low:g} to {high:g}"
        )
    return low, high


def _check_span(low: float, high: float) -> None:
    if high - low < MIN_HU_SPAN:
        raise ImagingError(
            f"expected Hounsfield units spanning at least {MIN_HU_SPAN}, "
            f"got values from {low:g} to {high:g}"
        )


def _check_dark(hu: NDArray[np.int16]) -> None:
    """Refuse values that are too high by a lost intercept: no fat, lung or air is left."""
    # The lowest value may be padding, which is far below HU whatever the rest means.
    lowest = hu.min()
    dark = sum(
        int(np.count_nonzero((part < DARK_HU) & (part > lowest))) for part in portions_of(hu)
    )
    if hu.size >= MIN_JUDGED_VOXELS and dark < MIN_DARK_SHARE * hu.size:
        raise ImagingError(
            f"expected Hounsfield units with fat, lung or air below {DARK_HU} HU, got "
            f"{100 * dark / hu.size:.2g} % such voxels; was the rescale intercept lost?"
        )
