"""Figures of a model version on the validation images: one that decides, others that guard.

In each of these a patient counts once, however many images there are of the patient.
"""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.calcium.agreement import icc_2_1, mean_absolute_error, volume_f1, weighted_kappa
from app.calcium.labels import ARTERIES
from app.calcium.risk import RISK_CATEGORIES, risk_index
from app.promotion.results import Results
from app.store.tables import Json

PRIMARY: Final = "calcium volume F1"
"""The figure by which two versions are compared; more is better."""

FALSE_CALCIUM: Final = "share of scans without calcium in which some is seen"
KAPPA: Final = "kappa of the risk category"
CALIBRATION: Final = "error of the risk category's probabilities"

MARGINS: Final[Mapping[str, float]] = {
    FALSE_CALCIUM: 0.1,
    **{f"error of log(1 + Agatston) in the {artery}": 0.2 for artery in ARTERIES},
    KAPPA: 0.1,
    CALIBRATION: 0.05,
}
"""How much worse each guarding figure may become.

One more scan in ten with false calcium; a mean factor of 1.2 in the score of an artery; a
tenth of the kappa, about what separates its verbal grades by half; a twentieth of the range
of the probability score.
"""

_MORE_IS_BETTER: Final = (KAPPA,)


def primary(results: Results) -> float:
    """Return the F1 of the calcium volume over all patients; 1 when there is none and none seen."""
    return volume_f1(*results.patient_volumes.sum(axis=0).tolist())


def guards(results: Results) -> dict[str, float]:
    """Return the guarding figures by name; one that is not defined is left out."""
    found = {FALSE_CALCIUM: _false_calcium(results)}
    errors = artery_errors(results)
    for artery, error in zip(ARTERIES, errors, strict=True):
        found[f"error of log(1 + Agatston) in the {artery}"] = float(error)
    found[KAPPA] = _kappa(results)
    found[CALIBRATION] = probability_error(results)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def worsening(name: str, before: float, after: float) -> float:
    """Return by how much a guarding figure became worse; negative when it became better."""
    return before - after if name in _MORE_IS_BETTER else after - before


def artery_errors(results: Results) -> NDArray[np.float64]:
    """Return the mean absolute error of log(1 + Agatston) of each artery, shape (4,)."""
    errors = np.abs(np.log1p(results.wanted) - np.log1p(results.predicted))
    return np.average(errors, axis=0, weights=results.weights)


def probability_error(results: Results) -> float:
    """Return the mean ranked probability score of the samples' risk categories.

    The squared difference between the predicted and the true cumulative distribution over the
    five categories, averaged over the four borders between them: 0 when every sample of every
    image is in the right category, 1 when the categories could not be further apart.

    Returns:
        NaN when no image has samples.

    References:
        Epstein 1969, https://doi.org/10.1175/1520-0450(1969)008<0985:ASSFPF>2.0.CO;2.
    """
    sampled = results.those(np.array([bool(case.samples) for case in results.cases]))
    if not sampled.cases:
        return math.nan
    borders = np.arange(len(RISK_CATEGORIES) - 1)
    scores = []
    for case in sampled.cases:
        below = (risk_index(case.samples)[:, None] <= borders).mean(axis=0)
        is_below = risk_index(case.wanted_total) <= borders
        scores.append(float(((below - is_below) ** 2).mean()))
    return float(np.average(scores, weights=sampled.weights))


def summary(results: Results) -> Json:
    """Return the figures of a version's card; what is not defined is left out.

    Empty without any image.
    """
    if not results.cases:
        return {}
    wanted, predicted = results.wanted.sum(axis=1), results.predicted.sum(axis=1)
    figures: Json = {
        "images": len(results.cases),
        "patients": len(results.patients),
        "volume_f1": primary(results),
        "agatston_icc": icc_2_1(wanted, predicted) if len(wanted) > 1 else math.nan,
        "agatston_mae": mean_absolute_error(wanted, predicted),
        "category_kappa": _kappa(results),
        "false_calcium": int(((wanted == 0) & (predicted > 0)).sum()),
        "artery_log_error": dict(zip(ARTERIES, artery_errors(results).tolist(), strict=True)),
        "probability_error": probability_error(results),
    }
    return {
        name: value
        for name, value in figures.items()
        if not isinstance(value, float) or math.isfinite(value)
    }


def _false_calcium(results: Results) -> float:
    zeros = results.those(results.wanted.sum(axis=1) == 0)
    if not zeros.cases:
        return math.nan
    return float(np.average(zeros.predicted.sum(axis=1) > 0, weights=zeros.weights))


def _kappa(results: Results) -> float:
    wanted, predicted = results.wanted.sum(axis=1), results.predicted.sum(axis=1)
    return weighted_kappa(risk_index(wanted), risk_index(predicted), counts=results.weights)
