"""Intervals that hold a person's Agatston score as often as they say (split conformal).

The spread of a network's samples says which images are doubtful, not how wrong it is. On
patients that were not trained on, the error is measured in units of that spread; a quantile
of these errors turns the spread of a new image into an interval. If the new patient is like
the validation patients, it holds the score with at least the stated probability, however bad
the network is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from app.promotion.results import CaseResult

LEVEL: Final = 0.9
"""Share of new patients whose score the intervals shall hold."""

_SPREAD_FLOOR: Final = 0.1
"""Added to every spread: where all samples agree the network may still be wrong.

In units of log(1 + Agatston), about a tenth of the score. Fixed beforehand, or the
calibration would no longer be exact.
"""

_ROUNDING: Final = 1e-9
"""The rank (n + 1) * level is a whole number for many n, and must not be rounded up then."""


@dataclass(frozen=True)
class Calibration:
    """What makes an interval of a spread.

    Attributes:
        level: Share of patients whose score the interval shall hold.
        patients: Patients it was measured on.
        quantile: Error in units of the spread; None when there are too few patients.
        coverage: Share of these patients whose score lies in the interval that the others
            give it; None when the others are too few.
    """

    level: float
    patients: int
    quantile: float | None
    coverage: float | None


def needed_patients(level: float) -> int:
    """Return the smallest number of patients that an interval of this level can be had from."""
    return math.ceil(level / (1.0 - level) - _ROUNDING)


def conformal_quantile(errors: ArrayLike, level: float) -> float | None:
    """Return the ceil((n + 1) * level)-th smallest of n errors, None when n is too small.

    With n exchangeable errors a further one is at most this with probability ``level`` or
    more; the plain quantile of few errors promises too much.

    References:
        Angelopoulos and Bates 2021, https://arxiv.org/abs/2107.07511.
    """
    values = np.sort(np.asarray(errors, np.float64))
    rank = math.ceil((values.size + 1) * level - _ROUNDING)
    return float(values[rank - 1]) if rank <= values.size else None


def calibrate(cases: Sequence[CaseResult], *, level: float = LEVEL) -> Calibration:
    """Measure the errors of a version on one image a patient.

    Several images of one patient resemble each other, so they would count as more than they
    tell.
    """
    errors = [relative_error(case) for case in cases]
    return Calibration(
        level=level,
        patients=len(errors),
        quantile=conformal_quantile(errors, level),
        coverage=leave_one_out_coverage(errors, level),
    )


def relative_error(case: CaseResult) -> float:
    """Return the error of log(1 + Agatston) in units of the samples' spread."""
    error = abs(math.log1p(case.wanted_total) - math.log1p(case.predicted_total))
    return error / spread(case.samples)


def spread(samples: Sequence[float]) -> float:
    """Return how far the samples' log(1 + Agatston) lie apart, never 0; shape (T,)."""
    deviation = float(np.log1p(np.asarray(samples, np.float64)).std()) if len(samples) else 0.0
    return deviation + _SPREAD_FLOOR


def leave_one_out_coverage(errors: Sequence[float], level: float) -> float | None:
    """Return the share of errors that the quantile of the others holds.

    By the ranks alone this is ``ceil(n * level) / n`` as long as no two errors are equal: it tells
    nothing about the network.

    Returns:
        None when the others are too few for a quantile.
    """
    held = []
    for number, error in enumerate(errors):
        others = [*errors[:number], *errors[number + 1 :]]
        quantile = conformal_quantile(others, level)
        if quantile is None:
            return None
        held.append(error <= quantile)
    return float(np.mean(held)) if held else None


def interval(agatston: float, samples: Sequence[float], quantile: float) -> tuple[float, float]:
    """Return the lowest and highest Agatston score that the calibration allows.

    Args:
        agatston: Predicted total score.
        samples: Total score of each stochastic sample.
        quantile: Error in units of the spread.
    """
    centre, reach = math.log1p(agatston), quantile * spread(samples)
    return max(math.expm1(centre - reach), 0.0), math.expm1(centre + reach)
