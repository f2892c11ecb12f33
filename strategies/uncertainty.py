"""How unsure a model is: measures over the stochastic passes of a prediction."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from strategies.strata import STRATUM_COUNT, risk_strata

_SUM_TOLERANCE = 1e-3
"""Largest deviation from one accepted in a sum of class probabilities."""


def mutual_information(
    probs: NDArray[np.float64], *, correct_bias: bool = False
) -> NDArray[np.float64]:
    """Measure how much the stochastic passes disagree about each item (BALD).

    The entropy of the mean prediction minus the mean entropy of the predictions.
    Zero when all passes agree, however unsure each of them is.

    Args:
        probs: Class probabilities, shape (N, T, C): N voxels or images, T passes, C classes
            with the background among them.
        correct_bias: Multiply by T / (T - 1). T passes show on average only (T - 1) / T of
            the disagreement, so values of different T compare only when corrected.

    Returns:
        Mutual information in nats, shape (N,), between 0 and ``log(min(T, C))``
        (times T / (T - 1) when corrected).

    Raises:
        ValueError: If ``probs`` is not three-dimensional, has no pass (one, when corrected),
            or has a row that is not a probability distribution.

    References:
        Houlsby et al. 2011, https://arxiv.org/abs/1112.5745.
    """
    _check_probs(probs)
    mean_entropy = -xlogy(probs, probs).sum(axis=-1).mean(axis=1)
    # Rounding can leave the difference of two equal entropies at about -1e-17.
    gain: NDArray[np.float64] = np.maximum(predictive_entropy(probs) - mean_entropy, 0.0)
    if not correct_bias:
        return gain
    passes = probs.shape[1]
    _check_pass_count(passes)
    gain *= passes / (passes - 1)
    return gain


def predictive_entropy(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure how unsure the mean of the passes is, whether they agree or not.

    Args:
        probs: Class probabilities, shape (N, T, C): N voxels or images, T passes, C classes
            with the background among them.

    Returns:
        Entropy in nats, shape (N,), between 0 and ``log(C)``.

    Raises:
        ValueError: If ``probs`` is not three-dimensional, has no pass, or has a row that is
            not a probability distribution.
    """
    _check_probs(probs)
    mean = probs.mean(axis=1)
    entropy: NDArray[np.float64] = np.maximum(-xlogy(mean, mean).sum(axis=-1), 0.0)
    return entropy


def pairwise_dice_disagreement(masks: NDArray[np.bool_], *, smoothing_voxels: float) -> float:
    """Measure how little the masks of the passes overlap, on average over all pairs.

    One minus the mean soft Dice, ``(2 |A and B| + n0) / (|A| + |B| + n0)``.

    Args:
        masks: One mask per pass, shape (T, V): T passes, V voxels.
        smoothing_voxels: n0, > 0. Holds down the disagreement over a voxel or two, and
            defines two empty masks as agreeing.

    Returns:
        Disagreement, in [0, 1); 0 when all masks are equal or empty.

    Raises:
        ValueError: If there are fewer than two masks or ``smoothing_voxels`` is not positive.

    References:
        Zenk et al. 2025, https://arxiv.org/abs/2406.03323.
    """
    if masks.ndim != 2:
        raise ValueError(f"expected masks of shape (T, V), got {masks.shape}")
    _check_pass_count(passes := masks.shape[0])
    if not smoothing_voxels > 0:
        raise ValueError(f"expected smoothing_voxels > 0, got {smoothing_voxels}")
    # float32 counts exactly up to 2^24 voxels, far above the candidates of a heart.
    as_numbers = masks.astype(np.float32)
    overlap = (as_numbers @ as_numbers.T).astype(np.float64)
    sizes = overlap.diagonal()
    dice = (2 * overlap + smoothing_voxels) / (sizes[:, None] + sizes + smoothing_voxels)
    return float(1 - dice[np.triu_indices(passes, k=1)].mean())


