"""How long a label takes, and a strategy that asks for the most per second."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from strategies.base import Candidates, Options
from strategies.measured import combined_uncertainty
from strategies.ranking import ByUtility, by_measure
from strategies.strategy import Option

COST_OPTIONS: dict[str, Option] = {"cost_weight": Option(1.0, 0.0, 1.0)}
"""Exponent of the seconds by which uncertainty is divided; 0 leaves them out."""

ENOUGH_CASES = 20
"""Annotation times needed before they are believed more than the published ones."""

SHORTEST_S = 1.0
"""Nobody annotates faster, whatever a fit says."""

_FAST = 0.05
"""Share of the annotation times that are shorter than what is expected of any image."""

_ROUNDS = 20
"""Rounds of reweighting; the weights settle within ten."""

_HUBER = 1.345
"""Residuals above so many robust deviations count less; 95 % efficient for normal ones."""

_MAD_TO_DEVIATION = 1.4826
"""Standard deviation of normal residuals over their median absolute deviation."""


@dataclass(frozen=True)
class CostModel:
    """Expected annotation time: ``base_s + lesion_s * lesions + slice_s * slices``.

    Attributes:
        base_s: Seconds of every image.
        lesion_s: Seconds more for each predicted lesion.
        slice_s: Seconds more for each slice with predicted calcium.
        cases: Annotation times behind it, 0 for the published ones.
        shortest_s: No image is expected to take less.
    """

    base_s: float
    lesion_s: float
    slice_s: float
    cases: int = 0
    shortest_s: float = SHORTEST_S

    def seconds(
        self, lesions: NDArray[np.number], slices: NDArray[np.number]
    ) -> NDArray[np.float64]:
        """Return the expected time of images.

        Args:
            lesions: Predicted lesions, shape (N,).
            slices: Slices with predicted calcium, shape (N,).

        Returns:
            Seconds, shape (N,), at least ``shortest_s``.
        """
        expected = self.base_s + self.lesion_s * lesions + self.slice_s * slices
        return np.maximum(expected.astype(np.float64), self.shortest_s)


PUBLISHED = CostModel(base_s=36.0, lesion_s=5.75, slice_s=0.0)
"""Times until there are enough of one's own.

Checking an automatic result takes 36 s, semi-automatic scoring 59 s (medians of 315 scans,
https://pmc.ncbi.nlm.nih.gov/articles/PMC7033052/). That the 23 s between them are those of
four lesions is an assumption.
"""


def fit_cost(
    seconds: NDArray[np.float64], lesions: NDArray[np.number], slices: NDArray[np.number]
) -> CostModel:
    """Fit a cost model to annotation times, with little regard for a few odd ones.

    Least squares with Huber weights; no coefficient is negative, as more calcium never takes
    less time.

    Args:
        seconds: Annotation times, shape (N,); what is not finite and positive is left out.
        lesions: Lesions predicted when each was served, shape (N,).
        slices: Slices with calcium predicted then, shape (N,).

    Returns:
        The fit, or ``PUBLISHED`` with fewer than ``ENOUGH_CASES`` times.
    """
    is_usable = np.isfinite(seconds) & (seconds > 0)
    if np.count_nonzero(is_usable) < ENOUGH_CASES:
        return PUBLISHED
    target = seconds[is_usable]
    terms = np.stack([np.ones_like(seconds), lesions, slices], axis=1)[is_usable].astype(float)
    weights = np.ones_like(target)
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        factors, _ = nnls(terms * root[:, None], target * root)
        residuals = np.abs(target - terms @ factors)
        limit = max(_HUBER * _MAD_TO_DEVIATION * float(np.median(residuals)), 1e-9)
        weights = np.minimum(1.0, limit / np.maximum(residuals, limit))
    base, lesion, slice_ = (float(factor) for factor in factors)
    # Below the cases that were seen the line may reach zero, and a utility per second no bound.
    shortest = max(float(np.quantile(target, _FAST)), SHORTEST_S)
    return CostModel(base, lesion, slice_, cases=target.size, shortest_s=shortest)


def rank_by_cost(candidates: Candidates, options: Options) -> ByUtility:
    """Rank by uncertainty per expected second of annotation."""
    seconds = candidates.expected_seconds
    uncertainty = combined_uncertainty(candidates)
    if seconds is None:
        return by_measure(candidates, uncertainty)
    return by_measure(candidates, uncertainty / seconds ** options["cost_weight"])
