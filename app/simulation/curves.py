"""What a learning curve says: its area, its steepness, and where it reaches a goal."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

_STEEPEST = 1e3
"""Largest efficiency that is looked for, per unit of the axis scaled to 1."""


@dataclass(frozen=True)
class Reached:
    """Where a curve reaches a goal.

    Attributes:
        at: Place on the axis; the end of the axis when the goal is not reached.
        is_censored: Whether the curve ends before it reaches the goal.
    """

    at: float
    is_censored: bool

    def __str__(self) -> str:
        """Return the place, or "> end" when the goal was not reached."""
        return f"> {self.at:.4g}" if self.is_censored else f"{self.at:.4g}"


def area_under_budget_curve(budget: ArrayLike, values: ArrayLike) -> float:
    """Average a curve over its budget (AUBC): trapezoids, axis scaled to 0..1.

    Args:
        budget: Cost at each point, ascending, shape (R,), R >= 2.
        values: Metric at each point, shape (R,); further axes before it are not allowed.

    Returns:
        In the unit of the values: a flat curve of 0.7 has an area of 0.7.

    Raises:
        ValueError: If the shapes differ or the budget does not ascend.

    References:
        Zhan et al. 2021, https://doi.org/10.24963/ijcai.2021/634.
    """
    x, y = _curve(budget, values)
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def foreground_efficiency(cost: ArrayLike, values: ArrayLike, *, full: float) -> float:
    """Fit how fast a curve approaches what all labels together reach (FG-Eff).

    The b of ``full - (full - values[0]) * exp(-b * (x - x[0]))`` with least squares; ``cost``
    is used as it comes, so give it as a share of the whole pool's cost.

    Args:
        cost: Share of the pool's cost at each point, ascending, shape (R,), R >= 2.
        values: Metric at each point, shape (R,).
        full: Metric with all labels.

    Returns:
        b, 0 when the curve never rises; NaN when it starts at the full value or above it,
        where there is nothing to gain.

    Raises:
        ValueError: If the shapes differ or the cost does not ascend.

    References:
        Lüth et al. 2025 (nnActive), https://arxiv.org/abs/2511.19183.
    """
    x, y = _curve(cost, values)
    gap = full - y[0]
    if gap <= 0:
        return float("nan")
    # Scaled to 0..1, so that the search starts from the same bounds whatever the unit.
    span = x[-1] - x[0]
    scaled = (x - x[0]) / span

    def loss(log_steepness: float) -> float:
        fitted = full - gap * np.exp(-np.exp(log_steepness) * scaled)
        return float(((fitted - y) ** 2).sum())

    bounds = (np.log(1 / _STEEPEST), np.log(_STEEPEST))
    best = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    flat = float(((y[0] - y) ** 2).sum())
    return 0.0 if flat <= float(best.fun) else float(np.exp(best.x)) / span


def budget_to_reach(budget: ArrayLike, values: ArrayLike, *, goal: float) -> Reached:
    """Find where a curve, made monotone, first reaches a goal.

    The isotonic regression of the curve is the best curve that never falls; between its
    points it is interpolated linearly. A dip behind a lucky point thus moves the answer back.

    Args:
        budget: Cost at each point, ascending, shape (R,), R >= 2.
        values: Metric at each point, shape (R,).
        goal: What must be reached.

    Raises:
        ValueError: If the shapes differ or the budget does not ascend.
    """
    x, y = _curve(budget, values)
    rising = monotone(y)
    places = np.flatnonzero(rising >= goal)
    if not places.size:
        return Reached(float(x[-1]), is_censored=True)
    first = int(places[0])
    if first == 0:
        return Reached(float(x[0]), is_censored=False)
    below, above = rising[first - 1], rising[first]
    share = (goal - below) / (above - below)
    return Reached(float(x[first - 1] + share * (x[first] - x[first - 1])), is_censored=False)


def monotone(values: ArrayLike) -> NDArray[np.float64]:
    """Return the never falling values nearest to ``values``, shape (R,): pools neighbours."""
    pools: list[tuple[float, int]] = []
    for value in np.asarray(values, np.float64):
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            before, size = pools.pop()
            mean = (mean * count + before * size) / (count + size)
            count += size
        pools.append((mean, count))
    return np.repeat([mean for mean, _ in pools], [count for _, count in pools])


def _curve(budget: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(budget, np.float64), np.asarray(values, np.float64)
    if x.ndim != 1 or x.shape != y.shape or x.size < 2:
        raise ValueError(f"expected two equal shapes (R,) with R >= 2, got {x.shape}, {y.shape}")
    # A round may cost nothing, as one without a lesion does; all of them together cost something.
    if not ((np.diff(x) >= 0).all() and x[-1] > x[0]):
        raise ValueError(f"expected an ascending budget, got {x.tolist()}")
    return x, y