def clinical_uncertainty(agatston: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure the spread of log(1 + Agatston) over the passes (u_clin).

    The logarithm because risk grows with the order of magnitude of the score.

    Args:
        agatston: Total Agatston score of each pass, shape (N, T): N images, T passes, >= 0.

    Returns:
        Standard deviation with T - 1 in the denominator, shape (N,), >= 0.

    Raises:
        ValueError: If there are fewer than two passes, or a score is negative or not finite.
    """
    _check_agatston(agatston)
    deviation: NDArray[np.float64] = np.log1p(agatston).std(axis=1, ddof=1)
    return deviation


def category_entropy(agatston: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure how evenly the passes are spread over the risk categories.

    Args:
        agatston: Total Agatston score of each pass, shape (N, T): N images, T passes, >= 0.

    Returns:
        Entropy of the category shares in nats, shape (N,), between 0 and ``log(min(T, 5))``.

    Raises:
        ValueError: If there are fewer than two passes, or a score is negative or not finite.
    """
    _check_agatston(agatston)
    is_category = risk_strata(agatston)[..., None] == np.arange(STRATUM_COUNT)
    shares = is_category.mean(axis=1)
    entropy: NDArray[np.float64] = np.maximum(-xlogy(shares, shares).sum(axis=-1), 0.0)
    return entropy


@dataclass(frozen=True)
class VarianceShares:
    """Hold which head's doubt moves the scores, as shares of the variance with both heads.

    What is missing to 1 comes from the two together. Both are 0 where nothing varies.

    Attributes:
        lesion: Share that the lesion head's masks alone bring about, in [0, 1].
        region: Share that the region head's masks alone bring about, in [0, 1].
    """

    lesion: float
    region: float


def variance_shares(
    both: NDArray[np.float64], lesion_only: NDArray[np.float64], region_only: NDArray[np.float64]
) -> VarianceShares:
    """Split the variance of log(1 + Agatston) by the head that brings it about.

    The variance is added up over the arteries: a region in doubt moves calcium from one
    artery to another and leaves the total as it is.

    Args:
        both: Agatston scores of T passes in which both heads drop channels, shape (T, A).
        lesion_only: The same masks, but in the lesion head alone, shape (T', A).
        region_only: The same masks, but in the region head alone, shape (T', A).

    Returns:
        Shares, each at most 1 and together at most 1; 0 where the variance of ``both`` is.

    Raises:
        ValueError: If there are fewer than two passes, or a score is negative or not finite.

    References:
        First-order indices of Sobol 2001, https://doi.org/10.1016/S0378-4754(00)00270-6, but
        with the other head at its mean network instead of averaged over its masks.
    """
    total, lesion, region = map(_log_variance, (both, lesion_only, region_only))
    if total == 0.0:
        return VarianceShares(0.0, 0.0)
    # Interplay can make the two parts larger than the whole; their proportion is what counts.
    whole = max(total, lesion + region)
    return VarianceShares(lesion / whole, region / whole)


def _log_variance(agatston: NDArray[np.float64]) -> float:
    _check_agatston(agatston.T)
    return float(np.log1p(agatston).var(axis=0, ddof=1).sum())


def _check_probs(probs: NDArray[np.float64]) -> None:
    if probs.ndim != 3:
        raise ValueError(f"expected probabilities of shape (N, T, C), got {probs.shape}")
    if probs.shape[1] == 0:
        raise ValueError("expected at least one pass, got none")
    if not (probs >= 0).all():
        raise ValueError("expected probabilities >= 0, got NaN or a negative")
    deviation = np.abs(probs.sum(axis=-1) - 1).max(initial=0.0)
    if deviation > _SUM_TOLERANCE:
        raise ValueError(f"expected probabilities that sum to 1, got a sum off by {deviation:.3g}")


def _check_pass_count(passes: int) -> None:
    if passes < 2:
        raise ValueError(f"expected at least two passes, got {passes}")


def _check_agatston(agatston: NDArray[np.float64]) -> None:
    if agatston.ndim != 2:
        raise ValueError(f"expected Agatston scores of shape (N, T), got {agatston.shape}")
    _check_pass_count(agatston.shape[1])
    if not (np.isfinite(agatston) & (agatston >= 0)).all():
        raise ValueError("expected finite Agatston scores >= 0, got NaN, infinity or a negative")
