"""What is at stake with each connected group of candidate voxels."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.calcium.components import label_components, voxel_pairs
from app.calcium.rules import DEFAULT_RULE, get_rule
from app.calcium.weighing import agatston_from_weights, connectivity, voxel_weights

_SPATIAL_CONNECTIVITY: Final = 26
"""Voxels of one lesion touch by a face, an edge or a corner."""


@dataclass(frozen=True, eq=False)
class Stakes:
    """Connected groups of candidates and the score that comes or goes with each.

    Attributes:
        component: Group of each candidate, 1 to L, shape (N,).
        agatston: Agatston score of each group if all of it were calcium, shape (L,).
    """

    component: NDArray[np.int64]
    agatston: NDArray[np.float64]


def agatston_at_stake(
    hu: NDArray[Any],
    candidate_index: NDArray[np.int64],
    *,
    spacing_mm: tuple[float, float, float],
    rule: str = DEFAULT_RULE,
) -> Stakes:
    """Group candidates and score every group as if all of it were calcium.

    Args:
        hu: Hounsfield units of the axial volume, shape (Z, Y, X).
        candidate_index: Distinct flat positions of N candidates in ``hu``, shape (N,).
        spacing_mm: Distance between voxel centres along (Z, Y, X), in millimetres.
        rule: Name of the scoring rule.
    """
    chosen = get_rule(rule)
    voxels = np.stack(np.unravel_index(candidate_index, hu.shape))
    groups = voxel_pairs(voxels, _SPATIAL_CONNECTIVITY)
    component = label_components(candidate_index.size, groups).astype(np.int64)
    weights = voxel_weights(
        hu[tuple(voxels)],
        voxels[0],
        voxel_pairs(voxels, connectivity(chosen)),
        rule=chosen,
        spacing_mm=spacing_mm,
    )
    sums = np.bincount(component, weights=weights).astype(np.float64)
    scores = agatston_from_weights(sums, rule=chosen, spacing_mm=spacing_mm)
    return Stakes(component + 1, scores)
