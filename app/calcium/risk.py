"""Risk categories of a calcium score."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.calcium.labels import ARTERIES

RISK_CATEGORIES: Final = ("0", "1-10", "11-100", "101-400", ">400")
"""Categories of the total Agatston score, from no calcium to most (van Velzen et al. 2020)."""

_RISK_BOUNDS: Final = (0.0, 10.0, 100.0, 400.0)
"""Highest score of every category but the last."""

_CAC_DRS_BOUNDS: Final = (100.0, 300.0)
"""Lowest scores of CAC-DRS A2 and A3."""


def risk_index(agatston: ArrayLike) -> NDArray[np.intp]:
    """Return the position in `RISK_CATEGORIES` of each score.

    The score is not rounded: only exactly 0 is "0", and a score between 0 and 1 is "1-10",
    because calcium was seen.

    Args:
        agatston: Total Agatston scores, any shape.

    Returns:
        Positions from 0 to 4, the shape of ``agatston``.

    Raises:
        ValueError: If a score is negative or not finite.
    """
    scores = np.asarray(agatston, np.float64)
    if not np.isfinite(scores).all() or (scores < 0).any():
        raise ValueError(f"expected finite scores of at least 0, got {agatston!r}")
    return np.asarray(np.searchsorted(_RISK_BOUNDS, scores, side="left"), np.intp)


def risk_category(agatston: float) -> str:
    """Return the risk category of a total Agatston score, which is not rounded before."""
    return RISK_CATEGORIES[int(risk_index(agatston))]


def category_probabilities(agatston_samples: ArrayLike) -> dict[str, float]:
    """Return the share of stochastic samples in each risk category.

    Args:
        agatston_samples: Total Agatston score of each of T samples, shape (T,), T >= 1.

    Returns:
        Share from 0 to 1 of every category, in order; the sum is 1.

    Raises:
        ValueError: If there is no sample or a score is negative or not finite.
    """
    indices = risk_index(agatston_samples)
    if indices.ndim != 1 or indices.size == 0:
        raise ValueError(f"expected at least one sample in one dimension, got {indices.shape}")
    shares = np.bincount(indices, minlength=len(RISK_CATEGORIES)) / indices.size
    return dict(zip(RISK_CATEGORIES, map(float, shares), strict=True))


def cac_drs(agatston: float, vessels: int) -> str:
    """Return the CAC-DRS category, for example ``A2/N3``.

    The score is not rounded: A0 is exactly 0, A1 below 100, A2 below 300, A3 from 300 on.

    Args:
        agatston: Total Agatston score.
        vessels: Number of calcified arteries among LM, LAD, LCX and RCA, from 0 to 4.

    Raises:
        ValueError: If the score is negative or not finite, or there are other arteries.
    """
    if not 0 <= vessels <= len(ARTERIES):
        raise ValueError(f"expected 0 to {len(ARTERIES)} vessels, got {vessels}")
    if not np.isfinite(agatston) or agatston < 0:
        raise ValueError(f"expected a finite score of at least 0, got {agatston!r}")
    above_zero = int(np.searchsorted(_CAC_DRS_BOUNDS, agatston, side="right")) + 1
    return f"A{above_zero if agatston > 0 else 0}/N{vessels}"


def calcified_vessels(agatston_by_artery: Iterable[float]) -> int:
    """Count the arteries with a score above 0."""
    return sum(score > 0 for score in agatston_by_artery)
