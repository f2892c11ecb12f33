"""How sure a difference between two model versions is: resampling the patients.

The two versions see the same patients, so both are measured on the same resamples; what
makes a patient hard for both cancels out.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 4000
"""Resamples of the patients; the bound then varies by about 0.002 between seeds."""


def resample_counts(patients: int, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the patients with replacement, again and again.

    Args:
        patients: Number of patients P.
        resamples: Number of resamples B.
        rng: Source of the draws.

    Returns:
        How often each patient was drawn, shape (B, P); every row adds up to P.

    Raises:
        ValueError: If there is no patient.
    """
    if patients < 1:
        raise ValueError(f"expected at least one patient, got {patients}")
    shares = np.full(patients, 1.0 / patients)
    return rng.multinomial(patients, shares, size=resamples).astype(np.float64)


def f1_of_resamples(
    counts: NDArray[np.float64], volumes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the volume F1 of each resample.

    Args:
        counts: How often each patient counts, shape (B, P).
        volumes: Volume that is shared, invented and missed by patient, shape (P, 3).

    Returns:
        Shape (B,), from 0 to 1; 1 where no calcium is and none was seen.
    """
    shared, invented, missed = (counts @ volumes).T
    both = 2.0 * shared + invented + missed
    f1 = np.ones_like(both)
    np.divide(2.0 * shared, both, out=f1, where=both > 0)
    return np.asarray(f1, np.float64)


def lower_bound(differences: NDArray[np.float64], confidence: float) -> float:
    """Return what a difference is not below with the given one-sided confidence (percentile).

    Args:
        differences: Difference in each resample, shape (B,), B >= 1.
        confidence: For example 0.95.
    """
    return float(np.quantile(differences, 1.0 - confidence))


def paired_lower_bound(
    champion: NDArray[np.float64],
    challenger: NDArray[np.float64],
    *,
    confidence: float,
    rng: np.random.Generator,
) -> float:
    """Bound how much better the challenger's volume F1 is than the champion's, from below.

    Args:
        champion: Volumes by patient, shape (P, 3), see ``f1_of_resamples``.
        challenger: Volumes of the same patients in the same order.
        confidence: One-sided confidence.
        rng: Source of the resamples.

    Raises:
        ValueError: If the patients are not as many on both sides.
    """
    if champion.shape != challenger.shape:
        raise ValueError(f"expected equal shapes, got {champion.shape} and {challenger.shape}")
    counts = resample_counts(len(champion), RESAMPLES, rng)
    differences = f1_of_resamples(counts, challenger) - f1_of_resamples(counts, champion)
    return lower_bound(differences, confidence)
