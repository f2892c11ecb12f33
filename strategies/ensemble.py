"""A strategy that asks the last model versions: what they disagree about is not settled."""

import warnings

import numpy as np
from numpy.typing import NDArray

from strategies.aggregation import rank_average
from strategies.base import Candidates, Options
from strategies.measured import combined_uncertainty
from strategies.ranking import ByUtility, by_measure, worth_labeling
from strategies.strategy import Option

MOST_VERSIONS = 5
"""Versions that are asked at most."""

VERSION_OPTIONS: dict[str, Option] = {"versions": Option(3, 2, MOST_VERSIONS)}
"""Number of model versions that are asked, the active one among them."""


def rank_ensemble(candidates: Candidates, options: Options) -> ByUtility:
    """Rank by what the last versions disagree about and what they are unsure of.

    Mean rank of two measures: the deviation of log(1 + Agatston) between the versions, and
    their mean clinical uncertainty. Versions that have not scored an image have no say about
    it; where there is the active one only, the ranking is that of ``uncertainty``.
    """
    scores, spreads = candidates.version_agatston, candidates.version_clinical_uncertainty
    if scores is None or spreads is None:
        return by_measure(candidates, combined_uncertainty(candidates))
    count = int(options["versions"])
    if not np.isfinite(scores[candidates.is_scored, 1:count]).any():
        return by_measure(candidates, combined_uncertainty(candidates))
    is_ranked = worth_labeling(candidates)
    utilities = np.zeros(len(candidates))
    utilities[is_ranked] = rank_average(
        np.stack(
            [
                disagreement(np.log1p(scores[is_ranked, :count])),
                np.nanmean(spreads[is_ranked, :count], axis=1),
            ]
        )
    )
    return by_measure(candidates, utilities)


def disagreement(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of each row over what is known of it.

    Args:
        values: Shape (N, K): N images, K versions, NaN where a version says nothing.

    Returns:
        Deviation, shape (N,), >= 0; 0 where fewer than two versions say something.
    """
    with warnings.catch_warnings():
        # A row without any value is as undecided as one with a single one.
        warnings.simplefilter("ignore", RuntimeWarning)
        deviation: NDArray[np.float64] = np.nan_to_num(np.nanstd(values, axis=1))
    return deviation
