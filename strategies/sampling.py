"""Strategies that ask no uncertainty: the baselines every other one has to beat."""

import numpy as np

from strategies.base import Candidates, Options
from strategies.ranking import AtRandom, ByUtility, NoOpinion


def rank_first(candidates: Candidates, _options: Options) -> ByUtility:
    """Rank by the time since an image was served, those never served as they came in."""
    utilities = np.arange(len(candidates), 0, -1, dtype=np.float64)
    served = candidates.last_served
    if served is not None:
        # Positive for those never served, in their order; the older a time, the less negative.
        utilities = np.where(np.isneginf(served), utilities, -served)
    return ByUtility(utilities, needs_scores=False)


def rank_random(_candidates: Candidates, _options: Options) -> AtRandom:
    """Give every image the same chance."""
    return AtRandom()


def rank_nothing(_candidates: Candidates, _options: Options) -> NoOpinion:
    """Leave every place to stratified random draws."""
    return NoOpinion()
