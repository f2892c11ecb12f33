"""How often the score intervals of a model version really held, on patients labeled later."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scipy.special import betaincinv
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.intake.pool import current_labels
from app.promotion.conformal import interval
from app.store.tables import ImageRow, LabelRow, ModelVersionRow, PredictionRow
from app.training.validation_patients import is_unbiased

_CONFIDENCE: Final = 0.95
"""Probability with which the bounds hold the true share."""


@dataclass(frozen=True)
class Coverage:
    """How many of the patients' scores lay in their interval.

    Attributes:
        patients: Patients that were looked at, one image each.
        held: Those whose score by a person lay in the interval of the prediction.
        share: ``held / patients``; None without patients.
        low: Lower bound of the share among patients like these, with a confidence of 95 %.
        high: Upper bound.
    """

    patients: int
    held: int
    share: float | None
    low: float
    high: float


@dataclass(frozen=True)
class LaterCoverage:
    """Coverage on the patients that a version knew nothing of when it was made.

    Attributes:
        level: What the intervals promise; None where the version has none.
        labeled: All patients with a label since. Most were chosen because they are doubtful.
        unbiased: Those among them that no strategy chose for what it promises: like the pool.
    """

    level: float | None
    labeled: Coverage
    unbiased: Coverage


def later_coverage(session: Session, version: ModelVersionRow) -> LaterCoverage:
    """Compare the intervals of a version with the labels that came after it.

    A patient counts who had no label when the version was made, with the first image labeled
    since that the version has predicted the way it was calibrated for.
    """
    calibration = version.calibration or {}
    quantile = calibration.get("quantile")
    if quantile is None:
        return LaterCoverage(None, share_held([]), share_held([]))
    found = _first_of_each_patient(session, version, str(calibration.get("key")))
    held = [_is_held(label, prediction, quantile) for label, prediction in found]
    unbiased = [
        is_held
        for is_held, (label, _) in zip(held, found, strict=True)
        if is_unbiased(session, label.image_id, label.created_at)
    ]
    return LaterCoverage(calibration["level"], share_held(held), share_held(unbiased))


def share_held(held: Sequence[bool]) -> Coverage:
    """Count the intervals that held, with exact bounds of their share.

    References:
        Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404.
    """
    total, good, tail = len(held), sum(held), (1.0 - _CONFIDENCE) / 2.0
    return Coverage(
        patients=total,
        held=good,
        share=good / total if total else None,
        low=float(betaincinv(good, total - good + 1, tail)) if good else 0.0,
        high=float(betaincinv(good + 1, total - good, 1.0 - tail)) if good < total else 1.0,
    )


def _first_of_each_patient(
    session: Session, version: ModelVersionRow, key: str
) -> list[tuple[LabelRow, PredictionRow]]:
    """Return the first scored label of each new patient with the prediction of its image."""
    known = _patients_labeled_before(session, version.created_at)
    predictions = select(PredictionRow).where(
        PredictionRow.model_version_id == version.id, PredictionRow.key == key
    )
    labels = sorted(current_labels(session), key=lambda pair: pair[0].created_at)
    found: dict[str, tuple[LabelRow, PredictionRow]] = {}
    for label, image in labels:
        patient = image.patient_key
        if patient in known or patient in found or label.scores is None:
            continue
        prediction = session.scalars(predictions.where(PredictionRow.image_id == image.id)).first()
        if prediction is not None:
            found[patient] = (label, prediction)
    return list(found.values())


def _patients_labeled_before(session: Session, at: float) -> set[str]:
    """Return the patients with a label of any kind by then, deleted ones too."""
    wanted = (
        select(ImageRow.patient_key)
        .join(LabelRow, LabelRow.image_id == ImageRow.id)
        .where(LabelRow.created_at <= at)
    )
    return set(session.scalars(wanted))


def _is_held(label: LabelRow, prediction: PredictionRow, quantile: float) -> bool:
    wanted = float((label.scores or {})["total"]["agatston"])
    totals = [sum(sample) for sample in prediction.agatston_samples]
    low, high = interval(float(prediction.scores["total"]["agatston"]), totals, quantile)
    return low <= wanted <= high
