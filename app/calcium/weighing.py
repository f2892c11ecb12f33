"""Weight every calcium voxel by the peak attenuation of what it belongs to."""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from app.calcium.components import VoxelPairs, label_components
from app.calcium.rules import ScoringRule

_SCORE_DECIMALS: Final = 9
"""Decimals of a score that can mean something; differences beyond are rounding errors."""


def candidate_values(hu: NDArray[Any], threshold_hu: float, rule: ScoringRule) -> NDArray[np.bool_]:
    """Mark the values that reach the threshold as the rule reads it."""
    reached: NDArray[np.bool_] = (
        hu >= threshold_hu if rule.is_threshold_included else hu > threshold_hu
    )
    return reached


def connectivity(rule: ScoringRule) -> int:
    """Return the connectivity that joins the voxels the rule gates together."""
    return rule.planar_connectivity if rule.grouping == "slice" else rule.spatial_connectivity


def voxel_weights(
    hu: NDArray[Any],
    slices: NDArray[np.intp],
    pairs: VoxelPairs,
    *,
    rule: ScoringRule,
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Give each calcium voxel the Agatston weight of its lesion.

    Args:
        hu: Hounsfield units of N voxels, all of them candidates, shape (N,).
        slices: Axial slice of each voxel, shape (N,).
        pairs: Neighbours among the voxels under ``connectivity(rule)``.
        rule: Scoring rule.
        spacing_mm: Distance between voxel centres along (Z, Y, X), in millimetres.

    Returns:
        Weights from 1 to 4, and 0 for voxels of groups below the minimum size, shape (N,).
        Whole numbers, unless the rule rounds the score of a group.
    """
    if hu.size == 0:
        return np.empty(0)
    group = label_components(hu.size, pairs)
    peak_group = group if _shares_peak(rule) else _split_by_slice(group, slices)
    weights = _weights_of_peaks(hu, peak_group, rule)[peak_group]
    counts = np.bincount(group)
    smallest = rule.minimum.smallest_voxel_count(spacing_mm=spacing_mm)
    weights = np.where((counts >= smallest)[group], weights, 0.0)
    if rule.group_decimals is None:
        return weights
    return weights * _rounding_of_groups(weights, group, rule, spacing_mm)[group]


def agatston_from_weights(
    weight_sums: NDArray[np.float64],
    *,
    rule: ScoringRule,
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Turn sums of voxel weights into Agatston scores, any shape."""
    return without_dust(weight_sums * rule.unit_score(spacing_mm=spacing_mm))


def without_dust(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Remove the rounding errors of binary fractions, which would shift risk categories.

    For example 40 000 pixels of 0.1 mm x 0.1 mm give 400.00000000000006, which is above 400.
    """
    return np.round(scores, _SCORE_DECIMALS)


def _weights_of_peaks(
    hu: NDArray[Any], peak_group: NDArray[np.integer[Any]], rule: ScoringRule
) -> NDArray[np.float64]:
    """Return the weight of the highest value of each group, shape (G,)."""
    peaks = np.full(int(peak_group.max()) + 1, -np.inf)
    np.maximum.at(peaks, peak_group, hu.astype(np.float64))
    side: Literal["left", "right"] = "right" if rule.is_bound_included else "left"
    bounds_hu = np.asarray(rule.weight_bounds_hu)
    steps = np.searchsorted(bounds_hu, peaks, side=side)
    return steps.astype(np.float64) + 1.0


def _rounding_of_groups(
    weights: NDArray[np.float64],
    group: NDArray[np.int32],
    rule: ScoringRule,
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Return rounded by exact score of each group, shape (G,), 1 where it has no score."""
    exact = np.bincount(group, weights=weights) * rule.unit_score(spacing_mm=spacing_mm)
    ratio = np.ones_like(exact)
    np.divide(np.round(exact, rule.group_decimals or 0), exact, out=ratio, where=exact > 0)
    return ratio


def _shares_peak(rule: ScoringRule) -> bool:
    """Tell whether the voxels gated together also share one peak."""
    return rule.grouping == "slice" or rule.peak == "lesion"


def _split_by_slice(group: NDArray[np.int32], slices: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number the parts of each group that lie in one slice."""
    keys = group.astype(np.int64) * (int(slices.max()) + 1) + slices
    part: NDArray[np.intp] = np.unique(keys, return_inverse=True)[1]
    return part
