"""Strategies that rank by what the active model version is unsure of."""

import numpy as np
from numpy.typing import NDArray

from strategies.aggregation import rank_average
from strategies.base import Candidates, Options
from strategies.ranking import ByUtility, by_measure, worth_labeling


def rank_uncertain(candidates: Candidates, _options: Options) -> ByUtility:
    """Rank by the uncertainty of the calcium score, see ``combined_uncertainty``."""
    return by_measure(candidates, combined_uncertainty(candidates))


def rank_entropy(candidates: Candidates, _options: Options) -> ByUtility:
    """Rank by predictive entropy: noise of the image counts as much as ignorance."""
    return by_measure(candidates, known(candidates, candidates.entropy))


def rank_bald(candidates: Candidates, _options: Options) -> ByUtility:
    """Rank by mutual information: only what the samples disagree about counts."""
    return by_measure(candidates, known(candidates, candidates.bald))


def known(candidates: Candidates, measure: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return a measure, zeros if it is None, as it may be when no image is scored."""
    return np.zeros(len(candidates)) if measure is None else measure


def combined_uncertainty(candidates: Candidates) -> NDArray[np.float64]:
    """Average the ranks of clinical and lesion uncertainty.

    Ranks, because the two are in different units and both have long tails.

    Args:
        candidates: The pool, N images.

    Returns:
        Mean rank as a share of the ranked images, shape (N,), in (0, 1]; exactly 0 for images
        without candidate voxels, and for unscored images, of which nothing is known.
    """
    is_ranked = worth_labeling(candidates)
    terms = np.stack([candidates.clinical_uncertainty, candidates.lesion_uncertainty])
    combined = np.zeros(len(candidates), dtype=np.float64)
    combined[is_ranked] = rank_average(terms[:, is_ranked])
    return combined
