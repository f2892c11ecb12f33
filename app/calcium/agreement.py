"""How well two sets of calcium scores or masks agree."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LIMITS_SD: Final = 1.96
"""Standard deviations that hold 95 % of a normal distribution on both sides."""

_SMALLEST_SPREAD: Final = 1e-12
"""Variance of measurements between 0 and 1 below which only rounding errors are left."""


@dataclass(frozen=True)
class BlandAltman:
    """Mean difference of two measurements and where 95 % of the differences lie.

    Attributes:
        bias: Mean of first minus second.
        lower: Lower limit of agreement, ``bias - 1.96`` standard deviations.
        upper: Upper limit of agreement.
    """

    bias: float
    lower: float
    upper: float


def icc_2_1(first: ArrayLike, second: ArrayLike) -> float:
    """Measure the absolute agreement of two raters by the intraclass correlation ICC(2,1).

    Two-way random effects, single rater: a constant difference between the raters lowers it.

    Args:
        first: Measurements of one rater, shape (N,), N >= 2.
        second: Measurements of the other on the same N images, shape (N,).

    Returns:
        At most 1. Exactly 1 when all measurements are the same number, where the formula is
        0 / 0 (two empty reports agree); 0 when each rater is constant but they differ; -1 for
        two images in opposite order, where it is divided by 0.

    Raises:
        ValueError: If there are fewer than two pairs, or a value is not finite.

    References:
        Shrout and Fleiss 1979, https://doi.org/10.1037/0033-2909.86.2.420.
    """
    values = np.stack(_pairs(first, second, at_least=2), axis=1)
    low, high = float(values.min()), float(values.max())
    if low == high:
        return 1.0
    # The unit does not matter; without one, no square is too small for a float.
    values = (values - low) / (high - low)
    images, raters = values.shape
    between_images = raters * values.mean(axis=1).var(ddof=1)
    between_raters = images * values.mean(axis=0).var(ddof=1)
    residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    error = float((residual**2).sum()) / ((images - 1) * (raters - 1))
    spread = between_images + (raters - 1) * error + raters * (between_raters - error) / images
    return float((between_images - error) / spread) if spread > _SMALLEST_SPREAD else -1.0


def weighted_kappa(
    first: ArrayLike,
    second: ArrayLike,
    weights: Literal["linear", "quadratic"] = "linear",
    *,
    counts: ArrayLike | None = None,
) -> float:
    """Measure the agreement of two raters on ordered categories beyond chance (Cohen's kappa).

    Args:
        first: Category of each of N images, as whole numbers in order, shape (N,), N >= 1.
        second: Category by the other rater, shape (N,).
        weights: Whether disagreement counts by the distance of categories or its square.
        counts: How much each image counts, positive, shape (N,); None when all count alike.

    Returns:
        At most 1; 0 is chance. Exactly 1 when both raters give every image the same
        category, where the formula is 0 / 0.

    Raises:
        ValueError: If there is no pair, or a value is not a whole number.

    References:
        Cohen 1968, https://doi.org/10.1037/h0026256.
    """
    one, other = _pairs(first, second, at_least=1)
    if (one % 1).any() or (other % 1).any():
        raise ValueError("expected categories as whole numbers, got fractions")
    power = {"linear": 1, "quadratic": 2}[weights]
    count = np.ones(one.size) if counts is None else np.asarray(counts, np.float64)
    observed = float(count @ np.abs(one - other) ** power / count.sum())
    categories, positions = np.unique(np.concatenate([one, other]), return_inverse=True)
    shares = [
        np.bincount(part, count, minlength=categories.size) / count.sum()
        for part in (positions[: one.size], positions[one.size :])
    ]
    distance = np.abs(categories[:, None] - categories) ** power
    expected = float(shares[0] @ distance @ shares[1])
    return 1.0 if expected == 0 else 1.0 - observed / expected


def bland_altman(first: ArrayLike, second: ArrayLike) -> BlandAltman:
    """Compute the bias of first minus second and its 95 % limits of agreement.

    Args:
        first: N measurements, shape (N,), N >= 2.
        second: N measurements of the same images, shape (N,).

    Raises:
        ValueError: If there are fewer than two pairs, or a value is not finite.

    References:
        Bland and Altman 1986, https://doi.org/10.1016/S0140-6736(86)90837-8.
    """
    one, other = _pairs(first, second, at_least=2)
    difference = one - other
    bias = float(difference.mean())
    half_width = _LIMITS_SD * float(difference.std(ddof=1))
    return BlandAltman(bias, bias - half_width, bias + half_width)


def mean_absolute_error(first: ArrayLike, second: ArrayLike) -> float:
    """Compute the mean absolute difference of N >= 1 pairs, shape (N,) each.

    Raises:
        ValueError: If there is no pair, or a value is not finite.
    """
    one, other = _pairs(first, second, at_least=1)
    return float(np.abs(one - other).mean())


def volume_f1(true_positive: float, false_positive: float, false_negative: float) -> float:
    """Compute the harmonic mean of volume sensitivity and positive predictive value.

    Args:
        true_positive: Volume of calcium found, in any unit.
        false_positive: Volume wrongly called calcium, same unit.
        false_negative: Volume of calcium missed, same unit.

    Returns:
        Between 0 and 1; 1 when there is no calcium and none was called, 0 when nothing found
        is calcium.

    Raises:
        ValueError: If a volume is negative or not finite.

    References:
        orCaScore evaluation, https://orcascore.isi.uu.nl/evaluation.
    """
    volumes = (true_positive, false_positive, false_negative)
    if not np.isfinite(volumes).all() or min(volumes) < 0:
        raise ValueError(f"expected finite volumes of at least 0, got {volumes}")
    both = 2 * true_positive + false_positive + false_negative
    return 1.0 if both == 0 else 2 * true_positive / both


def _pairs(
    first: ArrayLike, second: ArrayLike, *, at_least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two equally long lists of finite numbers, or raise."""
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.ndim != 1 or one.shape != other.shape or one.size < at_least:
        raise ValueError(
            f"expected two equal shapes (N,) with N >= {at_least}, got {one.shape}, {other.shape}"
        )
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("expected finite values, got NaN or infinity")
    return one, other
