"""Whether two arms differ, and whether one is as good as all labels: paired by seed and patient.

Equivalence is never read from a difference that is not significant: it is tested against a
margin that is stated before (`MARGINS`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

MARGINS: Final[Mapping[str, float]] = MappingProxyType(
    {"volume_f1": 0.01, "agatston_icc": 0.005, "category_kappa": 0.02}
)
"""Loss against all labels that would not matter, by metric; fixed before anything was run."""

SIGNIFICANCE: Final = 0.05
"""Chance of a false claim that is accepted."""


@dataclass(frozen=True)
class Difference:
    """A difference with where it may lie.

    Attributes:
        value: First minus second.
        lower: 2.5 % of the bootstrap lies below.
        upper: 2.5 % of the bootstrap lies above.
        p_value: Two-sided share of the bootstrap beyond zero.
    """

    value: float
    lower: float
    upper: float
    p_value: float


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests against a margin.

    Attributes:
        difference: Mean of first minus second.
        margin: Largest difference that does not matter.
        p_not_worse: Non-inferiority: chance of such values if first were worse by the margin.
        p_equal: Equivalence: the larger of both one-sided tests (TOST).
    """

    difference: float
    margin: float
    p_not_worse: float
    p_equal: float


def bootstrap_difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    measure: Callable[[NDArray[np.float64]], float],
    rng: np.random.Generator,
    *,
    draws: int = 2000,
) -> Difference:
    """Compare two arms on seeds and patients that are drawn again, the same ones for both.

    Args:
        first: What an arm gave for each seed and patient, shape (S, P, ...).
        second: The same of the other arm, same shape: same seeds, same patients.
        measure: Turns such an array, of any S and P, into the figure to compare.
        rng: Source of the draws.
        draws: Number of draws.

    Raises:
        ValueError: If the shapes differ.

    References:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 8.
    """
    if first.shape != second.shape or first.ndim < 2:
        raise ValueError(f"expected equal shapes (S, P, ...), got {first.shape}, {second.shape}")
    seeds, patients = first.shape[:2]
    found = np.empty(draws)
    for draw in range(draws):
        drawn = np.ix_(rng.integers(seeds, size=(seeds,)), rng.integers(patients, size=(patients,)))
        found[draw] = measure(first[drawn]) - measure(second[drawn])
    lower, upper = np.quantile(found, [0.025, 0.975])
    # One is added to either count: a bootstrap cannot show a chance of exactly zero.
    beyond = min((found <= 0).sum(), (found >= 0).sum()) + 1
    p_value = min(2.0 * float(beyond) / (draws + 1), 1.0)
    return Difference(measure(first) - measure(second), float(lower), float(upper), p_value)


def judge_equivalence(first: ArrayLike, second: ArrayLike, *, margin: float) -> Equivalence:
    """Test whether first is not worse than, and equal to, second within a margin.

    Paired t tests over seeds.

    Args:
        first: Metric of each seed, higher is better, shape (S,), S >= 2.
        second: Metric of the same seeds, shape (S,).
        margin: Largest difference that does not matter, > 0.

    Raises:
        ValueError: If the shapes do not fit or the margin is not positive.

    References:
        Schuirmann 1987, https://doi.org/10.1007/BF01068419.
    """
    one, other = _pairs(first, second)
    if not margin > 0:
        raise ValueError(f"expected a margin > 0, got {margin}")
    differences = one - other
    p_not_worse = _p_above(differences, -margin)
    p_not_better = _p_above(-differences, -margin)
    return Equivalence(
        float(differences.mean()), margin, p_not_worse, max(p_not_worse, p_not_better)
    )


def paired_t_test(first: ArrayLike, second: ArrayLike) -> float:
    """Return the two-sided p value of a paired t test, 1 when all pairs are equal."""
    one, other = _pairs(first, second)
    differences = one - other
    if not differences.any():
        return 1.0
    return min(2.0 * min(_p_above(differences, 0.0), _p_above(-differences, 0.0)), 1.0)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct p values for their number, shape (K,) in and out; NaN stays and does not count.

    References:
        Holm 1979, https://www.jstor.org/stable/4615733.
    """
    values = np.asarray(p_values, np.float64)
    corrected = np.full(values.shape, np.nan)
    order = np.flatnonzero(~np.isnan(values))
    order = order[np.argsort(values[order], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return corrected


def penalty_matrix(
    curves: Mapping[str, NDArray[np.float64]], *, correct: bool = True
) -> NDArray[np.float64]:
    """Count how often each arm beats each other one (pairwise penalty matrix).

    Args:
        curves: Metric by arm, each of shape (S, R): S seeds, R rounds that all arms share.
        correct: Correct all p values together by Holm.

    Returns:
        Shape (A, A) in the order of the arms: share of rounds in which the arm of the row is
        significantly better than that of the column, 0 to 1.

    References:
        Ash et al. 2020 (BADGE), https://arxiv.org/abs/1906.03671.
    """
    names: Sequence[str] = tuple(curves)
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    rounds = next(iter(curves.values())).shape[1] if curves else 0
    p_values = np.array(
        [
            [
                paired_t_test(curves[names[a]][:, index], curves[names[b]][:, index])
                for index in range(rounds)
            ]
            for a, b in pairs
        ]
    )
    if correct and p_values.size:
        p_values = holm(p_values.ravel()).reshape(p_values.shape)
    wins = np.zeros((len(names), len(names)))
    for place, (a, b) in enumerate(pairs):
        gain = (curves[names[a]] - curves[names[b]]).mean(axis=0)
        is_clear = p_values[place] < SIGNIFICANCE
        wins[a, b] = (is_clear & (gain > 0)).mean()
        wins[b, a] = (is_clear & (gain < 0)).mean()
    return wins


def _p_above(differences: NDArray[np.float64], bound: float) -> float:
    """Return the chance of such a mean, or a higher one, if the true one were ``bound``."""
    error = float(differences.std(ddof=1)) / np.sqrt(differences.size)
    excess = float(differences.mean()) - bound
    if error == 0.0:
        return 0.0 if excess > 0 else 1.0
    return float(stats.t.sf(excess / error, differences.size - 1))


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.ndim != 1 or one.shape != other.shape or one.size < 2:
        raise ValueError(
            f"expected two equal shapes (S,) with S >= 2, got {one.shape}, {other.shape}"
        )
    return one, other
