"""Strategies that ask no uncertainty: the baselines every other one has to beat."""

import numpy as np

from strategies.base import Candidates, Options
from strategies.ranking import AtRandom, ByUtility, NoOpinion


def rank_first(candidates: Candidates, _options: Options) -> ByUtility:
    """Rank by the time since an image was served, those never served as they came in."""
    count = len(candidates)
    served = candidates.last_served
    order = np.arange(count) if served is None else np.argsort(served, kind="stable")
    utilities = np.empty(count, dtype=np.float64)
    utilities[order] = np.arange(count, 0, -1) / max(count, 1)
    return ByUtility(utilities, needs_scores=False)


def rank_random(_candidates: Candidates, _options: Options) -> AtRandom:
    """Give every image the same chance."""
    return AtRandom()


def rank_nothing(_candidates: Candidates, _options: Options) -> NoOpinion:
    """Leave every place to stratified random draws."""
    return NoOpinion()
