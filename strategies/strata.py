"""Risk strata of predicted Agatston scores."""

import numpy as np
from numpy.typing import NDArray

from strategies.base import Candidates

STRATUM_UPPER_BOUNDS = (0.0, 10.0, 100.0, 400.0)
"""Highest Agatston score of each stratum but the last: 0, 1-10, 11-100, 101-400, > 400."""

STRATUM_COUNT = len(STRATUM_UPPER_BOUNDS) + 1
"""Number of risk strata."""

UNSCORED_STRATUM = STRATUM_COUNT
"""Stratum of images the active model version has not scored."""


def risk_strata(agatston: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sort Agatston scores into risk strata, deciding on the unrounded score.

    Args:
        agatston: Scores of any shape, >= 0.

    Returns:
        Stratum numbers of the same shape: 0 for a score of exactly 0, 1 up to 10, 2 up to
        100, 3 up to 400, 4 above.

    Raises:
        ValueError: If a score is negative or not finite.
    """
    if not (np.isfinite(agatston) & (agatston >= 0)).all():
        raise ValueError("expected finite Agatston scores >= 0, got NaN, infinity or a negative")
    return np.searchsorted(STRATUM_UPPER_BOUNDS, agatston, side="left").astype(np.int64)


def candidate_strata(candidates: Candidates) -> NDArray[np.int64]:
    """Give each candidate its risk stratum; unscored images form a stratum of their own.

    Args:
        candidates: The pool, N images.

    Returns:
        Stratum numbers, shape (N,), 0 to 4, and ``UNSCORED_STRATUM`` where nothing is known.
    """
    strata = np.full(len(candidates), UNSCORED_STRATUM, dtype=np.int64)
    strata[candidates.is_scored] = risk_strata(candidates.agatston[candidates.is_scored])
    return strata
