"""Agatston scores of many stochastic samples of one volume."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.calcium.components import VoxelPairs, voxel_pairs
from app.calcium.labels import ARTERIES
from app.calcium.rules import DEFAULT_RULE, get_rule
from app.calcium.weighing import (
    agatston_from_weights,
    candidate_values,
    connectivity,
    voxel_weights,
)


def agatston_samples(
    hu: NDArray[Any],
    candidate_index: NDArray[np.integer[Any]],
    artery_samples: NDArray[np.uint8],
    *,
    spacing_mm: tuple[float, float, float],
    threshold_hu: int,
    rule: str = DEFAULT_RULE,
) -> NDArray[np.float64]:
    """Score each artery in every sample, exactly as `calcium_scores` would score it.

    All samples are one graph: neighbours are searched once among the voxels that any sample
    labels, and the copies of a voxel in different samples are never joined.

    Args:
        hu: Hounsfield units of the axial volume, shape (Z, Y, X).
        candidate_index: Distinct flat positions of N candidate voxels in ``hu``, shape (N,).
        artery_samples: Artery of each candidate in each of T samples, 0 for none and 1 to 4
            in canonical order, shape (T, N).
        spacing_mm: Distance between voxel centres along (Z, Y, X), in millimetres.
        threshold_hu: Threshold in HU; candidates below it do not count.
        rule: Name of the scoring rule.

    Returns:
        Agatston scores of LM, LAD, LCX and RCA, shape (T, 4); zero where nothing is labeled.

    Raises:
        ValueError: If the shapes do not fit together or an artery is above 4.
        InvalidInputError: If no rule has this name.
    """
    _check_samples(candidate_index, artery_samples)
    chosen = get_rule(rule)
    used = artery_samples.any(axis=0)
    voxels = np.stack(np.unravel_index(candidate_index[used], hu.shape))
    values = hu[tuple(voxels)]
    reached = candidate_values(values, threshold_hu, chosen)
    voxels, values = voxels[:, reached], values[reached]
    artery = artery_samples[:, used][:, reached]
    sample, voxel = np.nonzero(artery)
    weights = voxel_weights(
        values[voxel],
        voxels[0][voxel],
        _pairs_in_samples(voxel_pairs(voxels, connectivity(chosen)), artery > 0),
        rule=chosen,
        spacing_mm=spacing_mm,
    )
    count = len(ARTERIES) + 1
    sums = np.bincount(
        sample * count + artery[sample, voxel], weights=weights, minlength=len(artery) * count
    )
    by_artery = np.asarray(sums, np.float64).reshape(-1, count)[:, 1:]
    return agatston_from_weights(by_artery, rule=chosen, spacing_mm=spacing_mm)


def _pairs_in_samples(pairs: VoxelPairs, labeled: NDArray[np.bool_]) -> VoxelPairs:
    """Return the pairs labeled on both ends, in terms of the labeled voxels of all samples."""
    # Position of every labeled voxel in the list that goes through sample after sample.
    positions = (np.cumsum(labeled, dtype=np.intp) - 1).reshape(labeled.shape)
    sample, pair = np.nonzero(labeled[:, pairs.first] & labeled[:, pairs.second])
    return VoxelPairs(positions[sample, pairs.first[pair]], positions[sample, pairs.second[pair]])


def _check_samples(
    candidate_index: NDArray[np.integer[Any]], artery_samples: NDArray[np.uint8]
) -> None:
    """Raise unless every sample says one known artery for each candidate."""
    if artery_samples.ndim != 2 or artery_samples.shape[1:] != candidate_index.shape:
        raise ValueError(
            f"expected samples of shape (T, {candidate_index.size}), got {artery_samples.shape}"
        )
    highest = int(artery_samples.max(initial=0))
    if highest > len(ARTERIES):
        raise ValueError(f"expected arteries from 0 to {len(ARTERIES)}, got {highest}")
