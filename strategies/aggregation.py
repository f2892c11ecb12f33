"""From voxels to one number per image.

Only candidate voxels come in: at or above the calcium threshold and within reach of a
predicted artery or lesion. Whatever else is in the field of view has no say, so the size of
the volume does not change any value here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.uncertainty import pairwise_dice_disagreement

SMOOTHING_MM3 = 3.0
"""Volume of the smallest lesion that scores: 1 mm² in one 3 mm slice.

As a number of voxels it is the n0 that stops a lone candidate voxel from winning.
"""

TOP_MM3 = 30.0
"""Volume over which the largest voxel uncertainties are averaged, about a 4 mm plaque."""

LESION_SATURATION_AGATSTON = 100.0
"""Agatston score at stake from which a lesion counts fully, the width of the moderate category."""


_ARTERY_NUMBERS = range(1, 5)
"""LM, LAD, LCX and RCA."""


@dataclass(frozen=True)
class ImageUncertainty:
    """Hold every aggregate of one image; see the functions of the same name.

    Attributes:
        foreground: u_fg, nats.
        top: u_top, nats.
        pairwise_dice: u_pd, in [0, 1).
        lesion: u_les, nats.
        entropy: Mean predictive entropy of the candidate voxels, nats.
        entropy_by_artery: The same of the candidates of LM, LAD, LCX and RCA each, nats.
    """

    foreground: float
    top: float
    pairwise_dice: float
    lesion: float
    entropy: float
    entropy_by_artery: tuple[float, ...]


def image_uncertainty(
    mutual_information: NDArray[np.floating],
    *,
    entropy: NDArray[np.floating],
    artery: NDArray[np.uint8],
    component: NDArray[np.integer],
    agatston_at_stake: NDArray[np.float64],
    artery_samples: NDArray[np.uint8],
    voxel_volume_mm3: float,
) -> ImageUncertainty:
    """Aggregate the candidate voxels of one image in every way at once.

    Args:
        mutual_information: In nats, >= 0, shape (V,): V candidate voxels.
        entropy: Predictive entropy of each voxel in nats, >= 0, shape (V,).
        artery: Likeliest artery of each voxel, 1 to 4, shape (V,).
        component: Lesion each voxel belongs to, shape (V,): 1..L, 0 for none.
        agatston_at_stake: Agatston score that comes or goes with each lesion, shape (L,).
        artery_samples: Artery of each voxel in each pass, 0 for no calcium, shape (T, V).
        voxel_volume_mm3: Volume of one voxel, > 0.

    Returns:
        The aggregates, all 0 for an image without candidate voxels.

    Raises:
        ValueError: If shapes do not fit or a value is out of its range.
    """
    if artery_samples.ndim != 2 or artery_samples.shape[1:] != mutual_information.shape:
        expected = f"(T, {mutual_information.size})"
        raise ValueError(f"expected artery_samples of shape {expected}, got {artery_samples.shape}")
    return ImageUncertainty(
        foreground=foreground_uncertainty(mutual_information, voxel_volume_mm3=voxel_volume_mm3),
        top=top_uncertainty(mutual_information, voxel_volume_mm3=voxel_volume_mm3),
        pairwise_dice=pairwise_dice_disagreement(
            artery_samples > 0, smoothing_voxels=_voxel_count(SMOOTHING_MM3, voxel_volume_mm3)
        ),
        lesion=lesion_uncertainty(
            mutual_information, component=component, agatston_at_stake=agatston_at_stake
        ),
        entropy=foreground_uncertainty(entropy, voxel_volume_mm3=voxel_volume_mm3),
        entropy_by_artery=uncertainty_by_artery(
            entropy, artery=artery, voxel_volume_mm3=voxel_volume_mm3
        ),
    )


def foreground_uncertainty(
    mutual_information: NDArray[np.floating], *, voxel_volume_mm3: float
) -> float:
    """Average the mutual information over the candidate voxels (u_fg).

    The sum over V voxels is divided by V + n0, n0 the voxels of the smallest lesion.

    Args:
        mutual_information: In nats, >= 0, shape (V,): V candidate voxels.
        voxel_volume_mm3: Volume of one voxel, > 0.

    Returns:
        Uncertainty in nats, between 0 and the largest value of a voxel; 0 without voxels.

    Raises:
        ValueError: If a value is negative or not finite, or the volume not positive.
    """
    _check_information(mutual_information)
    smoothing_voxels = _voxel_count(SMOOTHING_MM3, voxel_volume_mm3)
    total = mutual_information.sum(dtype=np.float64)
    return float(total / (mutual_information.size + smoothing_voxels))


def uncertainty_by_artery(
    values: NDArray[np.floating], *, artery: NDArray[np.uint8], voxel_volume_mm3: float
) -> tuple[float, ...]:
    """Average voxel uncertainties over the candidates of each artery, as ``u_fg`` over all.

    Args:
        values: Uncertainty in nats, >= 0, shape (V,): V candidate voxels.
        artery: Likeliest artery of each voxel, 1 to 4, shape (V,).
        voxel_volume_mm3: Volume of one voxel, > 0.

    Returns:
        Uncertainty in nats of LM, LAD, LCX and RCA; 0 without voxels.

    Raises:
        ValueError: If shapes do not fit, a value is negative or not finite, or an artery is
            not one of the four.
    """
    if artery.shape != values.shape or (artery.size and not 1 <= artery.min() <= artery.max() <= 4):
        raise ValueError(f"expected arteries 1 to 4 of shape {values.shape}, got {artery.shape}")
    return tuple(
        foreground_uncertainty(values[artery == number], voxel_volume_mm3=voxel_volume_mm3)
        for number in _ARTERY_NUMBERS
    )


def top_uncertainty(
    mutual_information: NDArray[np.floating], *, voxel_volume_mm3: float, top_mm3: float = TOP_MM3
) -> float:
    """Average the K largest mutual informations, K a fixed volume (u_top).

    All voxels outside the candidates count 0, so fewer than K candidates are filled up with
    zeros. K is in mm³: a share of the volume would depend on the field of view.

    Args:
        mutual_information: In nats, >= 0, shape (V,): V candidate voxels.
        voxel_volume_mm3: Volume of one voxel, > 0.
        top_mm3: Volume averaged over, > 0; at least one voxel.

    Returns:
        Uncertainty in nats, between 0 and the largest value of a voxel; 0 without voxels.

    Raises:
        ValueError: If a value is negative or not finite, or a volume not positive.
    """
    _check_information(mutual_information)
    voxels = max(1, round(_voxel_count(top_mm3, voxel_volume_mm3)))
    largest = np.sort(mutual_information)[::-1][:voxels]
    return float(largest.sum(dtype=np.float64) / voxels)


def lesion_uncertainty(
    mutual_information: NDArray[np.floating],
    *,
    component: NDArray[np.integer],
    agatston_at_stake: NDArray[np.float64],
) -> float:
    """Add up the mean mutual information of the lesions, weighted by what they score (u_les).

    Each lesion weighs ``min(1, Agatston at stake / 100)``: the doubt about a lesion that
    changes the score by little is worth little labeling time.

    Args:
        mutual_information: In nats, >= 0, shape (V,): V candidate voxels.
        component: Lesion each voxel belongs to, shape (V,): 1..L, 0 for none.
        agatston_at_stake: Agatston score that comes or goes with each lesion, shape (L,), >= 0.

    Returns:
        Uncertainty in nats, between 0 and L times the largest value of a voxel.

    Raises:
        ValueError: If shapes do not fit, or a value is negative, not finite or out of 0..L.
    """
    _check_information(mutual_information)
    _check_lesions(mutual_information, component, agatston_at_stake)
    count = agatston_at_stake.size + 1
    sums = np.bincount(component, weights=mutual_information, minlength=count)[1:]
    sizes = np.bincount(component, minlength=count)[1:]
    weights = np.minimum(1.0, agatston_at_stake / LESION_SATURATION_AGATSTON)
    # A lesion without a candidate voxel has the sum 0; dividing by 1 leaves it at that.
    return float((sums / np.maximum(sizes, 1) * weights).sum())


def rank_average(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the ranks of each image over several measures.

    Args:
        terms: Shape (K, N): K measures of N images, finite, higher = more uncertain.

    Returns:
        Mean rank divided by N, shape (N,), in (0, 1]; equal values share their mean rank.

    Raises:
        ValueError: If there is no measure or a value is not finite.
    """
    if terms.ndim != 2 or terms.shape[0] == 0:
        raise ValueError(f"expected measures of shape (K, N) with K > 0, got {terms.shape}")
    if not np.isfinite(terms).all():
        raise ValueError("expected finite measures, got NaN or infinity")
    ranks = np.mean([_ranks(term) for term in terms], axis=0) / max(terms.shape[1], 1)
    return np.asarray(ranks, np.float64)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank values from 1 on, equal ones by their mean rank.

    As SciPy's ``rankdata``; but ``scipy.stats`` alone is a seventh of a server's start.
    """
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks


def _voxel_count(volume_mm3: float, voxel_volume_mm3: float) -> float:
    for name, volume in (("voxel_volume_mm3", voxel_volume_mm3), ("volume_mm3", volume_mm3)):
        if not (np.isfinite(volume) and volume > 0):
            raise ValueError(f"expected {name} > 0, got {volume}")
    return volume_mm3 / voxel_volume_mm3


def _check_information(mutual_information: NDArray[np.floating]) -> None:
    if mutual_information.ndim != 1:
        raise ValueError(f"expected one value per voxel (V,), got {mutual_information.shape}")
    if not (np.isfinite(mutual_information) & (mutual_information >= 0)).all():
        raise ValueError("expected finite mutual information >= 0, got NaN, infinity or a negative")


def _check_lesions(
    mutual_information: NDArray[np.floating],
    component: NDArray[np.integer],
    agatston_at_stake: NDArray[np.float64],
) -> None:
    if component.shape != mutual_information.shape:
        raise ValueError(
            f"expected component of shape {mutual_information.shape}, got {component.shape}"
        )
    if (
        agatston_at_stake.ndim != 1
        or not (np.isfinite(agatston_at_stake) & (agatston_at_stake >= 0)).all()
    ):
        raise ValueError("expected finite agatston_at_stake >= 0 of shape (L,)")
    if component.size and not 0 <= component.min() <= component.max() <= agatston_at_stake.size:
        raise ValueError(
            f"expected components 0 to {agatston_at_stake.size}, "
            f"got {component.min()} to {component.max()}"
        )
