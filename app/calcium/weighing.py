"""Weight every calcium voxel by the peak attenuation of what it belongs to."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.calcium.components import VoxelPairs, label_components
from app.calcium.rules import AGATSTON_INCREMENT_MM, ScoringRule


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
) -> NDArray[np.int64]:
    """Give each calcium voxel the Agatston weight of its lesion.

    Args:
        hu: Hounsfield units of N voxels, all of them candidates, shape (N,).
        slices: Axial slice of each voxel, shape (N,).
        pairs: Neighbours among the voxels under ``connectivity(rule)``.
        rule: Scoring rule.
        spacing_mm: Distance between voxel centres along (Z, Y, X), in millimetres.

    Returns:
        Weights from 1 to 4, and 0 for voxels of groups below the minimum size, shape (N,).
    """
    if hu.size == 0:
        return np.empty(0, np.int64)
    group = label_components(hu.size, pairs)
    peak_group = group if _shares_peak(rule) else _split_by_slice(group, slices)
    peaks = np.full(int(peak_group.max()) + 1, -np.inf)
    np.maximum.at(peaks, peak_group, hu.astype(np.float64))
    side: Literal["left", "right"] = "right" if rule.is_bound_included else "left"
    bounds_hu = np.asarray(rule.weight_bounds_hu)
    weights = np.searchsorted(bounds_hu, peaks, side=side) + 1
    counts = np.bincount(group)
    smallest = rule.minimum.smallest_voxel_count(spacing_mm=spacing_mm)
    counted: NDArray[np.int64] = weights[peak_group] * (counts >= smallest)[group]
    return counted


def agatston_from_weights(
    weight_sums: NDArray[Any], *, rule: ScoringRule, spacing_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Turn sums of voxel weights into Agatston scores, any shape."""
    increment_mm, row_mm, column_mm = spacing_mm
    scale = increment_mm / AGATSTON_INCREMENT_MM if rule.is_scaled else 1.0
    scores: NDArray[np.float64] = weight_sums.astype(np.float64) * (row_mm * column_mm) * scale
    return scores


def _shares_peak(rule: ScoringRule) -> bool:
    """Tell whether the voxels gated together also share one peak."""
    return rule.grouping == "slice" or rule.peak == "lesion"


def _split_by_slice(group: NDArray[np.int32], slices: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number the parts of each group that lie in one slice."""
    keys = group.astype(np.int64) * (int(slices.max()) + 1) + slices
    part: NDArray[np.intp] = np.unique(keys, return_inverse=True)[1]
    return part
