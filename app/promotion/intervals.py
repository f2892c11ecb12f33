"""The interval of a prediction's Agatston score, by the calibration of its model version."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy.orm import Session

from app.prediction_keys import prediction_key
from app.promotion.conformal import Calibration, calibrate, interval, needed_patients
from app.promotion.results import Results
from app.settings import Settings
from app.store.tables import Json, ModelVersionRow

_DIGITS = 1
"""Digits after the point of a bound, as many as reports give of a score."""


def calibration_of(results: Results, settings: Settings) -> Json:
    """Return the calibration that is kept with a model version.

    It holds for predictions made the way the settings say now, so their key is kept with it.
    """
    found = calibrate(results.first_of_each_patient())
    return {**asdict(found), "key": prediction_key(settings)}


def score_interval(
    session: Session,
    settings: Settings,
    version_id: int,
    *,
    agatston: float,
    agatston_samples: Sequence[Sequence[float]],
) -> Json:
    """Return the interval of a predicted total score, or why there is none.

    Args:
        session: Session to read with.
        settings: Settings of the deployment.
        version_id: Model version that predicted.
        agatston: Total score of the predicted label map.
        agatston_samples: Agatston score per sample and artery, shape (T, 4).

    Returns:
        ``level``, ``patients``, and either ``low`` and ``high`` or ``problem``.
    """
    row = session.get(ModelVersionRow, version_id)
    kept = dict(row.calibration or {}) if row is not None else {}
    key = kept.pop("key", None)
    if key is None:
        return {"problem": "no interval: this model version was not calibrated"}
    found = Calibration(**kept)
    known: Json = {"level": found.level, "patients": found.patients}
    if key != prediction_key(settings):
        problem = "no interval: settings of predictions changed since the calibration"
        return {**known, "problem": problem}
    if found.quantile is None:
        needed = needed_patients(found.level)
        problem = f"no interval: {found.patients} validation patients, {needed} are needed"
        return {**known, "problem": problem}
    totals = [sum(sample) for sample in agatston_samples]
    low, high = interval(agatston, totals, found.quantile)
    return {**known, "low": round(low, _DIGITS), "high": round(high, _DIGITS)}
