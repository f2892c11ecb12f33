"""Agatston scores the slow and obvious way."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.calcium.rules import ScoringRule

_STRUCTURES = {4: (2, 1), 8: (2, 2), 6: (3, 1), 26: (3, 3)}


def slow_default_agatston(
    hu: NDArray[np.int16], mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float:
    """Score the mask by the default rule at 120 kV."""
    score = 0.0
    for hu_slice, mask_slice in zip(hu, mask & (hu >= 130), strict=True):
        components, count = ndimage.label(mask_slice, np.ones((3, 3)))
        for component in range(1, count + 1):
            pixels = hu_slice[components == component]
            area_mm2 = pixels.size * spacing_mm[1] * spacing_mm[2]
            if area_mm2 >= 1:
                score += area_mm2 * min(pixels.max() // 100, 4) * spacing_mm[0] / 3
    return score


def slow_agatston(
    hu: NDArray[np.int16],
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    rule: ScoringRule,
) -> float:
    """Score the mask by any rule at 120 kV."""
    mask = mask & (hu >= 130 if rule.is_threshold_included else hu > 130)
    unit = spacing_mm[1] * spacing_mm[2] * (spacing_mm[0] / 3 if rule.is_scaled else 1)
    unit = unit if rule.voxel_decimals is None else round(unit, rule.voxel_decimals)
    score = 0.0
    for group in _groups(mask, rule):
        if _is_too_small(int(group.sum()), spacing_mm, rule):
            continue
        group_score = 0.0
        for z in np.flatnonzero(group.any(axis=(1, 2))):
            peak = hu[group].max() if rule.peak == "lesion" else hu[z][group[z]].max()
            group_score += int(group[z].sum()) * unit * _weight(int(peak))
        decimals = rule.group_decimals
        score += group_score if decimals is None else round(group_score, decimals)
    return score


def _groups(mask: NDArray[np.bool_], rule: ScoringRule) -> list[NDArray[np.bool_]]:
    """Return the mask of every group that the rule gates by size."""
    planar = rule.grouping == "slice"
    connectivity = rule.planar_connectivity if planar else rule.spatial_connectivity
    structure = ndimage.generate_binary_structure(*_STRUCTURES[connectivity])
    if not planar:
        components, count = ndimage.label(mask, structure)
        return [components == number for number in range(1, count + 1)]
    groups = []
    for z, mask_slice in enumerate(mask):
        components, count = ndimage.label(mask_slice, structure)
        for number in range(1, count + 1):
            group = np.zeros_like(mask)
            group[z] = components == number
            groups.append(group)
    return groups


def _is_too_small(voxels: int, spacing_mm: tuple[float, float, float], rule: ScoringRule) -> bool:
    """Compare sizes without rounding errors; spacing is a decimal fraction."""
    z, y, x = (Fraction(str(length)) for length in spacing_mm)
    one = {"voxels": Fraction(1), "mm2": y * x, "mm3": z * y * x}[rule.minimum.unit]
    size, smallest = voxels * one, Fraction(str(rule.minimum.value))
    if rule.minimum.is_whole_voxels:
        size, smallest = Fraction(voxels), Fraction(round(smallest / one))
    return size < smallest if rule.minimum.is_included else size <= smallest


def _weight(peak_hu: int) -> int:
    """Return the weight of a whole-numbered peak; all published bounds agree on those."""
    if peak_hu < 200:
        return 1
    if peak_hu < 300:
        return 2
    return 3 if peak_hu < 400 else 4
